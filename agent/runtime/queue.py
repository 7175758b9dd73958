"""The work queue: keys in, one at a time out.

The contract, which the property tests restate as a model:

* a key is pending at most once; adding it again keeps the higher priority and the earlier due time;
* a key is handed out when it is due, the highest priority first, then the earliest due time, then the first added;
* a key that is being worked on is never handed out; added meanwhile, it is handed out after `done`;
* a key that brings no news of its own (start-up, catching up, an interval) stays back while passes that do are under
  way, so that these have the API server and the interpreter for themselves; also passes of other queues, if it is told
  to make room for those. It is for a second in all, which only time without any such pass gives back: where one follows
  the other, a key that is due waits no longer than that for a worker that has nothing else to do;
* back-off belongs to the queue: `retry` counts a failure of the key, `forget` clears the count.

Deciding is synchronous (`take`, `next_due`) and only `get` waits. Everything runs on the loop's thread, but for the
figures: their length, `working`, `running` and `due` may be asked for by any.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from agent.runtime.backoff import Backoff

K = TypeVar("K", bound=Hashable)

STAND_BACK = 1.0
"""Seconds for which what brings no news makes room; a pass with news that takes longer waits for something else."""
RETRY = Backoff(initial=0.75, maximum=900.0)
"""Flux's controllers retry between 750 ms and 15 minutes (`--min-retry-delay`, `--max-retry-delay`)."""


class Priority(enum.IntEnum):
    """Why a key was added; higher goes first. CATCH_UP is for a new revision that changes nothing for the key."""

    STARTUP = 0
    CATCH_UP = 1
    RESYNC = 2
    SPEC = 3
    REVISION = 4
    REQUESTED = 5


@dataclass(slots=True)
class _Pending:
    """One pending key. `ticket` names the only heap entry that still counts."""

    priority: Priority
    due: float
    sequence: int
    ticket: int = -1


class QueueObserver(Protocol):
    """Is told what happens to the keys of a queue, as client-go's metrics of its queues count it."""

    def added(self) -> None:
        """A key has become pending."""

    def retried(self) -> None:
        """A key was added again after a failure."""

    def taken(self, waited: float) -> None:
        """A key was handed out, so many seconds after it had become due."""

    def finished(self, worked: float) -> None:
        """A key's pass took so many seconds."""


class Room:
    """For how long what brings no news makes room for passes that do. `over` is set when the last of them ends.

    It is `STAND_BACK` seconds in all, which only time without such a pass gives back.
    """

    def __init__(self, over: asyncio.Event) -> None:
        self.until = -math.inf
        self._over = over
        self._passes = 0
        self._left = STAND_BACK
        self._as_of = -math.inf

    def begin(self, now: float) -> None:
        """One pass more, at the time `now`."""
        if not self._passes:
            self.until = now + min(self._left + now - self._as_of, STAND_BACK)
        self._passes += 1

    def end(self, now: float) -> None:
        """One less."""
        self._passes -= 1
        if not self._passes:
            self._left, self._as_of = max(self.until - now, 0.0), now
            self.until = -math.inf
            self._over.set()


