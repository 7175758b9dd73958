"""Runs that are judged guarded or comparative: which judge, and what follows from its verdicts."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_world import METRIC, Died, World, make_plan

from agent.api.analysis import HookType
from agent.api.judge import Conclusion
from agent.core.rollout import actions as act
from agent.core.rollout.judgesettings import JudgeMode, JudgeSettings, OnInconclusive
from agent.core.rollout.plan import Hook, MetricSpec
from agent.core.rollout.status import Phase, decode_status, encode_status, status_patch

PASS, FAIL, INCONCLUSIVE = Conclusion.PASS, Conclusion.FAIL, Conclusion.INCONCLUSIVE
BARE = MetricSpec(name="errors", bounds=METRIC.bounds, query="errors", explicit=False)


def guarded(**changes) -> JudgeSettings:
    return JudgeSettings(**{"mode": JudgeMode.GUARDED, "warm_up": 5.0, "max_step": 60.0, **changes})


def world(settings: JudgeSettings | None = None, *, verdict: Conclusion = PASS, **plan) -> World:
    """A Canary at rest with revision a, to which b was just pushed."""
    found = World(make_plan(judging=settings or guarded(), **plan), conclusions={"b": verdict})
    found.run(3)
    assert found.status.phase is Phase.INITIALIZED
    found.revision = "b"
    return found


def run_until(found: World, *phases: Phase, ticks: int = 40) -> None:
    for _ in range(ticks):
        found.tick()
        if found.status.phase in phases:
            return
    raise AssertionError(f"still {found.status.phase}")


@pytest.mark.parametrize(
    ("mode", "explicit", "content", "expected"),
    [
        (None, True, True, None),
        (None, False, False, None),
        (None, False, True, JudgeMode.GUARDED),
        (JudgeMode.COMPATIBILITY, False, True, None),
        (JudgeMode.GUARDED, True, False, JudgeMode.GUARDED),
        (JudgeMode.COMPARATIVE, True, True, JudgeMode.COMPARATIVE),
    ],
)
def test_which_judge(mode, explicit, content, expected):
    found = world(guarded(mode=mode), metrics=(METRIC if explicit else BARE,))
    found.content_changed = content
    found.tick()
    assert found.status.phase is Phase.PROGRESSING
    assert (found.status.judge and found.status.judge.mode) == expected


def test_where_no_client_reaches_the_canary_it_has_to_be_asked_for():
    for mode, expected in ((None, False), (JudgeMode.GUARDED, True)):
        found = world(guarded(mode=mode), provider="kubernetes", iterations=2, metrics=())
        found.content_changed = True
        found.tick()
        assert (found.status.judge is not None) is expected


def test_the_judge_is_fixed_with_the_first_step():
    found = world(guarded(mode=None))
    found.tick()
    assert found.status.judge is None
    found.plan = make_plan(judging=guarded())
    found.tick()
    assert (found.routes.canary, found.status.judge.mode, found.status.judge.step) == (20, JudgeMode.GUARDED, 1)
    found.plan = make_plan(judging=guarded(mode=JudgeMode.COMPATIBILITY))
    found.run(2)
    assert found.status.judge.mode is JudgeMode.GUARDED


def test_every_step_is_judged_once_it_is_warm():
    found = world()
    rules = found.run(12)
    assert rules[:4] == ["start", "advance", "advance", "advance"]
    assert found.status.phase is Phase.SUCCEEDED
    assert [action.weight for action in found.log if isinstance(action, act.WeighEvidence)] == [20, 40, 60]
    assert [action.state.step for action in found.log if isinstance(action, act.WeighEvidence)] == [1, 2, 3]
    assert not [action for action in found.log if isinstance(action, act.QueryMetrics)]


@pytest.mark.parametrize(("wished", "ample", "steps"), [(True, True, 1), (True, False, 3), (False, True, 3)])
def test_an_early_promotion_needs_the_wish_and_twice_the_evidence(wished, ample, steps):
    found = world(guarded(early_promotion=wished))
    found.ample = ample
    run_until(found, Phase.SUCCEEDED)
    assert len([action for action in found.log if isinstance(action, act.WeighEvidence)]) == steps


def test_nothing_is_asked_during_the_warm_up():
    found = world(guarded(warm_up=25.0))
    assert found.run(5) == ["start", "advance", "warming up", "warming up", "advance"]
    asked = [action.state for action in found.log if isinstance(action, act.WeighEvidence)]
    assert len(asked) == 1
    assert asked[0].since - asked[0].started == timedelta(seconds=25)


def test_a_worse_canary_goes_at_once():
    found = world(verdict=FAIL)
    run_until(found, Phase.FAILED)
    assert found.routes == act.HOME
    assert found.counts == [False]
    assert found.status.judge.verdict is FAIL
    events = [action for action in found.log if isinstance(action, act.Emit)]
    told = next(event for event in events if "judged worse" in event.text)
    assert told.text.startswith("Rolling back chat.prod judged worse: errors:")
    assert told.annotations["weir.dev/verdict"] == "fail"
    assert any(action.severity == "error" for action in found.log if isinstance(action, act.SendAlert))
    assert not any("threshold reached" in text for text in found.texts())


def test_an_inconclusive_step_neither_advances_nor_fails():
    found = world(verdict=INCONCLUSIVE)
    found.run(6)
    assert (found.status.phase, found.status.failed_checks, found.routes.canary) == (Phase.PROGRESSING, 0, 20)
    blocked = found.status.condition("Blocked")
    assert (blocked.reason, blocked.status) == ("TooFewRequests", "True")
    assert len([text for text in found.texts() if text.startswith("Hold chat.prod advancement errors:")]) == 1
    found.conclusions["b"] = PASS
    run_until(found, Phase.SUCCEEDED)
    assert found.status.condition("Blocked") is None


def test_what_stays_inconclusive_waits_and_goes_on_with_more_requests():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    assert found.status.held
    assert found.status.condition("Promoted").message.startswith("Inconclusive after 1m0s")
    found.run(5)
    assert (found.status.phase, found.routes.canary) == (Phase.WAITING, 20)
    assert len([a for a in found.log if isinstance(a, act.SendAlert) and a.severity == "warn"]) == 1
    found.conclusions["b"] = PASS
    assert found.tick() == "advance"
    assert (found.status.phase, found.routes.canary, found.status.held) == (Phase.PROGRESSING, 40, False)
    run_until(found, Phase.SUCCEEDED)


@pytest.mark.parametrize(
    ("choice", "end"), [(OnInconclusive.PASS, Phase.SUCCEEDED), (OnInconclusive.FAIL, Phase.FAILED)]
)
def test_a_person_decides_what_waits(choice, end):
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.plan = make_plan(judging=guarded(on_inconclusive=choice))
    run_until(found, end)
    assert found.counts == [end is Phase.SUCCEEDED]
    assert any("nconclusive after 1m0s" in text for text in found.texts())


def test_a_waiting_step_that_turns_out_worse_goes():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.conclusions["b"] = FAIL
    found.tick()
    assert (found.status.phase, found.routes) == (Phase.FAILED, act.HOME)


@pytest.mark.parametrize(("revision", "phase"), [("a", Phase.SUCCEEDED), ("c", Phase.PROGRESSING)])
def test_another_revision_ends_the_wait(revision, phase):
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.revision = revision
    found.tick()
    assert (found.status.phase, found.routes) == (phase, act.HOME)
    if revision == "c":
        assert (found.status.judge.step, found.status.judge.held) == (0, False)


def test_a_rejected_reference_ends_the_wait():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.revision, found.held = "c", frozenset({"c"})
    found.tick()
    assert (found.status.phase, found.routes) == (Phase.FAILED, act.HOME)


@pytest.mark.parametrize(("command", "end"), [("promote-full", Phase.SUCCEEDED), ("abort", Phase.FAILED)])
def test_a_command_ends_the_wait(command, end):
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.annotations = {"weir.dev/command": f"{command} at=1 by=jane"}
    run_until(found, end)
    assert found.annotations["weir.dev/command-outcome"].startswith("done")
    assert found.routes == act.HOME


def test_promote_takes_one_step_past_what_is_undecided():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.annotations = {"weir.dev/command": "promote at=1 by=jane"}
    found.tick(due=False)
    assert (found.status.phase, found.routes.canary, found.status.held) == (Phase.PROGRESSING, 40, False)
    run_until(found, Phase.WAITING)
    assert found.routes.canary == 40, "the next step is judged on its own"


def test_a_pause_ends_no_wait():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    found.annotations = {"weir.dev/paused": "by=jane"}
    found.conclusions["b"] = PASS
    found.run(4)
    assert (found.status.phase, found.routes.canary) == (Phase.WAITING, 20)
    found.annotations = {}
    run_until(found, Phase.SUCCEEDED)


def test_a_number_above_its_threshold_is_a_failed_check():
    found = world(verdict=INCONCLUSIVE)
    found.failing_number = True
    run_until(found, Phase.FAILED)
    assert "Rolling back chat.prod failed checks threshold reached 2" in found.texts()


def test_an_approval_that_is_waited_for_stays_what_it_is():
    gate = Hook(type=HookType.CONFIRM_PROMOTION, name="gate", url="http://gate")
    found = world(hooks=(gate,), step_weight=60)
    found.refusing[HookType.CONFIRM_PROMOTION] = 100
    run_until(found, Phase.WAITING_PROMOTION)
    found.conclusions["b"] = INCONCLUSIVE
    found.run(20)
    assert (found.status.phase, found.routes.canary) == (Phase.WAITING_PROMOTION, 60)
    found.conclusions["b"] = FAIL
    found.tick()
    assert found.status.phase is Phase.FAILED


def test_the_status_tells_it_all_and_forgets_it_at_the_next_run():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.WAITING)
    stored = encode_status(found.status)
    assert decode_status(stored) == found.status
    assert status_patch(stored, found.status) == {}
    found.plan = make_plan(judging=guarded(mode=JudgeMode.COMPATIBILITY))
    found.revision = "c"
    found.tick()
    assert found.status.judge is None
    assert status_patch(stored, found.status)["status"]["judge"] is None


@given(st.lists(st.integers(0, 10), max_size=20), st.sampled_from([PASS, FAIL]))
def test_a_judged_run_comes_to_the_same_end_however_often_it_is_killed(crashes, verdict):
    found = world(verdict=verdict)
    for crash in crashes:
        try:
            found.tick(crash_after=crash)
        except Died:
            found.now += timedelta(seconds=found.plan.interval)
    run_until(found, Phase.SUCCEEDED if verdict is PASS else Phase.FAILED, ticks=60)
    assert found.routes == act.HOME
    assert found.primary == ("b" if verdict is PASS else "a")
    judged = {action.weight for action in found.log if isinstance(action, act.WeighEvidence)}
    assert judged == ({20, 40, 60} if verdict is PASS else {20}), "no step is left out"


def test_a_revision_that_is_brought_up_in_another_way_is_judged_by_another_pack():
    found = world(verdict=INCONCLUSIVE)
    run_until(found, Phase.PROGRESSING)
    state = found.status.judge
    found.status = msgspec.structs.replace(found.status, judge=msgspec.structs.replace(state, pack="endpoint-picker"))
    found.target_replicas = 0
    assert found.tick() == "scaled away"
    assert found.status.judge == state
