"""What policies send to a trigger: it is run even where it is seen first, and only as long as it is the last change."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from trigger_world import World, app, data, place, trigger

from agent.api.changepolicy import ChangePolicy
from agent.core.models import ChangeRecord, Reason
from agent.core.policy.judging import overruled
from agent.core.trigger.sent import sent
from tests.unit.models.manifests import A, B, C, compare, only, vllm

OLD, NEW, OTHER = (data(name, digest * 64) for name, digest in (("a", "a"), ("b", "b"), ("c", "c")))
DATA_NEW = f"sha256:{'b' * 64}"
MARK = ("Deployment/ml/chat", "container[vllm].model")


def change(old: str, new: str, *rules: dict[str, Any]) -> ChangeRecord:
    """The record of a change of the model, as a policy with these rules has it."""
    record = only(compare([vllm("org/m", "--revision", old)], [vllm("org/m", "--revision", new)]))
    spec = {"rules": list(rules)}
    return overruled([ChangePolicy.from_object({"metadata": {"namespace": "ml", "name": "p"}, "spec": spec})], record)


def rule(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "trigger": {"name": "retrain"}, **more}


@pytest.mark.parametrize("action", ["job", "gate"])
def test_a_rule_sends_what_it_fits(action: str) -> None:
    found = sent([change(A, B, rule(action))], trigger())
    assert {mark: ref.canonical for mark, ref in found.items() if ref} == {MARK: f"hf://org/m@{A}"}


@pytest.mark.parametrize(
    "rules",
    [
        (),
        ({"action": "alert"},),
        (rule("job", kinds=["data"]),),
        (rule("job", operations=["floated"]),),
        (rule("job", trigger={"name": "another"}),),
        ({"action": "apply"}, rule("job")),
    ],
)
def test_nothing_else_is_sent(rules: tuple[dict[str, Any], ...]) -> None:
    assert sent([change(A, B, *rules)], trigger()) == {}


def test_the_last_change_of_a_place_counts() -> None:
    first, second = change(A, B, rule("job")), change(B, C, {"action": "apply"})
    assert sent([second, first], trigger()) == {}
    assert sent([first, second], trigger()).keys() == {MARK}
    for same in (
        replace(second, op="respelled"),
        replace(second, reason=Reason("approved", "approved: jane")),
    ):
        assert sent([same, first], trigger()).keys() == {MARK}


def test_what_is_sent_is_run_where_the_source_is_seen_first() -> None:
    world = World()
    world.look(app(place(NEW, old=OLD, sent=True), place(OTHER, "another")))
    assert world.runs() == [DATA_NEW]
    assert world.run(DATA_NEW).old_reference == OLD.canonical


def test_what_was_noted_is_run_once_it_is_sent() -> None:
    world = World()
    world.look(app(place(NEW)))
    assert world.runs() == []
    world.look(app(place(NEW, old=OLD, sent=True)))
    assert world.runs() == [DATA_NEW]
    world.end()
    for _ in range(3):
        world.look(app(place(NEW, old=OLD, sent=True)))
    assert world.runs() == [DATA_NEW]


def test_what_was_sent_some_time_ago_goes_on_and_is_not_run_again() -> None:
    world = World(trigger(concurrencyPolicy="Replace"))
    world.look(app(place(NEW, old=OLD, sent=True)))
    world.look(app(place(NEW, old=NEW, sent=True)))
    assert [(run.data, run.state) for run in world.status.runs] == [(DATA_NEW, "Pending")]
    assert [slot.sent for slot in world.status.slots] == [True]
    world.look(app(place(NEW)))
    assert [slot.sent for slot in world.status.slots] == [False]


def test_what_was_noted_and_sent_some_time_ago_is_not_run() -> None:
    world = World()
    world.look(app(place(NEW)))
    world.look(app(place(data("b"), old=data("b"), sent=True)))
    assert world.runs() == []
    assert [slot.digest for slot in world.status.slots] == [DATA_NEW]


def test_what_floats_back_is_not_run_again() -> None:
    world = World()
    world.look(app(place(NEW, old=OLD, sent=True)))
    world.end()
    world.look(app(place(OLD)))
    world.end()
    world.look(app(place(NEW, old=OLD, sent=True)))
    assert world.runs().count(DATA_NEW) == 1
