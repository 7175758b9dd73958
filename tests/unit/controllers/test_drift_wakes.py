"""Which changes of applied objects wake their owner, and how often."""

from __future__ import annotations

from agent.adapters.kube.live import Seen
from agent.adapters.kube.memory import Memory
from agent.controllers.triggers import CALM_SECONDS, LONGEST_PAUSE, drift_watcher
from agent.core.fingerprint import Fingerprint
from agent.core.objects import ObjectKey
from agent.runtime.queue import WorkQueue

OWNER = ("team", "app")
LABELS = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "team"}
KEY = ObjectKey("", "ConfigMap", "team", "a")


class Clock:
    """Time that stands still unless told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def seen(version: str, owner: tuple[str, str] = OWNER) -> Seen:
    return Seen(Fingerprint("u", version, b""), version, owner)


class Story:
    """A drift watcher, its queue and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue(clock=self.clock)
        self.memory = Memory()
        self.touched = drift_watcher(self.memory, self.queue, clock=self.clock)

    def applied(self, key: ObjectKey) -> None:
        """The owner has verified the object."""
        live = {"kind": key.kind, "metadata": {"name": key.name, "labels": LABELS}}
        self.memory.verified(key, "wanted", live, Fingerprint("u", "ours", b""))

    def pause(self) -> float:
        """How long the owner waits for its pass; it is taken then."""
        due = self.queue.next_due()
        if due is None:
            assert self.queue.take() is not None
            self.queue.done(OWNER)
            return 0.0
        pause = due - self.clock.now
        self.clock.now = due
        assert self.queue.take() is not None
        self.queue.done(OWNER)
        return pause


def test_a_change_by_somebody_else_wakes_the_owner_at_once_and_our_own_does_not() -> None:
    story = Story()
    story.applied(KEY)
    story.touched(KEY, seen("ours"), seen("ours"))
    assert len(story.queue) == 0
    story.touched(KEY, seen("ours"), seen("theirs"))
    assert story.pause() == 0.0


def test_a_fight_over_an_object_slows_down_and_a_calm_object_is_prompt_again() -> None:
    story = Story()
    story.applied(KEY)
    pauses = []
    for _ in range(12):
        story.touched(KEY, seen("ours"), seen("theirs"))
        pauses.append(story.pause())
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE

    other = ObjectKey("", "ConfigMap", "team", "b")
    story.applied(other)
    story.touched(other, seen("ours"), seen("theirs"))
    assert story.pause() == 0.0

    story.clock.now += CALM_SECONDS + 1
    story.touched(KEY, seen("ours"), seen("theirs"))
    assert story.pause() == 0.0


def test_a_deleted_object_is_put_back_but_a_finished_job_is_not_run_again_and_again() -> None:
    story, job = Story(), ObjectKey("batch", "Job", "team", "once")
    story.applied(KEY)
    story.touched(KEY, seen("ours"), None)
    assert story.pause() == 0.0
    story.applied(job)
    story.touched(job, seen("ours"), None)
    assert len(story.queue) == 0


def test_what_is_being_deleted_wakes_nobody_until_it_is_gone() -> None:
    """A pass in that moment might find a Job gone that has just cleaned up after itself, and run it again."""
    story = Story()
    story.applied(KEY)
    leaving = Seen(Fingerprint("u", "leaving", b""), "2", OWNER, terminating=True)
    story.touched(KEY, seen("ours"), leaving)
    assert len(story.queue) == 0
    story.touched(KEY, leaving, None)
    assert len(story.queue) == 1


def test_labels_that_somebody_else_wrote_wake_nobody() -> None:
    story, stranger = Story(), ("victim", "app")
    story.touched(KEY, None, seen("theirs", stranger))
    story.touched(KEY, seen("theirs", stranger), seen("theirs again", stranger))
    story.touched(KEY, seen("theirs again", stranger), None)
    story.applied(KEY)
    story.touched(KEY, seen("ours"), seen("relabelled", stranger))
    story.touched(KEY, seen("relabelled", stranger), None)
    assert len(story.queue) == 0
