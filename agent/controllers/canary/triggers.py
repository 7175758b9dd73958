"""Which event queues which Canary. Nothing is decided here: passes read the world."""

from __future__ import annotations

from collections.abc import Callable

from agent.adapters.kube.watch import PartialObject, decode_metadata
from agent.api.canary import Canary
from agent.controllers.canary.kinds import WORKLOADS
from agent.controllers.following import Following
from agent.core.objects import ObjectKey
from agent.core.rollout.commands import COMMAND, PAUSED
from agent.core.rollout.manualgate import gates_differ
from agent.core.rollout.quarantine import QUARANTINE
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store

Key = tuple[str, str]
TARGET_INDEX = "target"
_PRIMARY = "-primary"


def target_key(canary: Canary) -> tuple[str, str, str]:
    """Kind, namespace and name of what the Canary rolls out."""
    return canary.spec.target_ref.kind, canary.namespace, canary.target_name


def watch_canaries(store: Store[Canary], queue: WorkQueue[Key]) -> None:
    """Queue a Canary when it comes or goes, when its spec changes, and when somebody asks for a pass or for
    something of the rollout.

    The store gets an index of Canaries by their targets.
    """
    store.add_index(TARGET_INDEX, lambda canary: (target_key(canary),))

    def changed(old: Canary | None, new: Canary | None) -> None:
        some = new or old
        assert some is not None
        key = (some.namespace, some.name)
        if old is None:
            queue.add(key, Priority.STARTUP)
        elif new is None or _asks(old, new):
            queue.add(key, Priority.SPEC)

    store.subscribe(changed)


def _asks(old: Canary, new: Canary) -> bool:
    return (
        old.metadata.generation != new.metadata.generation
        or old.is_deleting != new.is_deleting
        or old.requested_at != new.requested_at
        or gates_differ(old.metadata.annotations, new.metadata.annotations)
        or _released(old, new)
        or any(old.metadata.annotations.get(name) != new.metadata.annotations.get(name) for name in (COMMAND, PAUSED))
    )


def _released(old: Canary, new: Canary) -> bool:
    """A rejected reference may be tried again: its entry was taken out of the quarantine."""
    before = old.metadata.annotations.get(QUARANTINE)
    return before is not None and before != new.metadata.annotations.get(QUARANTINE)


def applied_watcher(
    store: Store[Canary], queue: WorkQueue[Key]
) -> Callable[[ObjectKey, object | None, object | None], None]:
    """A subscriber for what Kustomizations apply: a Canary is queued when its target changes, whatever its kind is."""

    def changed(key: ObjectKey, _old: object | None, _new: object | None) -> None:
        for canary in store.by_index(TARGET_INDEX, (key.kind, key.namespace, key.name)):
            queue.add((canary.namespace, canary.name), Priority.REVISION)

    return changed


def workload_watcher(
    kind: str, store: Store[Canary], queue: WorkQueue[Key]
) -> Callable[[PartialObject | None, PartialObject | None], None]:
    """A subscriber for a store of workloads of one kind (their metadata is enough).

    It queues the Canaries whose target or primary changed: a new template starts a run by itself, a pod that became
    ready moves an initialization on. Needs the index that `watch_canaries` adds.
    """

    def changed(old: PartialObject | None, new: PartialObject | None) -> None:
        some = new or old
        assert some is not None
        namespace, name = some.metadata.namespace, some.metadata.name
        for target in (name, name.removesuffix(_PRIMARY)):
            for canary in store.by_index(TARGET_INDEX, (kind, namespace, target)):
                queue.add((canary.namespace, canary.name), Priority.REVISION)

    return changed


def watch_workloads(following: Following, store: Store[Canary], queue: WorkQueue[Key], *, namespace: str = "") -> None:
    """Follow the workloads that Canaries roll out, in one namespace if that is named; see `workload_watcher`."""
    for resource in WORKLOADS.values():
        workloads = following.others(resource, decode_metadata, metadata_only=True, namespace=namespace)
        workloads.subscribe(workload_watcher(resource.kind, store, queue))
