"""From the end of a pass to the status of a Kustomization, as the Flux Kustomization specification has it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from core_values import LATER, NOW, kustomization
from hypothesis import given
from hypothesis import strategies as st

from agent.api.kustomization import Kustomization, KustomizationStatus
from agent.core import conditions as c
from agent.core.inventory import Entry, Inventory
from agent.core.objects import ObjectKey
from agent.core.outcome import (
    Applied,
    Attempt,
    Canceled,
    Failed,
    Outcome,
    Progress,
    Stalled,
    Suspended,
    fold,
    stored_inventory,
)

ONE = Inventory((Entry(ObjectKey("", "ConfigMap", "apps", "one"), "v1"),))
TWO = ONE.union(Inventory((Entry(ObjectKey("apps", "Deployment", "apps", "two"), "v1"),)))


def _attempt(number: int = 1, digest: str = "", origin: str | None = None) -> Attempt:
    digest = digest or f"sha256:{number}"
    return Attempt(revision=f"main@sha1:{number}", digest=digest, origin_revision=origin, started=NOW)


def _after(status: KustomizationStatus, **changes: Any) -> Kustomization:
    """The Kustomization once the status is written."""
    return msgspec.structs.replace(kustomization(**changes), status=status)


def _told(status: KustomizationStatus) -> dict[str, tuple[str, str, str]]:
    return {entry.type: (entry.status, entry.reason, entry.message) for entry in status.conditions}


APPLIED = fold(kustomization(generation=1), Applied(attempt=_attempt(), inventory=ONE, healthy_after=1.5), NOW)


def test_progress_says_what_is_going_on() -> None:
    message = "Detecting drift for revision main@sha1:2 with a timeout of 9m30s"
    status = fold(_after(APPLIED), Progress(attempt=_attempt(2), message=message, inventory=TWO), LATER)
    assert _told(status) == {
        "Reconciling": ("True", "Progressing", message),
        "Ready": ("Unknown", "Progressing", "Reconciliation in progress"),
        "Healthy": ("True", "Succeeded", "Health check passed in 1.5s"),
    }
    assert stored_inventory(status) == TWO
    assert (status.last_attempted_revision, status.last_applied_revision) == ("main@sha1:2", "main@sha1:1")
    assert status.observed_generation == 1, "not done with the new generation yet"
    assert {entry.observed_generation for entry in status.conditions if entry.type != "Healthy"} == {2}


def test_progress_on_the_way_to_the_files_attempts_nothing_yet() -> None:
    status = fold(_after(APPLIED), Progress(message="Fetching"), LATER)
    assert _told(status)["Reconciling"] == ("True", "Progressing", "Fetching")
    assert status.last_attempted_revision == "main@sha1:1"


def test_progress_of_a_health_check() -> None:
    status = fold(_after(APPLIED), Progress(attempt=_attempt(), message="Running", checking_health=True), LATER)
    assert _told(status)["Healthy"] == ("Unknown", "Progressing", "Running")
    assert stored_inventory(status) == ONE, "not said, not changed"


def test_success() -> None:
    outcome = Applied(attempt=_attempt(2, origin="main@sha1:f00"), inventory=TWO, healthy_after=0.25)
    status = fold(_after(APPLIED), outcome, NOW + timedelta(seconds=3))
    assert _told(status) == {
        "Ready": ("True", "ReconciliationSucceeded", "Applied revision: main@sha1:2"),
        "Healthy": ("True", "Succeeded", "Health check passed in 250ms"),
    }
    assert status.observed_generation == 2
    assert status.last_applied_revision == status.last_attempted_revision == "main@sha1:2"
    assert status.last_applied_origin_revision == "main@sha1:f00"
    assert stored_inventory(status) == TWO
    newest, older = status.history
    assert (newest.digest, newest.total_reconciliations) == ("sha256:2", 1)
    assert newest.last_reconciled_status == "ReconciliationSucceeded"
    assert newest.last_reconciled_duration == "3s"
    assert newest.metadata == {"revision": "main@sha1:2", "originRevision": "main@sha1:f00"}
    assert older.digest == "sha256:1"


def test_success_without_a_health_check_says_nothing_of_health() -> None:
    status = fold(_after(APPLIED), Applied(attempt=_attempt(), inventory=ONE), LATER)
    assert set(_told(status)) == {"Ready"}


def test_success_ends_reconciling_and_stalled() -> None:
    stalled = fold(kustomization(), Stalled(reason="AccessDenied", message="no"), NOW)
    status = fold(_after(stalled), Applied(attempt=_attempt(), inventory=ONE), LATER)
    assert set(_told(status)) == {"Ready"}


def test_an_empty_build_stores_an_empty_inventory() -> None:
    status = fold(kustomization(), Applied(attempt=_attempt(), inventory=Inventory()), NOW)
    assert msgspec.to_builtins(status)["inventory"] == {"entries": ()}


def test_failure_leaves_the_applied_revision_and_the_generation_behind() -> None:
    step = "Running health checks for revision main@sha1:2 with a timeout of 5m0s"
    outcome = Failed(
        reason="HealthCheckFailed",
        message="health check failed after 5m0s: timeout waiting for: []",
        attempt=_attempt(2),
        progress=step,
        inventory=TWO,
        health="timeout waiting for: []",
    )
    status = fold(_after(APPLIED), outcome, LATER)
    assert _told(status) == {
        "Reconciling": ("True", "ProgressingWithRetry", step),
        "Ready": ("False", "HealthCheckFailed", "health check failed after 5m0s: timeout waiting for: []"),
        "Healthy": ("False", "HealthCheckFailed", "timeout waiting for: []"),
    }
    assert status.observed_generation == 1
    assert (status.last_applied_revision, status.last_attempted_revision) == ("main@sha1:1", "main@sha1:2")
    assert stored_inventory(status) == TWO
    assert [entry.last_reconciled_status for entry in status.history] == [
        "HealthCheckFailed",
        "ReconciliationSucceeded",
    ]


def test_failure_keeps_the_step_that_was_under_way() -> None:
    begun = fold(kustomization(), Progress(attempt=_attempt(), message="Detecting drift"), NOW)
    status = fold(_after(begun), Failed(reason="BuildFailed", message="bad"), LATER)
    assert _told(status)["Reconciling"] == ("True", "ProgressingWithRetry", "Detecting drift")


def test_failure_before_any_step_reconciles_nothing() -> None:
    status = fold(_after(APPLIED), Failed(reason="ArtifactFailed", message="no source"), LATER)
    assert set(_told(status)) == {"Ready", "Healthy"}
    assert stored_inventory(status) == ONE
    assert status.last_attempted_revision == "main@sha1:1"


@pytest.mark.parametrize(
    ("reason", "recorded"),
    [
        ("ReconciliationFailed", True),
        ("PruneFailed", True),
        ("HealthCheckFailed", True),
        ("BuildFailed", False),
        ("ArtifactFailed", False),
        ("DependencyNotReady", False),
    ],
)
def test_which_failures_are_history(reason: str, recorded: bool) -> None:
    status = fold(kustomization(), Failed(reason=reason, message="m", attempt=_attempt()), NOW)
    assert [entry.last_reconciled_status for entry in status.history] == ([reason] if recorded else [])


def test_a_failure_before_the_build_has_no_digest_to_record() -> None:
    attempt = Attempt(revision="main@sha1:1", started=NOW)
    status = fold(kustomization(), Failed(reason="ReconciliationFailed", message="m", attempt=attempt), NOW)
    assert status.history == ()
    assert status.last_attempted_revision == "main@sha1:1"


def test_a_wrong_spec_stalls() -> None:
    begun = fold(_after(APPLIED), Progress(attempt=_attempt(2), message="going"), NOW)
    status = fold(_after(begun), Stalled(reason="AccessDenied", message="not yours"), LATER)
    told = _told(status)
    assert told["Stalled"] == ("True", "AccessDenied", "not yours")
    assert told["Ready"] == ("False", "AccessDenied", "not yours")
    assert "Reconciling" not in told, "the two exclude each other (kstatus)"
    assert status.observed_generation == 2, "nothing happens until the spec changes"
    assert status.last_applied_revision == "main@sha1:1"


@pytest.mark.parametrize(
    "outcome", [Failed(reason="BuildFailed", message="m"), Progress(attempt=_attempt(), message="m")]
)
def test_a_corrected_spec_is_not_stalled_any_more(outcome: Outcome) -> None:
    stalled = fold(kustomization(), Stalled(reason="AccessDenied", message="no"), NOW)
    assert "Stalled" not in _told(fold(_after(stalled), outcome, LATER))


def test_a_suspended_one_that_is_ready_acknowledges_its_generation() -> None:
    status = fold(_after(APPLIED), Suspended(), LATER)
    assert status == msgspec.structs.replace(APPLIED, observed_generation=2)


def test_a_suspended_one_that_is_not_ready_does_not() -> None:
    failed = fold(kustomization(), Failed(reason="BuildFailed", message="m"), NOW)
    assert fold(_after(failed), Suspended(), LATER) == failed


FINISHED: list[Outcome] = [
    Applied(attempt=_attempt(), inventory=ONE),
    Failed(reason="BuildFailed", message="m"),
    Stalled(reason="AccessDenied", message="m"),
    Suspended(),
]


@pytest.mark.parametrize("outcome", FINISHED)
def test_every_end_of_a_pass_echoes_the_request(outcome: Outcome) -> None:
    assert fold(kustomization(requested="t1"), outcome, NOW).last_handled_reconcile_at == "t1"
    handled = _after(KustomizationStatus(last_handled_reconcile_at="t0"))
    assert fold(handled, outcome, NOW).last_handled_reconcile_at == "t0", "no annotation, nothing to echo"


def test_progress_is_no_end() -> None:
    status = fold(kustomization(requested="t1"), Progress(attempt=_attempt(), message="m"), NOW)
    assert status.last_handled_reconcile_at is None


def test_a_canceled_health_check_is_no_end_and_no_history() -> None:
    checking = Progress(attempt=_attempt(2), message="Running health checks", checking_health=True)
    running = _after(fold(_after(APPLIED), checking, NOW), requested="t1")
    status = fold(running, Canceled(_attempt(2), "GitRepository/team/repo"), LATER)
    told = _told(status)
    assert told["Ready"] == ("False", "HealthCheckCanceled", "New reconciliation triggered by GitRepository/team/repo")
    assert told["Reconciling"] == ("True", "ProgressingWithRetry", "Running health checks")
    assert told["Healthy"][0] == "Unknown"
    assert status.history == APPLIED.history
    assert status.last_handled_reconcile_at is None


def test_history_counts_equal_endings_and_puts_them_first() -> None:
    status = KustomizationStatus()
    for number, when in ((1, 0), (2, 1), (1, 2)):
        now = NOW + timedelta(minutes=when)
        status = fold(_after(status), Applied(attempt=_attempt(number), inventory=ONE), now)
    first, second = status.history
    assert (first.digest, first.total_reconciliations) == ("sha256:1", 2)
    assert (first.first_reconciled, first.last_reconciled) == (NOW, NOW + timedelta(minutes=2))
    assert second.digest == "sha256:2"


def test_history_tells_endings_of_one_digest_apart() -> None:
    status = fold(_after(APPLIED), Failed(reason="PruneFailed", message="m", attempt=_attempt()), LATER)
    assert [(entry.digest, entry.last_reconciled_status) for entry in status.history] == [
        ("sha256:1", "PruneFailed"),
        ("sha256:1", "ReconciliationSucceeded"),
    ]


def test_a_pass_without_news_writes_nothing() -> None:
    settled = _after(fold(kustomization(), Applied(attempt=_attempt(), inventory=ONE, healthy_after=1.0), NOW))
    quiet = Applied(attempt=_attempt(), inventory=ONE, healthy_after=7.0, noteworthy=False)
    assert fold(settled, quiet, LATER) == settled.status


ATTEMPTS = st.integers(1, 8).map(_attempt)
TEXTS = st.sampled_from(["a", "b"])
INVENTORIES = st.sampled_from([Inventory(), ONE, TWO])
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(
        Progress,
        attempt=ATTEMPTS,
        message=TEXTS,
        inventory=st.none() | INVENTORIES,
        checking_health=st.booleans(),
    ),
    st.builds(
        Applied,
        attempt=ATTEMPTS,
        inventory=INVENTORIES,
        healthy_after=st.none() | st.floats(0, 100),
        noteworthy=st.booleans(),
    ),
    st.builds(
        Failed,
        reason=st.sampled_from(["BuildFailed", "PruneFailed", "HealthCheckFailed"]),
        message=TEXTS,
        attempt=st.none() | ATTEMPTS,
        progress=st.just("") | TEXTS,
        inventory=st.none() | INVENTORIES,
        health=st.just("") | TEXTS,
    ),
    st.builds(Stalled, reason=st.just("AccessDenied"), message=TEXTS),
    st.just(Suspended()),
)


@given(st.lists(st.tuples(OUTCOMES, st.integers(0, 1)), max_size=8))
def test_whatever_happens_the_status_stays_readable(story: list[tuple[Outcome, int]]) -> None:
    """What kstatus, `kubectl wait` and the flux command rely on."""
    status, generation = KustomizationStatus(observed_generation=-1), 1
    for step, (outcome, edited) in enumerate(story):
        generation += edited
        before = status
        current = _after(before, generation=generation)
        status = fold(current, outcome, NOW + timedelta(minutes=step))
        true = {entry.type for entry in status.conditions if entry.status == "True"}
        assert not {"Stalled", "Reconciling"} <= true
        assert not ("Ready" in true and "Stalled" in true)
        assert before.observed_generation <= status.observed_generation <= generation
        assert len(status.history) <= 5
        endings = [(entry.digest, entry.last_reconciled_status) for entry in status.history]
        assert len(endings) == len(set(endings))
        if isinstance(outcome, Applied):
            assert status.observed_generation == generation
            assert "Reconciling" not in true
        elif isinstance(outcome, Progress | Failed):
            assert status.observed_generation == before.observed_generation
            assert status.last_applied_revision == before.last_applied_revision
            assert "Ready" not in true


@given(OUTCOMES, OUTCOMES)
def test_the_same_news_again_is_no_news_but_for_counters(first: Outcome, second: Outcome) -> None:
    current = _after(fold(kustomization(requested="t"), first, NOW), requested="t")
    once = fold(current, second, LATER)
    twice = fold(_after(once, requested="t"), second, LATER + timedelta(minutes=1))
    assert twice.conditions == once.conditions
    assert msgspec.structs.replace(twice, history=()) == msgspec.structs.replace(once, history=())


def test_readiness_is_in_one_place() -> None:
    assert c.is_true(APPLIED.conditions, c.READY)
