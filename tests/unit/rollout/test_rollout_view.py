"""What a rollout looks like from outside."""

from datetime import timedelta

import msgspec
import pytest
from rollout_world import START, make_plan

from agent.controllers.canary.rollouts import RolloutLog
from agent.core.rollout.actions import Weights
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.ledger import Period, Share
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Phase, Status
from agent.core.rollout.view import HISTORY, JUDGEMENTS, News, RolloutView, Told

COUNTED, DOWN = "Rolling back chat.prod failed checks threshold reached 2", "Canary failed! Scaling down chat.prod"
CHANGE = "model container[server].model of Deployment chat: a -> b"


class Story:
    """Ticks of one Canary, each leaving a status."""

    def __init__(self):
        self.log = RolloutLog()
        self.status = Status()
        self.now = START

    def tick(self, phase, *, applied="v2:a", weight=0, changes=(), fresh=(), told=(), **news):
        before, self.now = self.status, self.now + timedelta(seconds=10)
        if applied != before.last_applied_spec or phase is Phase.FAILED:
            self.status = before.synced(phase, kind="Deployment", now=self.now, applied=applied, tracked={})
        else:
            self.status = before.entering(phase, kind="Deployment", now=self.now)
        snapshot = Snapshot(
            plan=make_plan(),
            status=before,
            now=self.now,
            routes=Weights(100 - weight, weight),
            changes=changes,
        )
        warnings = tuple(Told(self.now, text) for text in told)
        return self.log.record(snapshot, self.status, News(judgements=tuple(fresh), warnings=warnings, **news))

    def judgement(self, verdict=Verdict.PASS):
        return Judgement(metric="errors", verdict=verdict, time=self.now, query="errors", value=1.0)


def test_a_run_from_its_start_to_its_end():
    story = Story()
    assert story.tick(Phase.INITIALIZED).changes == ()
    started = story.tick(Phase.PROGRESSING, applied="v2:b", changes=(CHANGE,))
    assert (started.phase, started.changes, started.started) == (Phase.PROGRESSING, (CHANGE,), story.now)
    story.tick(Phase.PROGRESSING, applied="v2:b", weight=20, fresh=[story.judgement()])
    view = story.tick(Phase.PROGRESSING, applied="v2:b", weight=40, fresh=[story.judgement(Verdict.FAIL)])
    assert (view.weight, len(view.judgements), view.finished) == (40, 2, None)
    assert (view.target, view.primary, view.strategy) == ("Deployment/chat", "Deployment/chat-primary", "canary")
    ended = story.tick(Phase.FAILED, applied="v2:b")
    assert (ended.phase, ended.weight, ended.finished, ended.changes) == (Phase.FAILED, 0, story.now, (CHANGE,))
    assert story.log.history("prod", "chat") == story.log.finished() == (ended,)
    assert story.log.current() == (ended,)


def test_the_next_run_begins_with_nothing():
    story = Story()
    story.tick(Phase.INITIALIZED)
    story.tick(Phase.PROGRESSING, applied="v2:b", changes=(CHANGE,), fresh=[story.judgement()])
    restarted = story.tick(Phase.PROGRESSING, applied="v2:c", changes=("other",))
    assert (restarted.judgements, restarted.changes, restarted.started) == ((), ("other",), story.now)


def test_a_revert_does_not_rename_the_run_that_it_ends():
    story = Story()
    story.tick(Phase.INITIALIZED)
    story.tick(Phase.PROGRESSING, applied="v2:b", changes=(CHANGE,))
    ended = story.tick(Phase.SUCCEEDED, applied="v2:a", changes=("b -> a",))
    assert ended.changes == (CHANGE,)


def test_a_run_that_another_process_began_is_known_by_what_it_noted():
    story = Story()
    story.status = Status(phase=Phase.PROGRESSING, last_applied_spec="v2:b", last_transition_time=START)
    view = story.tick(Phase.PROGRESSING, applied="v2:b", changes=(CHANGE,))
    assert (view.changes, view.started) == ((CHANGE,), story.now)


