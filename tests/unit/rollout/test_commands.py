"""What people ask of a rollout: promote, abort, retry, pause; each acts once and says for whom."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_world import Died, World, make_plan

from agent.api.analysis import HookType
from agent.core.rollout import commands
from agent.core.rollout.actions import HOME, SetRoutes
from agent.core.rollout.commands import COMMAND, HANDLED, OUTCOME, PAUSED, Verb, held, hold, pending, written
from agent.core.rollout.gates import Gate, Observed
from agent.core.rollout.plan import Hook
from agent.core.rollout.status import Phase

AT = "2026-11-29T10:00:00.000000Z"


def in_run(weight: int = 20, **changes) -> World:
    """A world whose revision b is on trial and has that weight."""
    world = World(make_plan(**changes))
    world.run(2)
    world.revision = "b"
    while world.routes.canary < weight:
        world.tick()
    return world


def ask(world: World, verb: str, **pairs: str) -> None:
    world.annotations[COMMAND] = written(Verb(verb), at=f"{AT}{len(world.log)}", by="jane", **pairs)


def outcome(world: World) -> str:
    assert world.annotations[HANDLED] == world.annotations[COMMAND]
    return world.annotations[OUTCOME]


@pytest.mark.parametrize(
    ("text", "verb", "by", "revision", "reason"),
    [
        ("abort", Verb.ABORT, "", "", ""),
        ("promote at=1 by=jane revision=v2:ab", Verb.PROMOTE, "jane", "v2:ab", ""),
        ("abort by=jane reason=too many errors by=far", Verb.ABORT, "jane", "", "too many errors by=far"),
        ("  retry   by=jane  ", Verb.RETRY, "jane", "", ""),
        ("explode by=jane", None, "jane", "", ""),
        ("abort nonsense =x", Verb.ABORT, "", "", ""),
        ("abort reason=" + "x" * 300, Verb.ABORT, "", "", "x" * 199 + "…"),
        ("abort reason=two\nlines", Verb.ABORT, "", "", "two lines"),
    ],
)
def test_a_command_is_read(text, verb, by, revision, reason):
    command = pending({COMMAND: text})
    assert command is not None
    assert (command.verb, command.by, command.revision, command.reason) == (verb, by, revision, reason)
    assert pending({COMMAND: text, HANDLED: text}) is None
    assert pending({COMMAND: text, HANDLED: f"{text} "}) is not None


@pytest.mark.parametrize("annotations", [{}, {COMMAND: ""}, {COMMAND: "  "}])
def test_nothing_is_asked(annotations):
    assert pending(annotations) is None


@given(by=st.text(max_size=30), reason=st.text(max_size=60), revision=st.from_regex(r"v2:[0-9a-f]{16}", fullmatch=True))
def test_what_is_written_is_read_again(by, reason, revision):
    command = pending({COMMAND: written(Verb.ABORT, at=AT, by=by, revision=revision, reason=reason)})
    assert command is not None
    assert (command.verb, command.revision) == (Verb.ABORT, revision)
    assert command.by == "_".join(by.split())
    assert command.reason == " ".join(reason.split())


def test_a_pause_is_read():
    assert hold({}) is hold({PAUSED: ""}) is hold({PAUSED: "false"}) is None
    paused = hold({PAUSED: held(at=AT, by="jane", reason="looking at traces")})
    assert paused is not None
    assert paused.text == f"paused by jane at {AT}: looking at traces"
    assert commands.Hold().text == "paused by somebody"


def test_abort_brings_the_traffic_home_at_once():
    world = in_run(40)
    ask(world, "abort", reason="users complain")
    assert world.tick(due=False) == "abort"
    assert (world.status.phase, world.routes, world.target_replicas) == (Phase.FAILED, HOME, 0)
    assert outcome(world) == "done: rolled back"
    assert "jane asked to abort the rollout of chat.prod: users complain" in world.texts()
    assert world.run(3) == ["unchanged"] * 3, "the rejected revision stays rejected"
    world.revision = "c"
    world.run(3)
    assert world.status.phase is Phase.PROGRESSING, "and the next one is not aborted"


def test_abort_rejects_what_waits_for_its_approval():
    gate = Hook(type=HookType.CONFIRM_ROLLOUT, name="gate", url="http://gate")
    world = World(make_plan(hooks=(gate,)), refusing={HookType.CONFIRM_ROLLOUT: 99})
    world.run(2)
    world.revision = "b"
    world.run(2)
    assert world.status.phase is Phase.WAITING
    ask(world, "abort")
    world.tick(due=False)
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.FAILED, "v2:b")
    assert world.run(2) == ["unchanged", "unchanged"]


def test_promote_skips_the_rest_of_the_analysis():
    world = in_run(20)
    ask(world, "promote-full", revision="v2:b")
    assert world.tick(due=False) == "promote-full"
    assert outcome(world) == "done: promoted without further analysis"
    world.run(3)
    assert (world.status.phase, world.primary, world.routes) == (Phase.SUCCEEDED, "b", HOME)
    assert world.promotions == ["b"]


def test_promote_waits_for_a_canary_that_is_not_ready():
    world = in_run(20)
    world.unready = frozenset({"b"})
    ask(world, "promote-full")
    assert world.run(2) == ["canary not ready"] * 2
    assert HANDLED not in world.annotations
    world.unready = frozenset()
    assert world.tick(due=False) == "promote-full"
    assert world.status.phase is Phase.PROMOTING


@pytest.mark.parametrize(
    ("kind", "waiting", "then"),
    [
        (HookType.CONFIRM_ROLLOUT, Phase.WAITING, Phase.PROGRESSING),
        (HookType.CONFIRM_PROMOTION, Phase.WAITING_PROMOTION, Phase.PROMOTING),
    ],
)
def test_promote_approves_what_waits_at_a_gate(kind, waiting, then):
    world = World(make_plan(hooks=(Hook(type=kind, name="gate", url="http://gate"),)), refusing={kind: 99})
    world.run(2)
    world.revision = "b"
    for _ in range(10):
        world.tick()
    assert world.status.phase is waiting
    ask(world, "promote")
    world.tick(due=False)
    assert world.status.phase is then
    assert outcome(world).startswith("done: ")


def at_traffic_gate(**changes) -> World:
    """A world whose revision b has 20 % and is not allowed to have more."""
    gate = Hook(type=HookType.CONFIRM_TRAFFIC_INCREASE, name="gate", url="http://gate")
    world = in_run(20, hooks=(gate,), **changes)
    world.refusing = {HookType.CONFIRM_TRAFFIC_INCREASE: 99}
    assert world.tick() == "traffic increase refused"
    return world


def test_promote_approves_one_step_at_a_gate_of_traffic():
    world = at_traffic_gate()
    blocked = world.status.condition("Blocked")
    text = "Halt chat.prod advancement waiting for traffic increase approval gate"
    assert (blocked.reason, blocked.message) == ("TrafficApprovalMissing", text)
    ask(world, "promote")
    assert world.tick(due=False) == "promote"
    assert outcome(world) == "done: approved, one step further"
    assert (world.routes.canary, world.status.condition("Blocked")) == (40, None)
    assert "jane asked to approve a step of chat.prod" in world.texts()
    assert world.run(2) == ["traffic increase refused"] * 2, "the next step waits again"
    assert world.routes.canary == 40
    world.refusing = {}
    world.run(4)
    assert world.status.phase is Phase.SUCCEEDED


def test_an_approved_step_may_lead_to_the_gate_of_the_promotion():
    hooks = tuple(
        Hook(type=kind, name="gate", url="http://gate")
        for kind in (HookType.CONFIRM_TRAFFIC_INCREASE, HookType.CONFIRM_PROMOTION)
    )
    world = in_run(60, hooks=hooks)
    world.refusing = dict.fromkeys((HookType.CONFIRM_TRAFFIC_INCREASE, HookType.CONFIRM_PROMOTION), 99)
    assert world.tick() == "traffic increase refused"
    ask(world, "promote")
    world.tick(due=False)
    assert (world.status.phase, world.routes.canary) == (Phase.WAITING_PROMOTION, 60)
    ask(world, "promote")
    world.tick(due=False)
    assert (world.status.phase, outcome(world)) == (Phase.PROMOTING, "done: approved, promoted")


def at_offline_gate(**changes) -> World:
    """A world whose revision b waits for an offline gate, with a check before the first traffic."""
    gate = Gate(name="eval", source="eval")
    before = Hook(type=HookType.PRE_ROLLOUT, name="smoke", url="http://smoke")
    world = World(make_plan(gates=(gate,), hooks=(before,)), **changes)
    world.gates["eval"] = Observed(gate="eval", running=True, note="Job eval is running")
    world.run(2)
    world.revision = "b"
    world.run(3)
    assert world.status.condition("Blocked").reason == "GateRunning"
    assert world.asked == []
    return world


def test_promote_passes_a_gate_but_not_the_checks_before_the_first_traffic():
    world = at_offline_gate(refusing={HookType.PRE_ROLLOUT: 1})
    ask(world, "promote")
    assert world.tick(due=False) == "command refused"
    assert outcome(world) == "refused: a pre-rollout check has failed, see the events"
    assert (world.routes, world.status.failed_checks) == (HOME, 1)
    assert "Halt chat.prod advancement pre-rollout check smoke failed no" in world.texts()
    assert world.tick() == "waiting for gates"
    ask(world, "promote")
    assert world.tick(due=False) == "promote"
    assert (world.routes.canary, outcome(world)) == (20, "done: approved, one step further")
    assert world.asked == [HookType.PRE_ROLLOUT] * 2


def test_nothing_is_approved_while_paused():
    world = at_traffic_gate()
    world.annotations[PAUSED] = held(at=AT, by="jane")
    world.tick()
    ask(world, "promote")
    assert world.tick(due=False) == "command refused"
    assert outcome(world).startswith("refused: nothing waits for an approval while it is paused")
    assert world.routes.canary == 20


def test_retry_runs_the_rejected_revision_again():
    world = in_run(20)
    world.bad = frozenset({"b"})
    world.run(4)
    assert world.status.phase is Phase.FAILED
    world.bad = frozenset()
    ask(world, "retry", revision="v2:b")
    assert world.tick(due=False) == "retry"
    assert world.status.phase is Phase.PROGRESSING
    assert world.target_replicas == 2
    world.run(8)
    assert (world.status.phase, world.primary) == (Phase.SUCCEEDED, "b")
    assert world.texts().count("New revision detected! Scaling up chat.prod") == 1


@pytest.mark.parametrize(
    ("verb", "pairs", "why"),
    [
        ("retry", {}, "only a failed rollout can be tried again (phase Progressing)"),
        ("abort", {"revision": "v2:other"}, "it was asked for revision v2:other, now it is v2:b"),
        ("promote", {}, "nothing waits for an approval; promote-full leaves out the rest of the analysis"),
    ],
)
def test_what_makes_no_sense_in_a_run_is_refused_and_the_run_goes_on(verb, pairs, why):
    world = in_run(20)
    ask(world, verb, **pairs)
    assert world.tick(due=False) == "command refused"
    assert outcome(world) == f"refused: {why}"
    world.run(7)
    assert world.status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("verb", ["promote", "promote-full", "abort"])
def test_at_rest_there_is_nothing_to_promote_or_abort(verb):
    world = World(make_plan())
    world.run(2)
    ask(world, verb)
    assert world.tick(due=False) == "command refused"
    assert outcome(world) == "refused: nothing is being rolled out (phase Initialized)"
    assert world.status.phase is Phase.INITIALIZED


def test_what_is_quarantined_is_not_approved():
    world = World(make_plan(hooks=(Hook(type=HookType.CONFIRM_ROLLOUT, name="gate", url="http://gate"),)))
    world.refusing = {HookType.CONFIRM_ROLLOUT: 99}
    world.run(2)
    world.revision = "b"
    world.run(2)
    world.held = frozenset({"b"})
    ask(world, "promote")
    world.tick(due=False)
    assert outcome(world) == "refused: b was rejected"
    assert world.status.phase is Phase.WAITING


def test_an_unknown_word_is_refused_with_the_known_ones():
    world = in_run(20)
    world.annotations[COMMAND] = "explode by=jane"
    world.tick()
    assert outcome(world) == "refused: 'explode' is not a command, use promote, promote-full, abort, retry"


def test_a_pause_holds_the_weight_and_judges_nothing():
    world = in_run(40)
    world.bad = frozenset({"b"})
    world.annotations[PAUSED] = held(at=AT, by="jane")
    assert world.tick(due=False) == "not due"
    blocked = world.status.condition("Blocked")
    assert (blocked.reason, blocked.message) == ("Paused", f"paused by jane at {AT}")
    said = len(world.log)
    assert world.run(5) == ["held"] * 5
    assert (world.routes.canary, world.status.failed_checks) == (40, 0)
    assert all("paused" not in text for text in world.texts()[said:]), "said once"
    del world.annotations[PAUSED]
    world.bad = frozenset()
    world.tick(due=False)
    assert world.status.condition("Blocked") is None
    assert "Rollout of chat.prod resumed" in world.texts()
    world.run(6)
    assert world.status.phase is Phase.SUCCEEDED


def test_no_run_begins_while_paused():
    world = World(make_plan())
    world.run(2)
    world.annotations[PAUSED] = held(at=AT, by="jane")
    assert world.tick() == "unchanged"
    world.revision = "b"
    assert world.run(3) == ["held"] * 3
    assert (world.status.phase, world.status.condition("Blocked").reason) == (Phase.INITIALIZED, "Paused")
    del world.annotations[PAUSED]
    world.tick()
    assert world.status.phase is Phase.PROGRESSING


def test_a_paused_run_can_still_be_aborted_reverted_and_lost():
    paused = {PAUSED: held(at=AT, by="jane")}
    world = in_run(40)
    world.annotations |= paused
    world.tick()
    ask(world, "abort")
    world.tick()
    assert (world.status.phase, world.routes) == (Phase.FAILED, HOME)
    world = in_run(40)
    world.annotations |= paused
    world.revision = "a"
    world.tick()
    assert (world.status.phase, world.routes) == (Phase.SUCCEEDED, HOME)
    world = in_run(40)
    world.annotations |= paused
    world.stuck = frozenset({"b"})
    world.tick()
    assert (world.status.phase, world.routes) == (Phase.FAILED, HOME)


COMMANDS = st.lists(st.tuples(st.integers(0, 14), st.sampled_from(list(Verb))), max_size=3)


@settings(max_examples=150, deadline=None)
@given(asked=COMMANDS, crashes=st.lists(st.integers(0, 9), max_size=12), bad=st.booleans())
def test_every_command_is_answered_once_wherever_the_process_dies(asked, crashes, bad):
    world = World(make_plan(), bad=frozenset({"b"} if bad else ()))
    world.run(2)
    world.revision, crashes = "b", list(crashes)
    for tick in range(40):
        for _, verb in [item for item in asked if item[0] == tick]:
            ask(world, verb)
        try:
            world.tick(crash_after=crashes.pop() if crashes else None)
        except Died:
            continue
    assert world.status.phase in {Phase.SUCCEEDED, Phase.FAILED}
    if asked:
        assert outcome(world).partition(":")[0] in {"done", "refused"}
    assert world.routes == HOME
    for action in world.log:
        if isinstance(action, SetRoutes):
            assert action.weights.primary + action.weights.canary == 100
