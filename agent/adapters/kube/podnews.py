"""Which Pods have moved: a metadata-only watch of the Pods of a namespace, for as long as somebody waits for them.

Nothing of a Pod is kept but the word that its owner's Pods are not what they were. The watches have the agent's own
rights; what a Pod says of itself is for the waiter to read, with the rights that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import PODS
from agent.adapters.kube.watch import KubeListWatch
from agent.core.objects import ObjectKey
from agent.errors import OperationError
from agent.runtime.watch import Apply, Event, Frame, InitApply, Watcher

_SYNC_SECONDS = 30.0


class _Owner(msgspec.Struct, frozen=True):
    uid: str = ""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    owner_references: tuple[_Owner, ...] = ()


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


_owners = msgspec.json.Decoder(_Pod)
_Waiting: TypeAlias = tuple[asyncio.Queue[ObjectKey], ObjectKey]


class _Namespace(KubeListWatch[_Pod]):
    """The watch of one namespace, whether it is `open`, and how many wait for what it tells."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        super().__init__(
            client,
            PODS,
            _owners.decode,
            on_undecodable=lambda _key, _message: None,
            namespace=namespace,
            metadata_only=True,
        )
        self.open = False
        self.answered = asyncio.Event()
        self.users = 0
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watch(self, resource_version: str) -> AsyncIterator[AsyncIterator[Frame[_Pod]]]:
        """As that of any kind."""
        async with super().watch(resource_version) as frames:
            self.open = True
            self.answered.set()
            try:
                yield frames
            finally:
                self.open = False


class PodNews:
    """The Pods of one cluster. `run` keeps the watches going; without it nothing is heard, and nobody held up.

    A watch goes on for `linger` seconds after the last wait: a new commit ends all waits, and begins them again.
    """

    def __init__(
        self, client: KubeClient, *, on_problem: Callable[[str, OperationError], None], linger: float = 60.0
    ) -> None:
        self._client = client
        self._linger = linger
        self._on_problem = on_problem
        self._namespaces: dict[str, _Namespace] = {}
        self._waiting: dict[str, set[_Waiting]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run the watches until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._namespaces.clear()

    @contextmanager
    def hearing(self, queue: asyncio.Queue[ObjectKey]) -> Iterator[Hearing]:
        """What puts workloads into the queue when their Pods move."""
        hearing = Hearing(self, queue)
        try:
            yield hearing
        finally:
            hearing.end()

    def reliable(self, namespace: str) -> bool:
        """True while no Pod of the namespace can move unheard: to be listed is not enough, the watch may be refused."""
        space = self._namespaces.get(namespace)
        return space is not None and space.open

    async def join(self, namespace: str) -> None:
        """Follow the Pods of a namespace until `leave`; returns once they are watched, or fail to be."""
        space = self._namespaces.get(namespace) or self._open(namespace)
        space.users += 1
        if self._group is not None and not space.answered.is_set():
            try:
                async with asyncio.timeout(_SYNC_SECONDS):
                    await space.answered.wait()
            except TimeoutError:
                return

    def leave(self, namespace: str) -> None:
        """The end of what `join` began."""
        space = self._namespaces.get(namespace)
        if space is not None:
            space.users -= 1
            asyncio.get_running_loop().call_later(self._linger, self._close_unused, namespace)

    def wait_for(self, owner: str, waiting: _Waiting) -> None:
        """Put the workload into the queue when a Pod of the owner (its uid) comes or changes."""
        self._waiting.setdefault(owner, set()).add(waiting)

    def wait_no_more(self, owner: str, waiting: _Waiting) -> None:
        """The end of what `wait_for` began."""
        found = self._waiting.get(owner, set())
        found.discard(waiting)
        if not found:
            self._waiting.pop(owner, None)

    def _open(self, namespace: str) -> _Namespace:
        space = self._namespaces[namespace] = _Namespace(self._client, namespace)

        def failed(name: str, error: OperationError) -> None:
            space.answered.set()
            self._on_problem(name, error)

        def feed(event: Event[_Pod]) -> None:
            if isinstance(event, Apply | InitApply):
                self._moved(event.item.value)

        if self._group is not None:
            watcher = Watcher(PODS.plural, space, feed, on_problem=failed)
            space.task = self._group.create_task(watcher.run(), name=f"pods of {namespace}")
        return space

    def _moved(self, pod: _Pod) -> None:
        for owner in pod.metadata.owner_references:
            for queue, key in self._waiting.get(owner.uid, ()):
                queue.put_nowait(key)

    def _close_unused(self, namespace: str) -> None:
        space = self._namespaces.get(namespace)
        if space is not None and not space.users:
            del self._namespaces[namespace]
            if space.task is not None:
                space.task.cancel()


class Hearing:
    """One waiter's ear: whose Pods matter to which of the workloads that it waits for."""

    def __init__(self, news: PodNews, queue: asyncio.Queue[ObjectKey]) -> None:
        self._news = news
        self._queue = queue
        self._namespaces: set[str] = set()
        self._owners: dict[ObjectKey, tuple[str, str]] = {}
        self._unknown: set[ObjectKey] = set()

    async def follow(self, key: ObjectKey, namespace: str, owner: str) -> None:
        """The Pods of that owner (a uid) matter to the workload: they are to be looked at after this returns."""
        self.forget(key)
        self._owners[key] = (namespace, owner)
        self._news.wait_for(owner, (self._queue, key))
        if namespace not in self._namespaces:
            self._namespaces.add(namespace)
            await self._news.join(namespace)

    def forget(self, key: ObjectKey, *, unknown: bool = False) -> None:
        """No Pods matter to the workload any more, or it is `unknown` whether some do."""
        _, owner = self._owners.pop(key, ("", ""))
        self._news.wait_no_more(owner, (self._queue, key))
        self._unknown.discard(key)
        if unknown:
            self._unknown.add(key)

    def misses(self, key: ObjectKey) -> bool:
        """True if Pods that matter to the workload can move unheard."""
        if key in self._owners:
            return not self._news.reliable(self._owners[key][0])
        return key in self._unknown

    def end(self) -> None:
        """The waiter waits no more."""
        for key in list(self._owners):
            self.forget(key)
        while self._namespaces:
            self._news.leave(self._namespaces.pop())
