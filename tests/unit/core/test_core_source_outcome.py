"""From the end of a pass to the status of a GitRepository (source-controller's summary rules)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from core_values import LATER, NOW
from hypothesis import given
from hypothesis import strategies as st

from agent.api.gitrepository import GitRepository, GitRepositoryStatus
from agent.api.meta import Artifact
from agent.core import conditions as c
from agent.core.source_outcome import (
    ArtifactLost,
    FetchFailed,
    Fetching,
    SourceOutcome,
    SourceStalled,
    Stored,
    Verified,
    fold_source,
    stored_message,
)


def _repository(
    status: GitRepositoryStatus | None = None, *, generation: int = 1, requested: str = "", **spec: Any
) -> GitRepository:
    annotations = {"reconcile.fluxcd.io/requestedAt": requested} if requested else {}
    found = GitRepository.from_object(
        {
            "metadata": {"name": "repo", "namespace": "team", "generation": generation, "annotations": annotations},
            "spec": {"url": "https://git.example.org/x", "interval": "1m", **spec},
        }
    )
    return msgspec.structs.replace(found, status=status or GitRepositoryStatus(observed_generation=-1))


def _artifact(number: int) -> Artifact:
    return Artifact(
        digest=f"sha256:{number}",
        last_update_time=NOW,
        path=f"gitrepository/team/repo/{number}.tar.gz",
        revision=f"main@sha1:{number}",
        url=f"http://storage/{number}",
    )


def _told(status: GitRepositoryStatus) -> dict[str, tuple[str, str, str]]:
    return {entry.type: (entry.status, entry.reason, entry.message) for entry in status.conditions}


STORED = fold_source(_repository(), Stored(artifact=_artifact(1)), NOW)


def test_stored() -> None:
    message = "stored artifact for revision 'main@sha1:1'"
    assert stored_message("main@sha1:1") == message
    assert _told(STORED) == {
        "Ready": ("True", "Succeeded", message),
        "ArtifactInStorage": ("True", "Succeeded", message),
    }
    assert STORED.observed_generation == 1
    assert STORED.artifact == _artifact(1)


def test_stored_remembers_the_settings_that_the_artifact_was_made_with() -> None:
    status = fold_source(_repository(ignore="*.md", sparseCheckout=["a"]), Stored(artifact=_artifact(1)), NOW)
    assert (status.observed_ignore, status.observed_sparse_checkout) == ("*.md", ("a",))


def test_the_first_look_is_of_unknown_end() -> None:
    status = fold_source(_repository(), Fetching(message="reconciliation in progress"), NOW)
    assert _told(status) == {
        "Reconciling": ("True", "Progressing", "reconciliation in progress"),
        "Ready": ("Unknown", "Progressing", "reconciliation in progress"),
    }
    assert status.observed_generation == -1


def test_a_later_look_stays_ready() -> None:
    message = "processing object: new generation 1 -> 2"
    looking = fold_source(_repository(STORED, generation=2), Fetching(message=message), LATER)
    assert _told(looking)["Ready"][0] == "True"
    assert _told(looking)["Reconciling"] == ("True", "Progressing", message)
    assert looking.observed_generation == 1


def test_an_artifact_is_outdated_where_the_next_cannot_be_stored() -> None:
    failed = FetchFailed(
        reason="ArchiveOperationFailed", message="disk full", condition="StorageOperationFailed", newer="main@sha1:2"
    )
    status = fold_source(_repository(STORED), failed, LATER)
    assert _told(status)["ArtifactOutdated"] == ("True", "NewRevision", "new upstream revision 'main@sha1:2'")
    assert _told(status)["Ready"] == ("False", "ArchiveOperationFailed", "disk full")
    assert status.artifact == _artifact(1), "the old one stays until the new one is there"
    assert "ArtifactOutdated" not in _told(fold_source(_repository(status), Stored(artifact=_artifact(2)), LATER))


def test_an_artifact_that_is_lost_is_named_no_more() -> None:
    failed = fold_source(_repository(STORED), FetchFailed(reason="GitOperationFailed", message="gone"), LATER)
    status = fold_source(_repository(failed), ArtifactLost(), LATER)
    assert status.artifact is None
    assert "ArtifactInStorage" not in _told(status)
    assert _told(status)["Ready"] == ("False", "GitOperationFailed", "gone")


def test_failure_keeps_the_artifact_and_leaves_the_generation_behind() -> None:
    outcome = FetchFailed(reason="GitOperationFailed", message="unreachable")
    status = fold_source(_repository(STORED, generation=2), outcome, LATER)
    told = _told(status)
    assert told["Ready"] == ("False", "GitOperationFailed", "unreachable")
    assert told["FetchFailed"] == ("True", "GitOperationFailed", "unreachable")
    assert told["Reconciling"] == ("True", "ProgressingWithRetry", "reconciliation in progress")
    assert told["ArtifactInStorage"][0] == "True"
    assert status.artifact == _artifact(1)
    assert status.observed_generation == 1


def test_the_latest_failure_replaces_the_other_kind() -> None:
    """Whoever could store something has fetched it, and whoever could not fetch has stored nothing."""
    fetch = FetchFailed(reason="GitOperationFailed", message="unreachable")
    storage = FetchFailed(reason="ArchiveOperationFailed", message="disk full", condition="StorageOperationFailed")
    for first, second, gone in ((fetch, storage, "FetchFailed"), (storage, fetch, "StorageOperationFailed")):
        status = fold_source(_repository(fold_source(_repository(), first, NOW)), second, LATER)
        assert gone not in _told(status)
        assert _told(status)[second.condition][0] == "True"


def test_a_wrong_spec_stalls() -> None:
    status = fold_source(_repository(STORED, generation=2), SourceStalled(reason="URLInvalid", message="bad"), LATER)
    told = _told(status)
    assert told["Stalled"] == told["FetchFailed"] == ("True", "URLInvalid", "bad")
    assert told["Ready"] == ("False", "URLInvalid", "bad")
    assert "Reconciling" not in told
    assert status.observed_generation == 2


def test_success_clears_all_that_was_wrong() -> None:
    status = STORED
    for outcome in (
        FetchFailed(reason="GitOperationFailed", message="m"),
        FetchFailed(reason="ArchiveOperationFailed", message="m", condition="StorageOperationFailed"),
        SourceStalled(reason="URLInvalid", message="m"),
        Fetching(message="m"),
        ArtifactLost(),
    ):
        status = fold_source(_repository(status), outcome, LATER)
    assert set(_told(fold_source(_repository(status), Stored(artifact=_artifact(2)), LATER))) == {
        "Ready",
        "ArtifactInStorage",
    }


def test_a_pass_without_news_writes_nothing() -> None:
    assert fold_source(_repository(STORED), Stored(artifact=_artifact(1)), LATER) == STORED


ENDS: list[SourceOutcome] = [
    Stored(artifact=_artifact(1)),
    FetchFailed(reason="GitOperationFailed", message="m"),
    SourceStalled(reason="URLInvalid", message="m"),
]


@pytest.mark.parametrize("outcome", ENDS)
def test_every_end_of_a_pass_echoes_the_request(outcome: SourceOutcome) -> None:
    assert fold_source(_repository(requested="t1"), outcome, NOW).last_handled_reconcile_at == "t1"


def test_progress_is_no_end() -> None:
    assert fold_source(_repository(requested="t1"), Fetching(message="m"), NOW).last_handled_reconcile_at is None


OUTCOMES: st.SearchStrategy[SourceOutcome] = st.one_of(
    st.builds(Fetching, message=st.just("m")),
    st.builds(Stored, artifact=st.integers(1, 3).map(_artifact)),
    st.builds(
        FetchFailed,
        reason=st.just("R"),
        message=st.just("m"),
        condition=st.sampled_from(["FetchFailed", "StorageOperationFailed"]),
        newer=st.sampled_from(["", "main@sha1:2"]),
    ),
    st.builds(SourceStalled, reason=st.just("R"), message=st.just("m")),
)
BAD = {"StorageOperationFailed", "FetchFailed", "IncludeUnavailable", "ArtifactOutdated", "Stalled"}


@given(st.lists(OUTCOMES, max_size=8))
def test_whatever_happens_the_summary_follows_from_the_parts(story: list[SourceOutcome]) -> None:
    status = GitRepositoryStatus(observed_generation=-1)
    for step, outcome in enumerate(story):
        status = fold_source(_repository(status), outcome, NOW + timedelta(minutes=step))
        true = {entry.type for entry in status.conditions if entry.status == "True"}
        assert not {"Stalled", "Reconciling"} <= true
        if "Ready" in true:
            assert not true & BAD
            assert status.artifact is not None
            assert _told(status)["Ready"][2] == stored_message(status.artifact.revision)
        again = fold_source(_repository(status), outcome, NOW + timedelta(hours=1))
        assert again == status


def test_signatures_are_told_until_they_are_no_longer_asked_for() -> None:
    verified = Verified(mode="Tag", message="verified signature of x")
    good = fold_source(_repository(), Stored(artifact=_artifact(1), verified=verified), NOW)
    assert good.source_verification_mode == "Tag"
    assert c.is_true(good.conditions, c.SOURCE_VERIFIED)

    unreachable = FetchFailed(reason="GitOperationFailed", message="gone")
    still = fold_source(msgspec.structs.replace(_repository(), status=good), unreachable, NOW)
    assert c.is_true(still.conditions, c.SOURCE_VERIFIED)

    unsigned = FetchFailed(reason="InvalidCommitSignature", message="not signed", condition=c.SOURCE_VERIFIED)
    bad = fold_source(msgspec.structs.replace(_repository(), status=still), unsigned, NOW)
    assert c.is_false(bad.conditions, c.SOURCE_VERIFIED)
    assert c.is_false(bad.conditions, c.READY)
    assert c.find(bad.conditions, c.FETCH_FAILED) is None

    gone = fold_source(msgspec.structs.replace(_repository(), status=bad), unreachable, NOW)
    assert c.find(gone.conditions, c.SOURCE_VERIFIED) is None
    plain = fold_source(msgspec.structs.replace(_repository(), status=good), Stored(artifact=_artifact(1)), NOW)
    assert c.find(plain.conditions, c.SOURCE_VERIFIED) is None
    assert plain.source_verification_mode is None
