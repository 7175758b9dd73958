"""What is known of applied objects without asking: a metadata-only watch a kind, over objects with owner labels.

It holds a fingerprint and the resource version of each object, nothing more. A kind is followed from the first time
that an object of it is applied. Subscribers hear of every change; a waiter hears of the objects it names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.podnews import PodNews
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.watch import KubeListWatch
from agent.core.fingerprint import Fingerprint, fingerprint_of
from agent.core.normalize import OWNER_NAME, OWNER_NAMESPACE
from agent.core.objects import ObjectKey, is_older
from agent.errors import OperationError
from agent.runtime.watch import Apply, Delete, Event, Init, InitApply, InitDone, Item, Watcher
from agent.runtime.watch import ObjectKey as Name

_SYNC_SECONDS = 30.0
_GONE = 1000  # objects that went away and whose last version is remembered


class Seen(msgspec.Struct, frozen=True):
    """What is kept of one object. `owner` is (namespace, name) of the Kustomization in its labels."""

    fingerprint: Fingerprint
    resource_version: str
    owner: tuple[str, str]
    terminating: bool = False


Subscriber = Callable[[ObjectKey, Seen | None, Seen | None], None]


class LiveIndex:
    """Metadata of all applied objects in one cluster. `run` keeps the watches going, also those of `pods`."""

    def __init__(self, client: KubeClient, *, on_problem: Callable[[str, OperationError], None]) -> None:
        self._client = client
        self._on_problem = on_problem
        self.pods = PodNews(client, on_problem=on_problem)
        self._objects: dict[ObjectKey, Seen] = {}
        self._gone: dict[ObjectKey, str] = {}
        self._watchers: dict[tuple[str, str], Watcher[Seen]] = {}
        self._answered: dict[tuple[str, str], asyncio.Event] = {}
        self._unstarted: asyncio.Queue[Watcher[Seen]] = asyncio.Queue()
        self._incoming: dict[tuple[str, str], dict[ObjectKey, Seen]] = {}
        self._subscribers: list[Subscriber] = []
        self._waiters: dict[ObjectKey, set[asyncio.Queue[ObjectKey]]] = {}

    async def run(self) -> None:
        """Run the watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run(), name="live pods")
            while True:
                watcher = await self._unstarted.get()
                group.create_task(watcher.run(), name=f"live {watcher.name}")

    async def follow(self, resource: Resource) -> None:
        """Watch the kind from now on; returns once it is listed, or has failed to be: nothing is skipped until then.

        A kind that may not be watched (the agent's own role need not name what a ServiceAccount of a Kustomization
        may apply) is tried again and again, but waited for only once.
        """
        kind = (resource.group, resource.kind)
        watcher = self._watchers.get(kind)
        if watcher is None:
            source = KubeListWatch(
                self._client,
                resource,
                _seen,
                on_undecodable=lambda _key, _message: None,
                label_selector=OWNER_NAME,
                metadata_only=True,
            )
            watcher = Watcher(
                resource.plural,
                source,
                lambda event: self._feed(kind, event),
                on_problem=lambda name, error: self._failed(kind, name, error),
            )
            self._watchers[kind] = watcher
            self._answered[kind] = asyncio.Event()
            self._unstarted.put_nowait(watcher)
        if not self._answered[kind].is_set():
            try:
                async with asyncio.timeout(_SYNC_SECONDS):
                    await self._answered[kind].wait()
            except TimeoutError:
                return

    def fingerprint(self, key: ObjectKey) -> Fingerprint | None:
        """The fingerprint of an object, None if it was not seen or may have changed unseen."""
        seen = self._current(key)
        return seen.fingerprint if seen else None

    def uid(self, key: ObjectKey) -> str | None:
        """The uid of an object when it was last seen, by a watch or in an answer, also if it may have changed since."""
        seen = self._objects.get(key)
        return seen.fingerprint.uid if seen else None

    def resource_version(self, key: ObjectKey) -> str | None:
        """The resource version of an object, None if it was not seen or may have changed unseen."""
        seen = self._current(key)
        return seen.resource_version if seen else None

    def lacks(self, key: ObjectKey) -> bool:
        """True if there is no such object, or it has no owner labels, or it was made a moment ago."""
        return self._watched(key) and key not in self._objects

    def hears(self, key: ObjectKey) -> bool:
        """True if the object, its status included, cannot change without a word to `changes`."""
        seen = self._current(key)
        return seen is not None and bool(seen.owner[1])

    def observe(self, key: ObjectKey, live: Mapping[str, Any]) -> Fingerprint:
        """Take note of an answer of the API server, which is often ahead of the watch.

        It may also be behind: an answer from before a deletion that the watch has reported brings nothing back.
        """
        metadata = live["metadata"]
        labels = metadata.get("labels") or {}
        owner = (labels.get(OWNER_NAMESPACE, ""), labels.get(OWNER_NAME, ""))
        terminating = "deletionTimestamp" in metadata
        seen = Seen(fingerprint_of(metadata), metadata["resourceVersion"], owner, terminating)
        known, version = self._objects.get(key), seen.resource_version
        last = known.resource_version if known else self._gone.get(key, "")
        if not is_older(version, last) and (known or version != last):
            self._objects[key] = seen
        return seen.fingerprint

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(key, old, new)` for every change that a watch reports."""
        self._subscribers.append(subscriber)

    @contextmanager
    def changes(self, keys: Iterable[ObjectKey]) -> Iterator[asyncio.Queue[ObjectKey]]:
        """A queue that receives each of these keys whenever its object changes, status included."""
        queue: asyncio.Queue[ObjectKey] = asyncio.Queue()
        wanted = list(keys)
        for key in wanted:
            self._waiters.setdefault(key, set()).add(queue)
        try:
            yield queue
        finally:
            for key in wanted:
                self._waiters[key].discard(queue)
                if not self._waiters[key]:
                    del self._waiters[key]

    def _current(self, key: ObjectKey) -> Seen | None:
        return self._objects.get(key) if self._watched(key) else None

    def _watched(self, key: ObjectKey) -> bool:
        watcher = self._watchers.get((key.group, key.kind))
        return watcher is not None and watcher.synced.is_set() and watcher.problem is None

    def _failed(self, kind: tuple[str, str], name: str, error: OperationError) -> None:
        self._answered[kind].set()
        if isinstance(error, NotFound):
            self._swap(kind, {})  # the kind itself is gone, and its objects with it
        self._on_problem(name, error)

    def _feed(self, kind: tuple[str, str], event: Event[Seen]) -> None:
        match event:
            case Init():
                self._incoming[kind] = {}
            case InitApply(item):
                self._incoming[kind][_key(kind, item.key)] = item.value
            case InitDone():
                self._swap(kind, self._incoming.pop(kind))
                self._answered[kind].set()
            case Apply(item):
                self._put(_key(kind, item.key), item)
            case Delete(name):
                self._drop(_key(kind, name))

    def _swap(self, kind: tuple[str, str], incoming: dict[ObjectKey, Seen]) -> None:
        for key in [key for key in self._objects if (key.group, key.kind) == kind and key not in incoming]:
            self._drop(key)
        for key, seen in incoming.items():
            self._store(key, seen)

    def _put(self, key: ObjectKey, item: Item[Seen]) -> None:
        self._store(key, item.value)

    def _store(self, key: ObjectKey, seen: Seen) -> None:
        known = self._objects.get(key)
        if known is not None and is_older(seen.resource_version, known.resource_version):
            return
        self._objects[key] = seen
        if known != seen:
            self._announce(key, known, seen)

    def _drop(self, key: ObjectKey) -> None:
        known = self._objects.pop(key, None)
        if known is not None:
            self._gone.pop(key, None)
            self._gone[key] = known.resource_version
            if len(self._gone) > _GONE:
                del self._gone[next(iter(self._gone))]
            self._announce(key, known, None)

    def _announce(self, key: ObjectKey, old: Seen | None, new: Seen | None) -> None:
        for queue in self._waiters.get(key, ()):
            queue.put_nowait(key)
        for subscriber in self._subscribers:
            subscriber(key, old, new)


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Partial(msgspec.Struct):
    metadata: _Metadata


_decoder = msgspec.json.Decoder(_Partial)


def _seen(body: bytes) -> Seen:
    metadata = _decoder.decode(body).metadata
    return Seen(
        fingerprint_of(
            {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "generation": metadata.generation,
                "labels": metadata.labels,
                "annotations": metadata.annotations,
            }
        ),
        metadata.resource_version,
        (metadata.labels.get(OWNER_NAMESPACE, ""), metadata.labels.get(OWNER_NAME, "")),
        metadata.deletion_timestamp is not None,
    )


def _key(kind: tuple[str, str], name: Name) -> ObjectKey:
    return ObjectKey(kind[0], kind[1], name.namespace, name.name)