def test_everything_is_bounded():
    story = Story()
    for number in range(HISTORY + 5):
        story.tick(Phase.PROGRESSING, applied=f"v2:{number}", fresh=[story.judgement()] * (JUDGEMENTS + 9))
        story.tick(Phase.SUCCEEDED, applied=f"v2:{number}")
    runs = story.log.history("prod", "chat")
    assert len(runs) == HISTORY
    assert len(runs[0].judgements) == JUDGEMENTS
    assert runs[0].applied == f"v2:{HISTORY + 4}"
    assert {run.applied for run in story.log.finished()} == {run.applied for run in runs}
    story.log.forget("prod", "chat")
    assert (story.log.current(), story.log.history("prod", "chat"), story.log.get("prod", "chat")) == ((), (), None)


def test_what_is_inconclusive_refuses_nothing():
    story = Story()
    refusal = msgspec.structs.replace(story.judgement(Verdict.FAIL), text="too many errors")
    doubt = msgspec.structs.replace(story.judgement(Verdict.INCONCLUSIVE), text="12 of 200 requests so far")
    story.tick(Phase.PROGRESSING, fresh=[refusal, doubt])
    assert story.log.last_refusal("prod", "chat") == "too many errors"


def failed(*told: tuple[str, ...], rejected: str = "") -> RolloutView:
    """A run with these warnings, tick by tick, the last of which rolls back."""
    story = Story()
    story.tick(Phase.INITIALIZED, told=["canary not ready"])
    for warnings in told[:-1]:
        story.tick(Phase.PROGRESSING, applied="v2:b", told=warnings)
    return story.tick(Phase.FAILED, applied="v2:b", told=told[-1], rejected=rejected)


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ([("Halt a",), ("Halt b",), (COUNTED, DOWN)], "Halt b"),
        ([("Halt a",), ("jane asked to abort", DOWN)], "jane asked to abort"),
        ([("Halt b",), ("Halt a",), ("Halt b",), (COUNTED, DOWN, "post-rollout hook failed")], "Halt b"),
        (
            [("Halt a",), ("primary not ready", "Promotion of chat failed, primary not ready")],
            "Promotion of chat failed, primary not ready",
        ),
        ([(), (COUNTED, DOWN)], COUNTED),
        ([(), (DOWN,)], "as the quarantine has it"),
    ],
)
def test_why_a_run_was_rolled_back(told: list[tuple[str, ...]], cause: str):
    view = failed(*told, rejected="as the quarantine has it")
    assert view.cause == cause
    assert len(view.warnings) == len({text for warnings in told for text in warnings}), "each once"
    assert view.warnings[-1].text == told[-1][-1]


def test_a_run_that_is_restored_is_what_the_canary_rests_after():
    ended = failed(("Halt a",), (DOWN,))
    log = RolloutLog()
    log.add(ended)
    story = Story()
    story.log, story.status = log, Status(phase=Phase.FAILED, last_applied_spec="v2:b", last_transition_time=START)
    rests = story.tick(Phase.FAILED, applied="v2:b")
    assert (rests.cause, rests.warnings, rests.finished) == ("Halt a", ended.warnings, ended.finished)
    begun = story.tick(Phase.PROGRESSING, applied="v2:c")
    assert (begun.cause, begun.warnings, begun.finished) == ("", (), None)


def test_a_run_that_another_process_began_has_its_time_and_shares_from_the_ledger():
    since, story = START - timedelta(hours=1), Story()
    trial = Period(role="canary", revision="v2:b", since=since, shares=(Share(at=since, percent=30),))
    story.status = Status(phase=Phase.PROGRESSING, last_applied_spec="v2:b", last_transition_time=START)
    view = story.tick(Phase.PROGRESSING, applied="v2:b", trial=trial)
    assert (view.started, view.shares) == (since, trial.shares)
