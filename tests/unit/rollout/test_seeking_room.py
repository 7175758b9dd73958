"""When a rollout looks for room, which reads the whole cluster: before a run, and not while it waits for others."""

from rollout_world import World, make_plan

from agent.api.analysis import HookType
from agent.core.rollout.commands import PAUSED, held
from agent.core.rollout.plan import Hook
from agent.core.rollout.status import BLOCKED, Phase

CONSENT = Hook(type=HookType.CONFIRM_ROLLOUT, name="consent", url="http://gate")
LACK = (("InsufficientAccelerators", "1 pods with 2 nvidia.com/gpu each needed, there is room for 0 on 1 nodes"),)


def world(*hooks: Hook) -> World:
    """Revision b has just come."""
    found = World(make_plan(hooks=hooks))
    found.run(3)
    assert found.sought == 0
    found.revision = "b"
    return found


def blocked(found: World) -> str:
    condition = found.status.condition(BLOCKED)
    return condition.reason if condition is not None else ""


def test_no_run_begins_without_room_and_nobody_is_asked_for_consent():
    found = world(CONSENT)
    found.obstacles = LACK
    found.run(3)
    assert (found.status.phase, blocked(found), found.asked) == (Phase.INITIALIZED, LACK[0][0], [])
    assert found.sought == 3
    found.obstacles = ()
    found.tick()
    assert (found.status.phase, found.asked) == (Phase.PROGRESSING, [HookType.CONFIRM_ROLLOUT])


def test_nobody_looks_for_room_while_consent_is_waited_for_but_once_more_before_the_run():
    found = world(CONSENT)
    found.refusing = {HookType.CONFIRM_ROLLOUT: 5}
    found.run(5)
    assert (found.status.phase, found.sought) == (Phase.WAITING, 1)
    found.obstacles = LACK
    found.tick()
    assert (found.status.phase, found.sought, blocked(found)) == (Phase.WAITING, 2, LACK[0][0])
    found.obstacles = ()
    found.tick()
    assert (found.status.phase, found.sought, blocked(found)) == (Phase.PROGRESSING, 3, "")
    found.run(2)
    assert found.sought == 3


def test_what_stood_in_the_way_is_not_told_any_more_while_consent_is_waited_for_again():
    found = world(CONSENT)
    found.refusing = {HookType.CONFIRM_ROLLOUT: 1}
    found.run(1)
    found.obstacles = LACK
    found.tick()
    assert (found.status.phase, blocked(found)) == (Phase.WAITING, LACK[0][0])
    found.refusing = {HookType.CONFIRM_ROLLOUT: 2}
    found.run(2)
    assert (found.status.phase, blocked(found), found.sought) == (Phase.WAITING, "", 2)


def test_nobody_looks_for_room_for_a_run_that_is_held():
    found = world()
    found.annotations[PAUSED] = held(at="2026-11-29T10:00:00Z", by="jane")
    found.run(3)
    assert found.sought == 0
    quarantined = world()
    quarantined.held = frozenset("b")
    quarantined.run(3)
    assert quarantined.sought == 0
