"""Rejected references: what they are, how long they count, and where they hold a new revision."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rollout_world import World, make_plan

from agent.core.rollout import actions as act
from agent.core.rollout.commands import COMMAND, OUTCOME
from agent.core.rollout.podspec import ConfigRef
from agent.core.rollout.quarantine import (
    KEPT,
    QUARANTINE,
    Reference,
    Rejected,
    added,
    as_target,
    changes_content,
    decode_quarantine,
    encode_quarantine,
    held,
    references_of,
    rejected_by,
    withheld,
    without,
)
from agent.core.rollout.status import BLOCKED, Phase

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD, BAD = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40


def deployment(*args: str, image: str = "server:1", name: str = "chat", **container: object) -> dict:
    pod = {"containers": [{"name": "server", "image": image, "args": list(args), **container}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "models"},
        "spec": {"template": {"metadata": {"labels": {"app": name}, "annotations": {"flagger-id": "x"}}, "spec": pod}},
    }


def config(value: str, name: str = "settings") -> dict:
    metadata = {"name": name, "namespace": "models"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"model": value}}


def entry(slot: str = "s", digest: str = "d", revision: str = "v2:a", at: datetime = NOW) -> Rejected:
    return Rejected(slot=slot, kind="model", rejected=digest, digest=digest, revision=revision, at=at)


def test_what_a_rejected_revision_changed() -> None:
    found = rejected_by([deployment(f"--model={GOOD}")], [deployment(f"--model={BAD}")], "v2:b", NOW, "too\n slow")
    assert [(one.slot, one.rejected, one.restore, one.revision, one.verdict) for one in found] == [
        ("container[server].model", BAD, GOOD, "v2:b", "too slow")
    ]


def test_what_metadata_vouch_for_is_said_of_the_new_revision_alone() -> None:
    """What serves has the metadata that Git has now, and so the digest of what is on trial."""
    before, after = (deployment(f"--model=s3://b/{name}") for name in ("v1", "v2"))
    for one in (before, after):
        one["metadata"]["annotations"] = {"weir.dev/model-digest.container-server-model": "sha256:" + "5" * 64}
    assert changes_content([before], [after])
    (found,) = rejected_by([before], [after], "v2:b", NOW, "")
    assert (found.rejected, found.restore) == ("s3://b/v2", "s3://b/v1")
    assert held([found], references_of([after])) == found
    assert held([found], references_of([before])) is None


def test_a_model_and_an_image_are_two_entries_and_what_is_no_reference_is_none() -> None:
    before = deployment(f"--model={GOOD}", image="acme/server:v1", env=[{"name": "A", "value": "1"}])
    after = deployment(f"--model={BAD}", image="acme/server:v2", env=[{"name": "A", "value": "2"}])
    found = rejected_by([before], [after], "v2:b", NOW, "")
    assert {one.slot for one in found} == {"container[server].model", "container[server].image"}


def test_the_primary_is_read_as_the_target_was() -> None:
    def environment(name: str) -> list[dict]:
        return [{"name": "MODEL_ID", "valueFrom": {"configMapKeyRef": {"name": name, "key": "model"}}}]

    target = deployment(image="vllm/vllm:v1", env=environment("settings"))
    primary = deployment(image="vllm/vllm:v1", name="chat-primary", env=environment("settings-primary"))
    copies = {ConfigRef("configmap", "settings"): config("acme/one", "settings-primary")}
    before = as_target(target, primary, copies)
    found = rejected_by(before, [target, config("acme/two")], "v2:b", NOW, "")
    models = [one for one in found if one.kind == "model"]
    assert [(one.rejected, one.restore) for one in models] == [("acme/two", "acme/one")]
    assert primary["spec"]["template"]["metadata"]["annotations"] == {"flagger-id": "x"}, "what is passed in stays"


def test_entries_survive_in_the_annotation_and_a_broken_one_holds_none() -> None:
    entries = (entry("a"), entry("b"))
    assert decode_quarantine({QUARANTINE: encode_quarantine(entries) or ""}) == entries
    assert encode_quarantine(()) is None
    without_zone = (encode_quarantine(entries) or "").replace("Z", "")
    for text in ("", "{", '{"a":1}', "[1]", "[" * 100_000, without_zone):
        assert decode_quarantine({QUARANTINE: text}) == ()


def test_the_list_is_bounded_and_a_second_note_of_the_same_changes_nothing() -> None:
    entries = added((), [entry(str(number)) for number in range(KEPT + 5)])
    assert [one.slot for one in entries] == [str(number) for number in range(5, KEPT + 5)]
    later = NOW + timedelta(hours=1)
    assert added(entries, [entry("7", at=later)])[-1] == entry("7"), "the same revision: the first note stays"
    assert added(entries, [entry("7", revision="v2:c", at=later)])[-1] == entry("7", revision="v2:c", at=later)


def test_a_reference_is_held_while_it_is_in_its_slot() -> None:
    entries = rejected_by([deployment(f"--model={GOOD}")], [deployment(f"--model={BAD}")], "v2:b", NOW, "")
    assert held(entries, references_of([deployment(f"--model={BAD}", image="other:2")])) == entries[0]
    assert held(entries, references_of([deployment(f"--model={GOOD}")])) is None
    assert held((), references_of([deployment(f"--model={BAD}")])) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (deployment(f"--model={GOOD}"), deployment(f"--model={BAD}"), True),
        (deployment(f"--model={GOOD}", image="acme/server:v1"), deployment(f"--model={GOOD}", image="b:2"), False),
        (deployment(f"--model={GOOD}"), deployment(f"--model={GOOD}", "--port=1"), False),
        (deployment("--port=1"), deployment(f"--model={GOOD}"), True),
        (deployment(f"--model={GOOD}"), deployment("--port=1"), True),
    ],
)
def test_another_model_is_a_change_of_content_and_another_image_is_none(
    before: dict, after: dict, expected: bool
) -> None:
    assert changes_content([before], [after]) is expected


def test_a_model_that_is_named_in_a_config_changes_with_it() -> None:
    source = {"env": [{"name": "MODEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "model"}}}]}
    workload = deployment("--model=$(MODEL)", **source)
    assert changes_content([workload, config(GOOD)], [workload, config(BAD)])
    assert not changes_content([workload, config(GOOD)], [workload, config(GOOD)])


def test_what_is_promoted_is_released() -> None:
    entries = (entry("a", "d1"), entry("b", "d2"))
    promoted = [Reference(slot="a", kind="model", spelling="x", digest="d1")]
    assert without(entries, promoted) == (entries[1],)


@pytest.mark.parametrize("verdict", ["x" * 5000, "a\nb\tc"])
def test_a_verdict_is_one_bounded_line(verdict: str) -> None:
    (one,) = rejected_by([deployment(f"--model={GOOD}")], [deployment(f"--model={BAD}")], "v2:b", NOW, verdict)
    assert len(one.verdict) <= 400
    assert one.verdict.isprintable()
    assert len(msgspec.json.encode(one)) < 1500


def initialized(**changes: object) -> World:
    world = World(make_plan(**changes))
    world.run(3)
    assert world.status.phase is Phase.INITIALIZED
    return world


def test_a_rollback_notes_what_was_rejected_before_the_status_says_so() -> None:
    world = initialized()
    world.revision, world.bad = "b", frozenset({"b"})
    world.run(8)
    assert world.status.phase is Phase.FAILED
    noted = next(number for number, action in enumerate(world.log) if isinstance(action, act.Quarantine))
    failed = next(
        number
        for number, action in enumerate(world.log)
        if isinstance(action, act.WriteStatus) and action.status.phase is Phase.FAILED
    )
    assert noted < failed, "a process that dies in between rolls back once more, and notes it once more"
    assert "threshold reached" in world.log[noted].verdict


def test_a_held_revision_starts_nothing_until_it_changes_or_is_let_in() -> None:
    world = initialized()
    world.revision, world.held = "b", frozenset({"b"})
    world.run(3)
    condition = world.status.condition(BLOCKED)
    assert condition is not None
    assert (world.status.phase, condition.reason, condition.message) == (
        Phase.INITIALIZED,
        "Quarantined",
        "b was rejected",
    )
    assert world.routes == act.HOME
    world.held = frozenset()
    world.tick()
    assert (world.status.phase, world.status.condition(BLOCKED)) == (Phase.PROGRESSING, None)


def test_a_held_revision_ends_the_run_of_another_one() -> None:
    world = initialized()
    world.revision = "c"
    world.run(4)
    assert world.routes.canary > 0
    world.revision, world.held = "b", frozenset({"b"})
    world.tick(due=False)
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.FAILED, "v2:b")
    assert (world.routes, world.target_replicas) == (act.HOME, 0)
    before = len(world.texts())
    world.run(3)
    assert len(world.texts()) == before, "said once"
    world.revision = "a"
    world.tick()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_person_lets_a_held_revision_in_by_a_retry() -> None:
    world = initialized()
    world.revision, world.held = "b", frozenset({"b"})
    world.run(2)
    world.annotations[COMMAND] = "retry by=jane"
    world.tick()
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.PROGRESSING, "v2:b")
    assert world.annotations[OUTCOME] == "done: started again"
    world.run(10)
    assert (world.status.phase, world.primary) == (Phase.SUCCEEDED, "b")


def test_what_git_asks_for_and_the_primary_does_not_serve() -> None:
    serving = references_of([deployment(f"--model={GOOD}")])
    asked = references_of([deployment(f"--model={BAD}")])
    slot = "container[server].model"
    assert [(one.slot, one.wanted, one.serving) for one in withheld(asked, serving)] == [(slot, BAD, GOOD)]
    assert (slot, BAD, "") in [(one.slot, one.wanted, one.serving) for one in withheld(asked, ())]
    assert withheld(serving, serving) == ()
