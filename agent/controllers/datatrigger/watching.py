"""What queues a DataTrigger: its own edits, what Kustomizations apply, what references mean, new commits and tags."""

from __future__ import annotations

from agent.api.datatrigger import DataTrigger
from agent.api.kustomization import Kustomization
from agent.controllers.applied import AppliedObjects
from agent.controllers.datatrigger.reconciler import RERUN
from agent.controllers.sources import SourceKey, SourceRegistry
from agent.controllers.tagregistries import TagRegistries
from agent.controllers.triggers import watch_objects
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store

Key = tuple[str, str]


def watch_data(
    triggers: Store[DataTrigger],
    kustomizations: Store[Kustomization],
    applied: AppliedObjects,
    registry: SourceRegistry,
    queue: WorkQueue[Key],
    *,
    tags: TagRegistries,
) -> None:
    """Queue the triggers of a namespace when something in it may have changed."""

    def wake(namespace: str) -> None:
        for trigger in triggers.list(namespace):
            queue.add((trigger.namespace, trigger.name), Priority.REVISION)

    def asked(old: DataTrigger | None, new: DataTrigger | None) -> None:
        if old and new and old.metadata.annotations.get(RERUN) != new.metadata.annotations.get(RERUN):
            queue.add((new.namespace, new.name), Priority.REQUESTED)

    def applied_by(key: Key) -> None:
        wake(key[0])

    def published(key: SourceKey) -> None:
        wake(key.namespace)

    def attempted(old: Kustomization | None, new: Kustomization | None) -> None:
        if new and old and old.status.last_attempted_revision != new.status.last_attempted_revision:
            wake(new.namespace)

    watch_objects(triggers, queue)
    triggers.subscribe(asked)
    kustomizations.subscribe(attempted)
    applied.subscribe(applied_by)
    registry.subscribe(published)
    tags.subscribe(published)
