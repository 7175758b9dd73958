"""What a rollout looks like from outside."""

from datetime import timedelta

import msgspec
from rollout_world import START, make_plan

from agent.controllers.canary.rollouts import RolloutLog
from agent.core.rollout.actions import Weights
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Phase, Status
from agent.core.rollout.view import HISTORY, JUDGEMENTS

CHANGE = "model container[server].model of Deployment chat: a -> b"


class Story:
    """Ticks of one Canary, each leaving a status."""

    def __init__(self):
        self.log = RolloutLog()
        self.status = Status()
        self.now = START

    def tick(self, phase, *, applied="v2:a", weight=0, changes=(), fresh=()):
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
        return self.log.record(snapshot, self.status, fresh)

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