class WorkQueue(Generic[K]):
    """See the module. Times are seconds of `clock` (monotonic)."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff = RETRY,
        rand: Callable[[], float] = random.random,
        observer: QueueObserver | None = None,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._backoff = backoff
        self._rand = rand
        self._pending: dict[K, _Pending] = {}
        self._working: dict[K, tuple[float, Priority]] = {}
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._ready: list[tuple[int, float, int, int, K]] = []
        self._counter = itertools.count()
        self._changed = asyncio.Event()
        self._calm = asyncio.Event()
        self._news = 0
        self._room = Room(self._changed)
        self.rooms = [self._room]

    def __len__(self) -> int:
        """Pending keys, due or not, without those being worked on."""
        return len(self._pending)

    @property
    def working(self) -> frozenset[K]:
        """Keys handed out and not yet done."""
        return frozenset(self._working)

    def running(self) -> list[float]:
        """For how many seconds each of the keys handed out has been worked on."""
        now = self._clock()
        return [now - since for since, _ in self._working.copy().values()]

    def due(self) -> int:
        """Keys that could be handed out now: the backlog."""
        now = self._clock()
        # a copy is made in one go; between two entries of a tuple, garbage collection may give another thread its turn
        pending = self._pending.copy()
        return sum(item.due <= now and key not in self._working for key, item in pending.items())

    def add(self, key: K, priority: Priority = Priority.SPEC, after: float = 0.0) -> None:
        """Make the key due in `after` seconds, merging with what is already pending for it."""
        due = self._clock() + max(after, 0.0)
        item = self._pending.get(key)
        if item is None:
            item = self._pending[key] = _Pending(priority, due, next(self._counter))
            if self._observer is not None:
                self._observer.added()
        elif priority <= item.priority and due >= item.due:
            return
        else:
            item.priority = max(item.priority, priority)
            item.due = min(item.due, due)
        if key not in self._working:
            self._schedule(key, item)

    def done(self, key: K) -> None:
        """The key's pass is over; what was added for it meanwhile may be handed out."""
        since, priority = self._working.pop(key, (None, Priority.STARTUP))
        if since is not None and self._observer is not None:
            self._observer.finished(self._clock() - since)
        if priority >= Priority.SPEC:
            self._news -= 1
            if not self._news:
                self._calm.set()
            for room in self.rooms:
                room.end(self._clock())
        item = self._pending.get(key)
        if item is not None:
            self._schedule(key, item)

    def retry(self, key: K, priority: Priority = Priority.RESYNC) -> float:
        """Count a failure of the key and add it again after its back-off. Returns the delay in seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(count, self._rand)
        if self._observer is not None:
            self._observer.retried()
        self.add(key, priority, delay)
        return delay

    def failures(self, key: K) -> int:
        """Failures of the key in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Start the key's back-off from the beginning."""
        self._failures.pop(key, None)

    def discard(self, key: K) -> None:
        """Drop the key: pending work and failures. A pass in progress is not touched."""
        self._pending.pop(key, None)
        self._failures.pop(key, None)

    def take(self) -> tuple[K, Priority] | None:
        """Hand out the next due key, with the priority it had, or None."""
        now = self._clock()
        self._promote(now)
        key = self._first()
        if key is None or self._stands_back(key, now):
            return None
        heapq.heappop(self._ready)
        item = self._pending.pop(key)
        self._working[key] = (now, item.priority)
        if item.priority >= Priority.SPEC:
            self._news += 1
            for room in self.rooms:
                room.begin(now)
        if self._observer is not None:
            self._observer.taken(max(now - item.due, 0.0))
        return key, item.priority

    def next_due(self) -> float | None:
        """When the next key that is not yet to be handed out will be, at the latest, or None."""
        back = self._back_again()
        while self._later:
            due, ticket, key = self._later[0]
            if self._counts(key, ticket):
                return due if back is None else min(due, back)
            heapq.heappop(self._later)
        return back

    async def get(self) -> tuple[K, Priority]:
        """Wait for the next due key, which comes with the priority it had."""
        while True:
            self._changed.clear()
            taken = self.take()
            if taken is not None:
                return taken
            due = self.next_due()
            timeout = None if due is None else max(due - self._clock(), 0.0)
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def calm(self) -> None:
        """Wait until no pass with news is under way or due, for up to `STAND_BACK` seconds."""
        if not self._has_news():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STAND_BACK):
                while self._has_news():
                    self._calm.clear()
                    await self._calm.wait()

    def _has_news(self) -> bool:
        return self._news > 0 or self._brings_news(self._first())

    def _brings_news(self, key: K | None) -> bool:
        return key is not None and self._pending[key].priority >= Priority.SPEC

    def make_room_for(self, other: WorkQueue[Any]) -> None:
        """Hold back what brings no news for passes with news of another queue as well, as long as none has begun."""
        other.rooms.append(self._room)

    def _stands_back(self, key: K, now: float) -> bool:
        return not self._brings_news(key) and now < self._room.until

    def _back_again(self) -> float | None:
        """When the first of those that are due stands back no longer, None if it does not."""
        key = self._first()
        return self._room.until if key is not None and self._stands_back(key, self._clock()) else None

    def _first(self) -> K | None:
        """The first of those that are due, None if none is."""
        while self._ready:
            *_, ticket, key = self._ready[0]
            if self._counts(key, ticket):
                return key
            heapq.heappop(self._ready)
        return None

    def _schedule(self, key: K, item: _Pending) -> None:
        item.ticket = next(self._counter)
        if item.due <= self._clock():
            heapq.heappush(self._ready, (-item.priority, item.due, item.sequence, item.ticket, key))
        else:
            heapq.heappush(self._later, (item.due, item.ticket, key))
            self._compact()
        self._changed.set()

    def _compact(self) -> None:
        """Drop outdated entries once they outnumber the pending keys; each early pass leaves one for its interval."""
        if len(self._later) > 2 * len(self._pending) + 64:
            self._later = [entry for entry in self._later if self._counts(entry[2], entry[1])]
            heapq.heapify(self._later)

    def _counts(self, key: K, ticket: int) -> bool:
        item = self._pending.get(key)
        return item is not None and item.ticket == ticket

    def _promote(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, ticket, key = heapq.heappop(self._later)
            if self._counts(key, ticket):
                item = self._pending[key]
                heapq.heappush(self._ready, (-item.priority, item.due, item.sequence, ticket, key))
