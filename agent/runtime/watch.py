"""Following one kind of object: an explicit state machine, after the watcher of kube-rs.

    Empty ──list──> Paging ──last page──> Watching ──frames──> Watching
      ^                │ expired             │ expired, or too many failures in a row
      └────────────────┴─────────────────────┘

`step` is the whole machine and does no I/O: a state and what happened give the next state and the events to publish.
`Watcher` does what the state asks for, through a `ListWatch` that an adapter provides. A cut stream is resumed from
the last resource version seen; an expired one (HTTP 410) starts over with a listing. Events of a listing are
bracketed by Init and InitDone so that a store can replace its content in one step.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from agent.errors import OperationError
from agent.runtime.backoff import Backoff

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ObjectKey(NamedTuple):
    """The name of an object within its kind; cluster-wide objects have the namespace ""."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One version of one object, as decoded by the adapter."""

    key: ObjectKey
    resource_version: str
    value: T


class Expired(OperationError):  # noqa: N818 - the API's own word for it
    """The resource version or the continue token is too old (HTTP 410): list again."""

    reason = "Expired"


# What a ListWatch delivers.


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing. `token` asks for the next one and is "" on the last."""

    items: tuple[Item[T], ...]
    resource_version: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """Frame: an object was added or modified."""

    item: Item[T]


@dataclass(frozen=True, slots=True)
class Deleted:
    """Frame: an object is gone."""

    key: ObjectKey
    resource_version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Frame: nothing up to this resource version is missing."""

    resource_version: str


Frame: TypeAlias = Changed[T] | Deleted | Bookmark


class ListWatch(Protocol[T]):
    """One kind of object at an API server. Both methods raise Expired, or another OperationError."""

    async def list(self, token: str) -> Page[T]:
        """The page that the token asks for; "" asks for the first."""

    def watch(self, resource_version: str) -> AbstractAsyncContextManager[AsyncIterator[Frame[T]]]:
        """Frames after the resource version, until the server or the connection ends the stream."""


# What a Watcher publishes.


@dataclass(frozen=True, slots=True)
class Init:
    """A listing begins."""


@dataclass(frozen=True, slots=True)
class InitApply(Generic[T]):
    """An object of the listing."""

    item: Item[T]


@dataclass(frozen=True, slots=True)
class InitDone:
    """The listing is complete: what was not in it does not exist."""


@dataclass(frozen=True, slots=True)
class Apply(Generic[T]):
    """An object was added or modified."""

    item: Item[T]


@dataclass(frozen=True, slots=True)
class Delete:
    """An object is gone."""

    key: ObjectKey


Event: TypeAlias = Init | InitApply[T] | InitDone | Apply[T] | Delete


# The machine.


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing is known: list from the start."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Within a listing: ask for the page of `token`."""

    token: str


@dataclass(frozen=True, slots=True)
class Watching:
    """Listed: follow the changes after `resource_version`. `failures` counts the streams in a row that gave nothing."""

    resource_version: str
    failures: int = 0


State: TypeAlias = Empty | Paging | Watching


@dataclass(frozen=True, slots=True)
class Failed:
    """Input: the request or the stream failed, or the stream ended at once without a frame."""

    expired: bool = False


Input: TypeAlias = Page[T] | Frame[T] | Failed

RELIST_AFTER = 8
"""Failures of a watch in a row after which the resource version itself is doubted."""


def step(state: State, happened: Input[T]) -> tuple[State, tuple[Event[T], ...]]:
    """The next state, and the events to publish, in order."""
    match happened:
        case Failed():
            return _failed(state, happened), ()
        case Page():
            head: tuple[Event[T], ...] = (Init(),) if isinstance(state, Empty) else ()
            items = tuple(InitApply(item) for item in happened.items)
            if happened.token:
                return Paging(happened.token), (*head, *items)
            return Watching(happened.resource_version), (*head, *items, InitDone())
        case Changed():
            return Watching(happened.item.resource_version), (Apply(happened.item),)
        case Deleted():
            return Watching(happened.resource_version), (Delete(happened.key),)
        case Bookmark():
            return Watching(happened.resource_version), ()


def _failed(state: State, failed: Failed) -> State:
    if failed.expired:
        return Empty()
    if isinstance(state, Watching):
        failures = state.failures + 1
        return Empty() if failures >= RELIST_AFTER else Watching(state.resource_version, failures)
    # A page may be asked for again with the same token; the events of the earlier pages stay valid.
    return state


RECONNECT = Backoff(initial=0.8, maximum=30.0, jitter=1.0)
SHORT_STREAM = 1.0
"""Seconds; a stream that ends sooner and without a frame counts as a failure, or a broken server would be hammered."""


class Watcher(Generic[T]):
    """Keeps a sink up to date with one kind of object, for as long as `run` runs.

    `on_problem` receives the name of the watcher and the failure, each time one happens. `synced` is set once the first
    listing is there, `answered` once it is or failed in a way that `is_answer` says is an answer.
    """

    def __init__(
        self,
        name: str,
        source: ListWatch[T],
        sink: Callable[[Event[T]], None],
        *,
        on_problem: Callable[[str, OperationError], None],
        is_answer: Callable[[OperationError], bool] = lambda _error: True,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff = RECONNECT,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.synced = asyncio.Event()
        self.answered = asyncio.Event()
        self.problem: str | None = None
        self._source = source
        self._sink = sink
        self._on_problem = on_problem
        self._is_answer = is_answer
        self._clock = clock
        self._backoff = backoff
        self._rand = rand
        self._state: State = Empty()
        self._last_seen = clock()
        self._failures = 0

    @property
    def state(self) -> State:
        """Where the machine is."""
        return self._state

    def age(self) -> float:
        """Seconds since the API server was last heard of: a page, a frame or a bookmark (one a minute or two)."""
        return self._clock() - self._last_seen

    async def run(self) -> None:
        """Follow until cancelled. Only failures of the source are survived."""
        while True:
            try:
                failed = await self._advance()
            except OperationError as error:
                self.problem = error.message
                if self._is_answer(error):
                    self.answered.set()
                self._on_problem(self.name, error)
                failed = Failed(expired=isinstance(error, Expired))
            if failed is None:
                continue
            self._take(failed)
            self._failures += 1
            await asyncio.sleep(self._backoff.delay(self._failures, self._rand))

    async def _advance(self) -> Failed | None:
        match self._state:
            case Empty():
                self._heard(await self._source.list(""))
            case Paging(token):
                self._heard(await self._source.list(token))
            case Watching(resource_version):
                return await self._follow(resource_version)
        return None

    async def _follow(self, resource_version: str) -> Failed | None:
        started = self._clock()
        frames = 0
        async with self._source.watch(resource_version) as stream:
            self._last_seen = self._clock()
            async for frame in stream:
                frames += 1
                self._heard(frame)
        return Failed() if not frames and self._clock() - started < SHORT_STREAM else None

    def _heard(self, happened: Page[T] | Frame[T]) -> None:
        self._last_seen = self._clock()
        self._failures = 0
        self.problem = None
        self._take(happened)

    def _take(self, happened: Input[T]) -> None:
        self._state, events = step(self._state, happened)
        for event in events:
            self._sink(event)
        if isinstance(self._state, Watching):
            self.synced.set()
            self.answered.set()
