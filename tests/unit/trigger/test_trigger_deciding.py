"""When data starts a run: once for each content, not before it has settled, by the policy for concurrency."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trigger_world import World, app, data, place, trigger

from agent.core.models.ref import OPAQUE, Identity, Ref
from agent.core.trigger.deciding import LEDGER, PLACES, cleared, decide, may_begin, once_more, run_name, with_run
from agent.core.trigger.selection import Place
from agent.core.trigger.sighting import SLOTS, Sighting, TooManyError, looked
from agent.core.trigger.template import KINDS, TRAIN_JOB, RunKind

A, B, C = (data(name, digest * 64) for name, digest in (("a", "a"), ("b", "b"), ("c", "c")))
DATA_A, DATA_B, DATA_C = (f"sha256:{digest * 64}" for digest in "abc")


def test_what_is_there_at_first_sight_is_noted_and_what_follows_is_run() -> None:
    world = World()
    world.look(app(place(A)))
    assert world.runs() == []
    world.look(app(place(B), revision="main@sha1:" + "b" * 40))
    assert world.runs() == [DATA_B]
    run = world.run(DATA_B)
    assert (run.old_digest, run.old_reference, run.reference) == (DATA_A, "s3://data/a", "s3://data/b")
    assert (run.old_revision, run.revision) == ("main@sha1:" + "a" * 40, "main@sha1:" + "b" * 40)
    assert run.slots == ("Deployment/ml/chat data-ref.train",)
    (slot,) = world.status.slots
    assert (slot.run, slot.digest, slot.pending) == (run.name, DATA_B, None)


def test_first_sight_can_be_asked_to_run() -> None:
    world = World(trigger(onFirstSight="Run"))
    world.look(app(place(A)))
    assert world.runs() == [DATA_A]


def test_a_reference_that_is_added_to_a_known_source_is_run() -> None:
    world = World()
    world.look(app())
    world.look(app(place(A)))
    assert world.runs() == [DATA_A]
    assert world.run(DATA_A).old_reference is None


@pytest.mark.parametrize(
    ("before", "after", "runs"),
    [
        pytest.param(A, A, [], id="the same"),
        pytest.param(A, data("a-by-another-name", "a" * 64), [], id="respelled"),
        pytest.param(A, data("a", "d" * 64), [f"sha256:{'d' * 64}"], id="floated"),
        pytest.param(data("a"), A, [], id="a digest becomes known"),
        pytest.param(A, data("a"), [], id="a registry is silent"),
        pytest.param(data("a"), data("b"), ["s3://data/b"], id="text alone"),
        pytest.param(A, data("b"), ["s3://data/b"], id="other text while a registry is silent"),
        pytest.param(A, data("a", "d" * 64, strength="etag"), [], id="digests of other making say nothing"),
        pytest.param(A, Ref("?", "s3", "?", False, Identity(unresolved="malformed")), [], id="unreadable"),
        pytest.param(
            Ref("/a", "pvc", "pvc://a", "opaque", Identity(unresolved=OPAQUE)),
            Ref("/b", "pvc", "pvc://b", "opaque", Identity(unresolved=OPAQUE)),
            ["pvc://b"],
            id="opaque",
        ),
    ],
)
def test_what_counts_as_other_data(before: Ref, after: Ref, runs: list[str]) -> None:
    world = World()
    world.look(app(place(before)))
    world.look(app(place(after)))
    assert world.runs() == runs


def test_a_silent_registry_takes_no_digest_back_so_that_a_later_move_is_seen() -> None:
    world = World()
    for ref in (A, data("a"), data("a", "d" * 64)):
        world.look(app(place(ref)))
    assert world.runs() == [f"sha256:{'d' * 64}"]


def test_a_registry_that_falls_silent_while_data_settles_does_not_make_it_run_by_its_text() -> None:
    world = World(trigger(settleFor="30s"))
    world.look(app(place(A)))
    world.look(app(place(B)))
    world.look(app(place(data("b"))), after=10)
    world.look(app(place(data("b"))), after=20)
    assert world.runs() == [DATA_B]


def test_data_that_runs_already_has_nothing_to_wait_for() -> None:
    world = World()
    world.look(app(place(A, "one"), place(A, "two")))
    world.look(app(place(B, "one"), place(A, "two")))
    assert world.look(app(place(B, "one"), place(B, "two"))).waiting == 0
    assert {slot.run for slot in world.status.slots} == {world.run(DATA_B).name}


def test_the_same_data_in_several_places_and_later_again_has_one_run() -> None:
    world = World()
    world.look(app(place(A, "one"), place(A, "two"), place(A, "three")))
    world.look(app(place(B, "one"), place(B, "two"), place(A, "three")))
    assert world.run(DATA_B).slots == ("Deployment/ml/chat one", "Deployment/ml/chat two")
    world.end()
    world.look(app(place(B, "one"), place(B, "two"), place(B, "three")))
    world.look(app(place(A, "one"), place(B, "two"), place(B, "three")))
    world.end()
    world.look(app(place(B, "one"), place(B, "two"), place(B, "three")))
    assert world.runs() == [DATA_B, DATA_A]


def test_data_has_to_settle_and_what_is_taken_back_meanwhile_is_not_run() -> None:
    world = World(trigger(settleFor="30s"))
    world.look(app(place(A)))
    assert world.look(app(place(B))).settling == 30
    assert world.look(app(place(C)), after=20).settling == 30
    assert world.look(app(place(C)), after=20).settling == 10
    world.look(app(place(C)), after=10)
    assert world.runs() == [DATA_C]
    world.end()
    world.look(app(place(B)))
    assert world.look(app(place(C)), after=10).settling is None
    world.look(app(place(C)), after=60)
    assert world.runs() == [DATA_C]


def test_forbid_waits_and_then_runs_the_newest() -> None:
    world = World()
    world.look(app(place(A)))
    world.look(app(place(B)))
    assert world.look(app(place(C))).waiting == 1
    assert world.look(app(place(data("d", "d" * 64)))).waiting == 1
    assert world.runs() == [DATA_B]
    world.end()
    world.look(app(place(data("d", "d" * 64))))
    assert world.runs() == [DATA_B, f"sha256:{'d' * 64}"]


def test_allow_runs_side_by_side() -> None:
    world = World(trigger(concurrencyPolicy="Allow"))
    world.look(app(place(A)))
    world.look(app(place(B)))
    world.look(app(place(C)))
    assert [run.state for run in world.status.runs] == ["Pending", "Pending"]


def test_replace_takes_back_what_nothing_refers_to_and_nothing_else() -> None:
    world = World(trigger(concurrencyPolicy="Replace"))
    world.look(app(place(A, "one"), place(A, "two")))
    world.look(app(place(B, "one"), place(C, "two")))
    world.look(app(place(data("d", "d" * 64), "one"), place(C, "two")))
    assert {run.data: run.state for run in world.status.runs} == {
        DATA_B: "Replaced",
        DATA_C: "Pending",
        f"sha256:{'d' * 64}": "Pending",
    }
    assert [run.data for run in cleared(world.trigger, world.status)] == [DATA_B]
    # what was taken back has not been run: going back to it runs it, under another name
    world.look(app(place(B, "one"), place(C, "two")))
    names = [run.name for run in world.status.runs if run.data == DATA_B]
    assert len(set(names)) == 2


def test_nothing_starts_while_suspended_and_nothing_is_lost() -> None:
    world = World(trigger(suspend=True))
    world.look(app(place(A)))
    assert world.look(app(place(B))).waiting == 1
    assert world.runs() == []
    world.trigger = trigger()
    world.look(app(place(B)))
    assert world.runs() == [DATA_B]


def test_a_run_that_cannot_be_created_gives_way_to_newer_data() -> None:
    world = World()
    world.look(app(place(A)))
    world.look(app(place(B)))
    name = world.run(DATA_B).name
    seen = looked(world.status, [app(place(C))], {"Kustomization/app"}, world.now)
    assert [run.data for run in decide(world.trigger, seen, world.now).status.runs] == [DATA_B], "it may exist"
    assert [run.data for run in decide(world.trigger, seen, world.now, {name}).status.runs] == [DATA_C]


def test_a_failed_run_is_not_repeated_unless_a_person_asks() -> None:
    world = World()
    world.look(app(place(A)))
    world.look(app(place(B)))
    world.end("Failed")
    world.look(app(place(B)))
    assert world.runs() == [DATA_B]
    world.status = once_more(world.trigger, world.status, "jane, 2")
    assert world.runs() == [DATA_B, DATA_B]
    assert len({run.name for run in world.status.runs}) == 2
    assert world.status.last_handled_rerun == "jane, 2"
    assert world.status.runs[1].old_digest == DATA_A
    world.look(app(place(B)))
    assert len(world.status.runs) == 2
    assert once_more(world.trigger, world.status, "again").last_handled_rerun == "jane, 2", "one goes on"


def test_what_is_run_once_more_takes_turns_under_forbid() -> None:
    world = World()
    refs = [data(f"set-{number}") for number in range(50)]
    world.look(app(*(place(ref, f"slot-{number:02}") for number, ref in enumerate(refs))))
    world.status = once_more(world.trigger, world.status, "jane")
    order = []
    while begin := [run for run in world.status.runs if may_begin(world.trigger, world.status, run)]:
        (run,) = begin
        order.append(run.data)
        world.status = with_run(world.status, msgspec.structs.replace(run, state="Running"))
        assert not any(may_begin(world.trigger, world.status, one) for one in world.status.runs)
        world.status = with_run(world.status, msgspec.structs.replace(run, state="Succeeded"))
    assert order == [ref.canonical for ref in refs]


def test_what_is_run_once_more_begins_at_once_where_runs_may_go_on_side_by_side() -> None:
    world = World(trigger(concurrencyPolicy="Allow"))
    world.look(app(place(A, "one"), place(B, "two")))
    world.status = once_more(world.trigger, world.status, "jane")
    assert [may_begin(world.trigger, world.status, run) for run in world.status.runs] == [True, True]
    suspended = trigger(concurrencyPolicy="Allow", suspend=True)
    assert not any(may_begin(suspended, world.status, run) for run in world.status.runs)


def test_a_run_whose_turn_has_not_come_is_dropped_when_its_data_is_gone() -> None:
    world = World()
    world.look(app(place(A, "one"), place(B, "two")))
    world.status = once_more(world.trigger, world.status, "jane")
    first, second = world.status.runs
    seen = looked(world.status, [app(place(A, "one"), place(C, "two"))], {"Kustomization/app"}, world.now)
    decision = decide(world.trigger, seen, world.now, {second.name})
    assert [run.name for run in decision.status.runs] == [first.name]
    assert decision.waiting == 1


def test_data_that_is_run_again_and_again_has_a_new_name_each_time() -> None:
    world = World()
    world.look(app(place(A)))
    names = []
    for number in range(LEDGER + 5):
        world.status = once_more(world.trigger, world.status, str(number))
        world.look(app(place(A)))
        names.append(world.status.runs[-1].name)
        world.end()
        for run in cleared(world.trigger, world.status):
            world.status = with_run(world.status, msgspec.structs.replace(run, removed=True))
    assert len(set(names)) == LEDGER + 5
    assert len(world.status.runs) == LEDGER


def test_files_are_compared_with_what_they_were() -> None:
    world = World()
    source = ("GitRepository/repo",)

    def commit(*places: Place, revision: str) -> Sighting:
        return Sighting("GitRepository/repo", revision, places, whole=False)

    world.look(commit(revision="1"), present=source)
    train = "File/data/train.dvc"
    world.look(commit(place(B, "out", obj=train, old=A), revision="2"), present=source)
    assert (world.runs(), world.run(DATA_B).old_digest) == ([DATA_B], DATA_A)
    world.end()
    world.look(commit(place(C, "out", obj="File/new.dvc"), revision="3"), present=source)
    world.end()
    respelled = place(data("c2", "c" * 64), "out", obj="File/other.dvc", old=C)
    world.look(commit(respelled, place(None, "out", obj=train, old=B), revision="4"), present=source)
    assert world.runs() == [DATA_B, DATA_C]
    assert [slot.object for slot in world.status.slots] == ["File/new.dvc", "File/other.dvc"]


def test_sources_that_are_gone_are_forgotten_and_those_nobody_has_looked_at_are_not() -> None:
    world = World()
    other = Sighting("Kustomization/other", "1", (place(B, "two"),))
    both = ("Kustomization/app", "Kustomization/other")
    world.look(app(place(A)), other, present=both)
    world.look(present=both)
    assert len(world.status.slots) == 2
    world.look(present=("Kustomization/app",))
    assert [slot.source for slot in world.status.slots] == ["Kustomization/app"]
    assert [source.name for source in world.status.sources] == ["Kustomization/app"]


def test_a_selector_that_fits_too_much_is_refused() -> None:
    with pytest.raises(TooManyError, match=f"fits {SLOTS + 1} references"):
        World().look(app(*(place(A, f"slot-{number}") for number in range(SLOTS + 1))))


def test_the_history_limits_and_the_ledger_bound_what_is_kept() -> None:
    world = World(trigger(successfulRunsHistoryLimit=2, failedRunsHistoryLimit=1, concurrencyPolicy="Allow"))
    world.look(app(place(A)))
    for number in range(LEDGER + 20):
        world.look(app(place(data(f"set-{number}"))))
        world.end("Succeeded" if number % 2 else "Failed")
        for run in cleared(world.trigger, world.status):
            gone = msgspec.structs.replace(run, removed=True)
            world.status = msgspec.structs.replace(
                world.status, runs=tuple(gone if one.name == run.name else one for one in world.status.runs)
            )
    left = [run.state for run in world.status.runs if not run.removed]
    assert sorted(left) == ["Failed", "Succeeded", "Succeeded"]
    assert len(world.status.runs) == LEDGER
    assert world.status.runs[-1].data == f"s3://data/set-{LEDGER + 19}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["retrain", "0-data", "a.b.c", "x" * 63, "0" * 63, "a" * 34 + "-b", "a" * 19 + "-b"])
def test_names_of_runs_fit_every_kind(name: str, kind: RunKind) -> None:
    subject = trigger({"apiVersion": kind.api_version, "kind": kind.kind, "spec": {}})
    subject = msgspec.structs.replace(subject, metadata=msgspec.structs.replace(subject.metadata, name=name))
    made = run_name(subject, DATA_A)
    # What JobSet measures: the Pod of a TrainJob's dataset initializer, with the end that Kubernetes gives it.
    longest = f"{made}-dataset-initializer-0-0-abcde" if kind == TRAIN_JOB else f"{made}-abcde"
    assert len(longest) <= 63
    assert made[0].isalpha()
    assert "--" not in made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert made != run_name(subject, DATA_B) != run_name(subject, DATA_B, 1)


STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.sampled_from("abcd"), st.booleans(), st.booleans()), max_size=25
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, policy=st.sampled_from(["Allow", "Forbid"]))
def test_whatever_moves_and_whenever_the_agent_dies_no_data_has_two_runs(
    steps: list[tuple[str, str, bool, bool]], policy: str
) -> None:
    """A pass may die between writing down and creating, or after creating: what was made by name is found by name."""
    world = World(trigger(concurrencyPolicy=policy))
    slots = {"one": "a", "two": "b"}
    created: dict[str, str] = {}

    def places() -> list[Place]:
        return [place(data(name, name * 64), slot) for slot, name in slots.items()]

    def act(*, dies: bool) -> None:
        for run in world.status.runs:
            if run.state == "Pending":
                assert created.setdefault(run.name, run.data) == run.data
                if dies:
                    return
        world.end()

    world.look(app(*places()))
    for slot, name, loses_status, dies in steps:
        slots[slot] = name
        before = world.status
        world.look(app(*places()))
        if loses_status:  # killed before the write: the next pass starts from what was stored
            world.status = before
            continue
        act(dies=dies)
    for _ in range(6):
        world.look(app(*places()))
        act(dies=False)
    assert len(created) == len(set(created.values())), "two names for one data"
    settled = {slot.slot: slot for slot in world.status.slots}
    assert {slot: found.digest for slot, found in settled.items()} == {
        slot: f"sha256:{name * 64}" for slot, name in slots.items()
    }, "every slot has been dealt with"


def test_a_commit_that_moves_no_data_changes_nothing_in_the_status() -> None:
    world = World()
    world.look(app(place(A), revision="1"))
    before = world.status
    world.look(app(place(A), revision="2"))
    assert world.status is not before
    assert world.status == before
    world.look(app(place(B), revision="3"))
    assert [source.revision for source in world.status.sources] == ["3"]


def test_a_run_names_some_of_its_places() -> None:
    world = World()
    world.look(app(*(place(A, f"slot-{number}") for number in range(15))))
    world.look(app(*(place(B, f"slot-{number}") for number in range(15))))
    assert len(world.run(DATA_B).slots) == PLACES
    assert {slot.run for slot in world.status.slots} == {world.run(DATA_B).name}
