"""What policies say: rules by kind, operation and direction, pins, prunes, approvals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agent.api.changepolicy import ChangePolicy
from agent.core.models import ChangeRecord, Digest, RenderedSet
from agent.core.models.extract.declared import with_digest
from agent.core.models.floating import Floated, floated
from agent.core.models.references import references
from agent.core.policy import judging
from tests.unit.models.manifests import A, B, compare, obj, only, vllm
from tests.unit.models.test_impact import KSERVE, isvc, runtime

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
RECORD = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))


def policy(name: str = "p", **spec: Any) -> ChangePolicy:
    return ChangePolicy.from_object({"metadata": {"namespace": "ml", "name": name}, "spec": spec})


def rules(*listed: dict[str, Any], name: str = "p") -> ChangePolicy:
    return policy(name, rules=list(listed))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"action": "hold"}, "hold"),
        ({"action": "alert", "kinds": ["model"]}, "alert"),
        ({"action": "hold", "kinds": ["adapter"]}, None),
        ({"action": "hold", "operations": ["removed"]}, None),
        ({"action": "hold", "directions": ["revert"]}, None),
        ({"action": "hold", "directions": ["unknown"]}, "hold"),
        ({"action": "canary"}, "hold"),  # no Canary covers the object
    ],
)
def test_a_rule_fits_by_kind_operation_and_direction(rule: dict[str, Any], expected: str | None) -> None:
    found = judging.ruling([rules(rule)], RECORD)
    assert (found.action if found else None) == expected


def test_the_first_rule_that_fits_counts_and_the_strictest_policy() -> None:
    lenient = rules({"action": "apply", "kinds": ["model"]}, {"action": "hold"}, name="lenient")
    assert judging.ruling([lenient], RECORD) == ("apply", "lenient", "")
    assert judging.ruling([lenient, rules({"action": "hold"}, name="strict")], RECORD) == ("hold", "strict", "")


def test_a_revert_can_be_let_through() -> None:
    record = only(
        compare(
            [vllm("org/m", "--revision", A)],
            [vllm("org/m", "--revision", B)],
            history=lambda *_: "main@sha1:0",
        )
    )
    fast = rules({"action": "apply", "directions": ["revert"]}, {"action": "hold"})
    assert judging.ruling([fast], record) == ("apply", "p", "")
    assert judging.ruling([fast], RECORD) == ("hold", "p", "")


def test_a_text_that_means_the_same_is_held_by_no_rule_unless_named() -> None:
    record = only(compare([vllm("org/m")], [vllm("org/m", "--revision", "main")]))
    assert record.op == "respelled"
    assert judging.ruling([rules({"action": "hold"})], record) is None
    assert judging.ruling([rules({"action": "hold", "operations": ["respelled"]})], record) == ("hold", "p", "")


@pytest.mark.parametrize(
    ("listed", "waits"),
    [
        ((), False),
        (({"action": "alert"}, {"action": "hold"}), False),
        (({"action": "alert", "operations": ["metadata-only"]}, {"action": "hold"}), True),
        (({"action": "alert"},), False),
        (({"action": "alert", "operations": ["metadata-only"]},), False),
        (({"action": "job", "trigger": {"name": "t"}},), False),
        (({"action": "hold", "operations": ["metadata-only"], "directions": ["unknown"]},), True),
        (({"action": "hold", "operations": ["metadata-only"], "directions": ["revert"]},), False),
        (({"action": "apply"}, {"action": "hold"}), False),
        (({"action": "rollout"},), False),
        (({"action": "hold"},), True),  # not if it turns out to be respelled
        (({"action": "canary"},), True),
        (({"action": "hold", "operations": ["respelled"]},), True),
        (({"action": "hold", "operations": ["changed", "respelled", "metadata-only"]},), False),
        (({"action": "hold", "operations": ["floated"]},), False),
        (({"action": "hold", "kinds": ["adapter"]},), False),
        (
            ({"action": "gate", "trigger": {"name": "t"}, "operations": ["changed", "respelled", "metadata-only"]},),
            True,
        ),
    ],
)
def test_what_content_decides_is_waited_for(listed: tuple[dict[str, Any], ...], waits: bool) -> None:
    assert judging.hinging_on_content([rules(*listed)], [RECORD]) == ([RECORD] if waits else [])


@pytest.mark.parametrize("operation", ["removed", "moved", "added"])
def test_what_may_have_moved_is_waited_for_on_both_sides(operation: str) -> None:
    gone = compare([vllm("org/m", "--revision", A)], [])
    come = compare([], [vllm("org/n", "--revision", B, name="other")])
    policies = [rules({"action": "hold", "kinds": ["model"], "operations": [operation]})]
    models = [one for one in (*gone, *come) if one.kind == "model"]
    assert {one.op for one in models} == {"added", "removed"}
    assert [one for one in judging.hinging_on_content(policies, [*gone, *come]) if one.kind == "model"] == models
    # alone they are what they are
    for records in (gone, come):
        assert judging.hinging_on_content(policies, records) == []


def test_the_record_tells_what_a_policy_does() -> None:
    held = judging.overruled([rules({"action": "hold"})], RECORD)
    assert (held.action, held.reason.code, held.reason.message) == ("gate", "policy", "ChangePolicy p: hold")
    assert held.id == RECORD.id
    assert judging.overruled([rules({"action": "apply"})], RECORD) is RECORD


def test_verdicts() -> None:
    hold = rules({"action": "hold"})
    assert "hf://org/m@" in judging.before_apply([hold], [RECORD], (), NOW, new=True).held[0]
    assert judging.before_apply([hold], [RECORD], (), NOW, new=False) == judging.Verdict()
    assert "cannot be told" in judging.before_apply([hold], None, (), NOW, new=True).held[0]


def test_an_alert_holds_nothing() -> None:
    alert = rules({"action": "alert"})
    for records in ([RECORD], None):
        assert judging.before_apply([alert], records, (), NOW, new=True) == judging.Verdict()
    assert judging.alerts([alert], RECORD) == [f"{RECORD.describe()} (p)"]
    assert judging.alerts([rules({"action": "alert", "operations": ["respelled"]})], RECORD) == []


def test_outside_of_the_windows_is_held_until_one_opens() -> None:
    night = policy(windows=[{"mode": "allow", "start": "22:00", "end": "23:00"}])
    verdict = judging.before_apply([night], [], (), NOW, new=True)
    assert verdict.held == ("outside of the sync windows until 2026-11-29 22:00 UTC",)
    assert verdict.opens == NOW.replace(hour=22)
    assert judging.before_apply([night], [], (), NOW, new=False) == judging.Verdict()


def test_references_that_float_are_refused_whether_they_changed_or_not() -> None:
    found = tuple(references(RenderedSet([vllm("org/m")])))
    verdict = judging.before_apply([policy(requirePinned=["model"])], [], found, NOW, new=False)
    (line,) = verdict.refused
    assert line == (
        "model container[vllm].model of Deployment chat is hf://org/m@main, which floats; name a commit, digest or "
        "version (requirePinned of ChangePolicy p)"
    )
    pinned = tuple(references(RenderedSet([vllm("org/m", "--revision", A)])))
    assert judging.before_apply([policy(requirePinned=["model"])], [], pinned, NOW, new=False) == judging.Verdict()


def test_an_annotation_takes_a_slot_out_of_the_requirement() -> None:
    manifest = vllm("org/m")
    manifest["metadata"]["annotations"] = {"weir.dev/ignore-change": "true"}
    found = tuple(references(RenderedSet([manifest])))
    assert judging.before_apply([policy(requirePinned=["model"])], [], found, NOW, new=False).refused == ()


@pytest.mark.parametrize(
    ("guard", "stale", "total", "held"),
    [
        ({"maxPercent": 30}, 3, 10, False),
        ({"maxPercent": 30}, 4, 10, True),
        ({"maxPercent": 0}, 1, 10, False),  # a single object is not asked about unless minObjects says so
        ({"maxPercent": 0, "minObjects": 1}, 1, 10, True),
        ({"maxPercent": 100}, 10, 10, False),
    ],
)
def test_prune_guard(guard: dict[str, int], stale: int, total: int, held: bool) -> None:
    assert bool(judging.before_prune([policy(prune=guard)], stale, total)) is held


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("main@sha1:0123456789abcdef", True),
        ("0123456 by jane: checked by hand", True),
        ("012345", False),  # too short to mean one commit
        ("abcdef0", False),
        ("", False),
        ("  ", False),
    ],
)
def test_approvals_name_a_revision(note: str, expected: bool) -> None:
    assert judging.approves(note, "main@sha1:0123456789abcdef") is expected


def test_policies_are_selected_by_namespace_and_labels() -> None:
    some = policy("some", selector={"matchLabels": {"environment": "production"}})
    off, every = policy("off", suspend=True), policy("every")
    assert judging.about([some, off, every], "ml", {"environment": "production"}) == [every, some]
    assert judging.about([some, off, every], "ml", {}) == [every]
    assert judging.about([some, off, every], "other", {}) == []


def test_a_faulty_window_is_named() -> None:
    bad = policy(windows=[{"mode": "allow", "start": "09:00", "end": "10:00", "timeZone": "Nowhere"}])
    assert judging.faults([bad]).startswith("ChangePolicy ml/p: spec.windows[0].timeZone: 'Nowhere'")


CANARY = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "metadata": {"namespace": "ml", "name": "chat"},
    "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}},
}


def moved(*canaries: dict[str, Any]) -> ChangeRecord:
    """A branch that means other content, with no commit."""
    rendered = RenderedSet([vllm("org/m")])
    (found,) = [one for one in references(rendered) if one.slot.kind == "model"]
    old, new = (with_digest(found.slot.ref, Digest("sha256", c * 64, "files", "sha256")) for c in "ab")
    return only(floated([Floated(found, old, new)], rendered, "ml/app", "main@sha1:1", list(canaries)))


@pytest.mark.parametrize(
    ("action", "covered", "committed", "uncommitted"),
    [
        ("rollout", False, "apply", "rollout"),  # what a commit changes rolls out by being applied
        ("canary", False, "hold", "hold"),
        ("canary", True, "apply", "rollout"),
        ("alert", False, "alert", "alert"),
        ("hot-reload", False, "apply", "rollout"),  # weights cannot be loaded into a server that runs
        ("hold", True, "hold", "hold"),
    ],
)
def test_what_an_action_comes_to(action: str, covered: bool, committed: str, uncommitted: str) -> None:
    canaries = [CANARY] if covered else []
    commit = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)], canaries=canaries))
    asked = [rules({"action": action, "operations": ["changed", "floated"]})]
    found = [judging.ruling(asked, record) for record in (commit, moved(*canaries))]
    assert [one.action if one else None for one in found] == [committed, uncommitted]


def test_an_adapter_that_the_server_can_load_is_loaded() -> None:
    env = [{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"}]
    sides = [vllm("org/m", "--lora-modules", f"sql=org/sql-{side}", env=env) for side in "ab"]
    record = only(compare(sides[:1], sides[1:]))
    assert judging.ruling([rules({"action": "hot-reload", "kinds": ["adapter"]})], record) == ("hot-reload", "p", "")


def test_a_gate_lets_through_what_its_trigger_has_passed() -> None:
    gate = rules({"action": "gate", "trigger": {"name": "evaluate"}})
    asked: list[str] = []

    def unmet(trigger: str, record: ChangeRecord) -> str:
        asked.append(trigger)
        return why

    for why in ("", "its run has failed"):
        verdict = judging.before_apply([gate], [RECORD], (), NOW, new=True, unmet=unmet)
        assert [why in line for line in verdict.held] == ([True] if why else [])
    assert asked == ["evaluate", "evaluate"]
    assert "DataTrigger evaluate" in judging.before_apply([gate], [RECORD], (), NOW, new=True).held[0]


def test_each_policy_has_its_say_about_a_change() -> None:
    passes = rules({"action": "gate", "trigger": {"name": "a"}}, name="first")
    fails = rules({"action": "gate", "trigger": {"name": "b"}}, name="second")
    alert = rules({"action": "alert"}, name="third")
    for policies in ([passes, fails, alert], [alert, fails, passes]):
        verdict = judging.before_apply(
            policies, [RECORD], (), NOW, new=True, unmet=lambda name, _: "has failed" if name == "b" else ""
        )
        assert [line[-20:] for line in verdict.held] == ["(second: has failed)"]
        assert [line[-7:] for line in judging.alerts(policies, RECORD)] == ["(third)"]


def test_jobs_of_all_policies_are_started_whatever_the_strictest_says() -> None:
    job, hold = rules({"action": "job", "trigger": {"name": "train"}}), rules({"action": "hold"}, name="strict")
    record = judging.overruled([job, hold], RECORD)
    assert (record.action, record.impact.jobs) == ("gate", ("DataTrigger/ml/train",))
    record = judging.overruled([job], RECORD)
    assert (record.action, record.reason.message) == ("job", "ChangePolicy p: job by DataTrigger train")
    assert judging.before_apply([job], [RECORD], (), NOW, new=True) == judging.Verdict()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"rules": [{"action": "gate"}]}, "spec.rules[0].trigger: gate needs the name of a DataTrigger"),
        ({"rules": [{"action": "apply"}, {"action": "explode"}]}, "spec.rules[1].action: 'explode' is none of"),
        ({"resolution": {"registries": [], "interval": "soon"}}, "spec.resolution.interval: "),
        ({"prune": {"maxPercent": "many"}}, "$.spec.prune.maxPercent"),  # does not fit its type
        ({"rules": 7}, "$.spec.rules"),
    ],
)
def test_what_cannot_be_followed_is_named(spec: dict[str, Any], expected: str) -> None:
    found = ChangePolicy.decode(msgspec.json.encode({"metadata": {"namespace": "ml", "name": "p"}, "spec": spec}))
    assert expected in judging.fault(found)
    assert judging.faults(judging.about([found], "ml", {"any": "label"})).startswith("ChangePolicy ml/p: ")


def test_no_canary_covers_an_edit_of_a_runtime_that_services_share() -> None:
    """It replaces the pods of all of them at once, whatever Canaries they have."""
    service = isvc(runtime="rt")
    target = {"apiVersion": KSERVE, "kind": "InferenceService", "name": "chat"}
    tried = obj("flagger.app/v1beta1", "Canary", {"targetRef": target}, "chat")
    record = only(compare([runtime("a:1"), service, tried], [runtime("a:2"), service, tried]))
    assert record.impact.canaries
    policies = [rules({"action": "canary", "kinds": ["runtime"]})]
    found = judging.ruling(policies, record)
    assert found is not None
    assert found.action == "hold"
    (held,) = judging.before_apply(policies, [record], (), NOW, new=True).held
    assert "which InferenceService/ml/chat get at once: make a ServingRuntime of another name" in held
    own = only(compare([service, tried], [isvc(runtime="rt-2"), tried]))
    other = judging.ruling(policies, own)
    assert other is not None
    assert other.action == "apply", "the reference to a runtime is the service's own"
