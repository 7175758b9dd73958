"""Which event queues which key, and how urgently. Nothing is decided here beyond that: passes read the world."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.adapters.kube.live import Seen
from agent.adapters.kube.memory import Memory
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.api.meta import Resource
from agent.controllers.sources import SourceKey, SourceSnapshot, SourceState
from agent.core import conditions as c
from agent.core.dependencies import dependency_keys, in_order
from agent.core.objects import ObjectKey
from agent.core.tree import Inputs, touched
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store

Key = tuple[str, str]
R = TypeVar("R", bound=Resource)
_JOB = ("batch", "Job")
LONGEST_PAUSE = 60.0  # seconds between two looks at an object that is touched all the time
CALM_SECONDS = 300.0  # after so long without a touch, the next one is news again
_PROMPT = 3  # touches in a row that are answered at once
_RESTLESS = 1000  # touched objects remembered before the calm ones are forgotten


def urgency(old: Resource | None, new: Resource | None) -> Priority | None:
    """How urgent a change of one of our own objects is; None for a mere status or label write."""
    if old is None or new is None:
        return Priority.STARTUP if old is None else Priority.SPEC
    if new.requested_at != old.requested_at:
        return Priority.REQUESTED
    if new.metadata.generation != old.metadata.generation or new.is_deleting != old.is_deleting:
        return Priority.SPEC
    return None


def watch_objects(store: Store[R], queue: WorkQueue[Key]) -> None:
    """Queue an object when its spec changes, when somebody asks for a pass, and when it comes or goes."""

    def changed(old: R | None, new: R | None) -> None:
        urgent = urgency(old, new)
        some = new or old
        if urgent is not None and some is not None:
            queue.add((some.namespace, some.name), urgent)

    store.subscribe(changed)


def source_of(kustomization: Kustomization) -> SourceKey:
    """The source that a Kustomization names."""
    reference = kustomization.spec.source_ref
    return SourceKey(reference.kind, kustomization.source_namespace, reference.name)


class SourceChanged:
    """Queues the Kustomizations of a source: first those that build from what has changed, then all others.

    Whoever others of them wait for goes first. `inputs` tells what the last build of a Kustomization has read, None if
    there was none; `current` is the snapshot of a source that this process has at hand.
    """

    def __init__(
        self,
        store: Store[Kustomization],
        queue: WorkQueue[Key],
        *,
        inputs: Callable[[Key], Inputs | None],
        current: Callable[[SourceKey], SourceSnapshot | None],
    ) -> None:
        store.add_index("source", lambda kustomization: (source_of(kustomization),))
        self._store = store
        self._queue = queue
        self._inputs = inputs
        self._current = current

    def __call__(self, key: SourceKey) -> None:
        """The source has something new."""
        snapshot = self._current(key)
        self._add(self._store.by_index("source", key), snapshot.differs if snapshot is not None else None)

    def artifact(self, key: SourceKey, revision: str) -> None:
        """The status of a source that another controller reconciles has another revision.

        Whoever works on it already, or is done with it, is left alone.
        """
        found = self._store.by_index("source", key)
        self._add([kustomization for kustomization in found if not _attempted(kustomization, revision)], None)

    def _add(self, kustomizations: Sequence[Kustomization], paths: frozenset[str] | None) -> None:
        ordered = in_order(kustomizations)
        urgent = {key for key in map(_key, ordered) if self._builds_from(key, paths)}
        for kustomization in reversed(ordered):
            if _key(kustomization) in urgent:
                urgent |= dependency_keys(kustomization)
        for kustomization in ordered:
            key = _key(kustomization)
            self._queue.add(key, Priority.REVISION if key in urgent else Priority.CATCH_UP)

    def _builds_from(self, key: Key, paths: frozenset[str] | None) -> bool:
        inputs = self._inputs(key) if paths is not None else None
        return inputs is None or paths is None or touched(inputs, paths)


def _key(kustomization: Kustomization) -> Key:
    return kustomization.namespace, kustomization.name


def _attempted(kustomization: Kustomization, revision: str) -> bool:
    status = kustomization.status
    busy = c.is_true(status.conditions, c.READY) or c.is_true(status.conditions, c.RECONCILING)
    return busy and status.last_attempted_revision == revision


def include_changed(store: Store[GitRepository], queue: WorkQueue[Key]) -> Callable[[SourceKey], None]:
    """A function that queues every GitRepository that includes a source; the store gets the index for it."""

    def included(repository: GitRepository) -> tuple[SourceKey, ...]:
        names = {include.repository.name for include in repository.spec.include}
        return tuple(SourceKey(GitRepository.KIND, repository.namespace, name) for name in names)

    store.add_index("included", included)

    def changed(key: SourceKey) -> None:
        for repository in store.by_index("included", key):
            queue.add((repository.namespace, repository.name), Priority.REVISION)

    return changed


def watch_artifacts(
    kind: str, store: Store[SourceState], changed: SourceChanged, ours: Store[GitRepository] | None = None
) -> None:
    """For sources that another process reconciles: their status says when there is something new.

    Those in `ours` are reconciled here, where the files are known before a watch could tell of them.
    """

    def compare(old: SourceState | None, new: SourceState | None) -> None:
        if new is None or not new.revision or (old is not None and old.revision == new.revision):
            return
        key = SourceKey(kind, new.metadata.namespace, new.metadata.name)
        if ours is None or ours.get(key.namespace, key.name) is None:
            changed.artifact(key, new.revision)

    store.subscribe(compare)


def watch_dependencies(store: Store[Kustomization], queue: WorkQueue[Key]) -> None:
    """Wake dependents as soon as what they wait for has moved, instead of letting them look every half minute.

    All of them: one that is Ready by what is known here may be in the very pass that finds its dependency not ready.
    A readyExpr may wait for anything in the other object, so whoever waits with one is woken by every change.
    """

    store.add_index("dependency", dependency_keys)

    def moved(old: Kustomization | None, new: Kustomization | None) -> None:
        if new is None:
            return
        risen = c.is_true(new.status.conditions, c.READY) and (old is None or _standing(old) != _standing(new))
        for other in store.by_index("dependency", (new.namespace, new.name)):
            if risen or _waits_by_expression(other, new):
                queue.add((other.namespace, other.name), Priority.REVISION)

    store.subscribe(moved)


def _waits_by_expression(waiting: Kustomization, other: Kustomization) -> bool:
    ready = c.find(waiting.status.conditions, c.READY)
    if ready is None or ready.reason != "DependencyNotReady":
        return False
    key = (other.namespace, other.name)
    return any(wanted.ready_expr and waiting.dependency_key(wanted) == key for wanted in waiting.spec.depends_on)


def _standing(kustomization: Kustomization) -> tuple[bool, str | None, int]:
    status = kustomization.status
    return c.is_true(status.conditions, c.READY), status.last_applied_revision, status.observed_generation


def drift_watcher(
    memory: Memory, queue: WorkQueue[Key], *, clock: Callable[[], float] = time.monotonic
) -> Callable[[ObjectKey, Seen | None, Seen | None], None]:
    """A function that queues the owner of an object that somebody touched or deleted; it keeps the memory true.

    Only the Kustomization that applied the object is woken, and only while the labels name it: a label that somebody
    else has written would wake whom they like.
    An object that changed hands does not wake its former owner: two Kustomizations that both want it would fight. One
    that is touched again and again (another controller undoes every correction) wakes its owner ever more seldom. A
    Job that is gone is left to the next interval, as Flux does: its time to live would make it run without end. What is
    only on its way out wakes nobody: there is nothing to put right before it is gone.
    """
    restless: dict[ObjectKey, tuple[int, float]] = {}

    def pause(key: ObjectKey) -> float:
        now = clock()
        if len(restless) > _RESTLESS:
            for calm in [other for other, (_, last) in restless.items() if now - last > CALM_SECONDS]:
                del restless[calm]
        count, last = restless.get(key, (0, now))
        count = 0 if now - last > CALM_SECONDS else count
        restless[key] = (count + 1, now)
        return 0.0 if count < _PROMPT else min(2.0 ** (count - _PROMPT), LONGEST_PAUSE)

    def touched(key: ObjectKey, old: Seen | None, new: Seen | None) -> None:
        owner = memory.applied_by(key)
        if new is None:
            memory.forget(key)
            if owner is not None and old is not None and old.owner == owner and (key.group, key.kind) != _JOB:
                queue.add(owner, Priority.REVISION, pause(key))
        elif new.terminating:
            return
        elif owner is not None and new.owner == owner and not memory.untouched(key, new.fingerprint):
            queue.add(owner, Priority.REVISION, pause(key))

    return touched
