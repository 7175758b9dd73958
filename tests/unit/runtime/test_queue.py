"""The work queue's contract: as a model under random operations, and its waiting in virtual time."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.runtime.backoff import Backoff
from agent.runtime.queue import STAND_BACK, Priority, WorkQueue
from tests.unit.runtime.virtual_time import now, run

KEYS = st.sampled_from("abcde")
PRIORITIES = st.sampled_from(Priority)
DELAYS = st.sampled_from([0.0, 0.0, 1.0, 2.5, 10.0])


@dataclass
class Entry:
    priority: Priority
    due: float
    added: int


class QueueModel(RuleBasedStateMachine):
    """A dictionary with the rules of the module docstring, next to the real queue."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.added = 0
        self.queue: WorkQueue[str] = WorkQueue(clock=lambda: self.now, rand=lambda: 0.0)
        self.pending: dict[str, Entry] = {}
        self.working: dict[str, Priority] = {}
        self.room = STAND_BACK
        self.until = 0.0

    def expected(self) -> str | None:
        ready = [k for k, e in self.pending.items() if e.due <= self.now and k not in self.working]

        def order(key: str) -> tuple[int, float, int]:
            entry = self.pending[key]
            return -entry.priority, entry.due, entry.added

        first = min(ready, key=order, default=None)
        if first is None:
            return None
        no_news = self.pending[first].priority < Priority.SPEC
        return None if no_news and self.has_news() and self.now < self.until else first

    def has_news(self) -> bool:
        return any(priority >= Priority.SPEC for priority in self.working.values())

    @rule(key=KEYS, priority=PRIORITIES, after=DELAYS)
    def add(self, key: str, priority: Priority, after: float) -> None:
        self.queue.add(key, priority, after)
        self.added += 1
        old = self.pending.setdefault(key, Entry(priority, self.now + after, self.added))
        old.priority = max(old.priority, priority)
        old.due = min(old.due, self.now + after)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if not self.has_news():
            self.room = min(self.room + seconds, STAND_BACK)

    @rule()
    def take(self) -> None:
        expected = self.expected()
        taken = self.queue.take()
        if expected is None:
            assert taken is None
        else:
            self.until = self.until if self.has_news() else self.now + self.room
            self.working[expected] = self.pending.pop(expected).priority
            assert taken == (expected, self.working[expected])

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key)
        had_news = self.has_news()
        del self.working[key]
        if had_news and not self.has_news():
            self.room = max(self.until - self.now, 0.0)

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        self.queue.discard(key)
        self.pending.pop(key, None)

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.queue) == len(self.pending)
        assert self.queue.working == self.working.keys()
        ready = [k for k, e in self.pending.items() if e.due <= self.now and k not in self.working]
        assert self.queue.due() == len(ready)

    @invariant()
    def next_due_is_never_late(self) -> None:
        future = [e.due for k, e in self.pending.items() if e.due > self.now and k not in self.working]
        next_due = self.queue.next_due()
        if future:
            assert next_due is not None
            assert next_due <= min(future)
        if self.expected() is None and self.queue.due():
            assert next_due is not None
            assert next_due <= self.now + STAND_BACK


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def queue_at(start: float = 0.0) -> tuple[WorkQueue[str], list[float]]:
    clock = [start]
    return WorkQueue(clock=lambda: clock[0], rand=lambda: 0.0), clock


def take_all(queue: WorkQueue[str]) -> list[str]:
    keys = []
    while (taken := queue.take()) is not None:
        keys.append(taken[0])
        queue.done(taken[0])
    return keys


def test_higher_priorities_go_first_and_equal_ones_in_order() -> None:
    queue, _ = queue_at()
    queue.add("start", Priority.STARTUP)
    queue.add("spec 1", Priority.SPEC)
    queue.add("resync", Priority.RESYNC)
    queue.add("asked", Priority.REQUESTED)
    queue.add("spec 2", Priority.SPEC)
    queue.add("revision", Priority.REVISION)
    assert take_all(queue) == ["asked", "revision", "spec 1", "spec 2", "resync", "start"]


def test_a_request_brings_a_waiting_key_forward() -> None:
    queue, _ = queue_at()
    queue.add("app", Priority.RESYNC, after=600)
    assert queue.take() is None
    queue.add("app", Priority.REQUESTED)
    assert queue.take() == ("app", Priority.REQUESTED)
    assert queue.take() is None


def test_a_key_added_during_its_pass_is_handed_out_after_it() -> None:
    queue, _ = queue_at()
    queue.add("app")
    assert queue.take() == ("app", Priority.SPEC)
    queue.add("app", Priority.REVISION)
    assert queue.take() is None
    queue.done("app")
    assert queue.take() == ("app", Priority.REVISION)


def test_passes_that_come_early_leave_nothing_behind() -> None:
    queue, clock = queue_at()
    for _ in range(10_000):
        queue.add("app", Priority.RESYNC, after=3600)
        queue.add("app", Priority.SPEC)
        assert queue.take() == ("app", Priority.SPEC)
        queue.done("app")
        clock[0] += 0.01
    assert len(queue._later) < 100
    assert len(queue) == 0


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads change places all the time, also while garbage is collected, as finalizers and callbacks allow."""

    def give_way(_phase: str, _info: object) -> None:
        time.sleep(0)

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.callbacks.append(give_way)
    gc.set_threshold(20, 1_000_000, 1_000_000)  # the youngest only, which is quick
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)
    gc.callbacks.remove(give_way)


@pytest.mark.usefixtures("restless_threads")
def test_figures_may_be_asked_for_by_any_thread() -> None:
    queue: WorkQueue[int] = WorkQueue()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            queue.due()
            queue.running()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        for number in range(20_000):
            queue.add(number, after=number % 2)
            queue.take()
        done.set()
        asking.result()


def test_back_off_grows_to_a_quarter_of_an_hour_and_is_forgotten() -> None:
    queue, _ = queue_at()
    delays = [queue.retry("app") for _ in range(14)]
    assert delays[:4] == [0.75, 1.5, 3.0, 6.0]
    assert delays[-1] == 900.0
    assert queue.failures("app") == 14
    queue.forget("app")
    assert queue.retry("app") == 0.75


@given(failures=st.integers(1, 10_000), rand=st.floats(0, 1), jitter=st.floats(0, 2))
def test_back_off_stays_within_its_bounds(failures: int, rand: float, jitter: float) -> None:
    backoff = Backoff(initial=0.75, maximum=900, jitter=jitter)
    assert 0.75 <= backoff.delay(failures, lambda: rand) <= 900 * (1 + jitter)
    assert backoff.delay(failures, lambda: 0.0) <= backoff.delay(failures + 1, lambda: 0.0)


def test_get_waits_for_the_due_time() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        queue.add("later", after=3600)
        queue.add("sooner", after=60)
        start = now()
        assert (await queue.get())[0] == "sooner"
        assert now() - start == pytest.approx(60)
        assert (await queue.get())[0] == "later"
        assert now() - start == pytest.approx(3600)

    run(main())


def test_get_wakes_when_a_key_is_added_or_brought_forward() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        queue.add("app", after=3600)
        start = now()
        async with asyncio.TaskGroup() as group:
            getter = group.create_task(queue.get())
            await asyncio.sleep(5)
            assert not getter.done()
            queue.add("app", Priority.REQUESTED)
        assert getter.result() == ("app", Priority.REQUESTED)
        assert now() - start == pytest.approx(5)

    run(main())


def test_get_wakes_when_a_pass_ends_that_held_the_only_key() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        queue.add("app")
        await queue.get()
        queue.add("app")
        async with asyncio.TaskGroup() as group:
            getter = group.create_task(queue.get())
            await asyncio.sleep(5)
            assert not getter.done()
            queue.done("app")
        assert getter.result()[0] == "app"

    run(main())


async def first_after(queue: WorkQueue[str], seconds: float, happens: Callable[[], None]) -> str:
    """What is handed out when something happens after so many seconds, and not before."""
    async with asyncio.TaskGroup() as group:
        getter = group.create_task(queue.get())
        await asyncio.sleep(seconds)
        assert not getter.done()
        happens()
    return getter.result()[0]


def test_what_only_catches_up_waits_for_an_urgent_pass_but_not_for_long() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        for key in ("one", "two", "three"):
            queue.add(key, Priority.CATCH_UP)
        queue.add("changed", Priority.REVISION)
        start = now()
        assert (await queue.get())[0] == "changed"
        assert await first_after(queue, STAND_BACK / 2, lambda: queue.done("changed")) == "one"
        assert now() - start == pytest.approx(STAND_BACK / 2)
        await asyncio.sleep(STAND_BACK / 2)
        queue.add("slow", Priority.REVISION)
        assert (await queue.get())[0] == "slow"
        start = now()
        assert (await queue.get())[0] == "two"
        assert now() - start == pytest.approx(STAND_BACK)
        queue.add("beside it", Priority.REVISION)
        assert (await queue.get())[0] == "beside it"
        assert (await queue.get())[0] == "three", "news beside news that takes long is no reason to begin again"
        assert now() - start == pytest.approx(STAND_BACK)

    run(main())


def test_what_only_catches_up_makes_room_for_the_news_of_another_queue_too() -> None:
    async def main() -> None:
        sources, queue = WorkQueue[str](clock=now), WorkQueue[str](clock=now)
        queue.make_room_for(sources)
        for key in ("one", "two"):
            queue.add(key, Priority.CATCH_UP)
            sources.add("quiet", Priority.RESYNC)
        sources.add("asked", Priority.REQUESTED)
        start = now()
        assert (await sources.get())[0] == "asked"
        assert await first_after(queue, STAND_BACK / 2, lambda: queue.add("changed", Priority.REVISION)) == "changed"
        queue.done("changed")
        assert await first_after(queue, STAND_BACK / 4, lambda: sources.done("asked")) == "one"
        assert now() - start == pytest.approx(STAND_BACK * 3 / 4)
        await asyncio.sleep(STAND_BACK)
        sources.add("slow", Priority.REQUESTED)
        assert (await sources.get())[0] == "slow"
        assert (await queue.get())[0] == "two"
        assert now() - start == pytest.approx(STAND_BACK * 11 / 4)
        sources.done("slow")
        queue.add("changed", Priority.REVISION)
        assert (await queue.get())[0] == "changed"
        assert sources.take() is not None, "nothing is held back for the queue that makes room"

    run(main())


async def works(queue: WorkQueue[str], passes: list[float], again: float, handed_out: asyncio.Future[float]) -> None:
    """A worker whose passes with news take so long each; another is due `again` so long after one has begun."""
    for seconds in itertools.cycle(passes):
        key, priority = await queue.get()
        if priority < Priority.SPEC:
            handed_out.set_result(now())
            return
        queue.add(key, after=again)
        await asyncio.sleep(seconds)
        queue.done(key)


PASSES = st.lists(st.floats(0.01, 3.0), min_size=1, max_size=5)
QUIET = st.sampled_from([Priority.STARTUP, Priority.CATCH_UP, Priority.RESYNC])


@given(own=PASSES, others=PASSES, again=st.floats(0.0, 3.0), due=st.floats(0.0, 5.0), priority=QUIET)
@settings(deadline=None)
def test_a_key_that_is_due_waits_for_no_more_than_a_second_of_news(
    own: list[float], others: list[float], again: float, due: float, priority: Priority
) -> None:
    async def main() -> None:
        sources, queue = WorkQueue[str](clock=now), WorkQueue[str](clock=now)
        queue.make_room_for(sources)
        handed_out = asyncio.get_running_loop().create_future()
        workers = [
            asyncio.create_task(works(at, passes, again, handed_out))
            for at, passes in ((queue, own), (queue, own), (sources, others))
        ]
        queue.add("restless")
        sources.add("restless")
        start = now()
        queue.add("interval", priority, after=due)
        async with asyncio.timeout(60):
            waited = await handed_out - start - due
        assert waited == pytest.approx(STAND_BACK / 2, abs=STAND_BACK / 2 + 1e-6)
        for worker in workers:
            worker.cancel()

    run(main())


def test_others_can_wait_for_the_calm_after_news_but_not_for_long() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        queue.add("catches up", Priority.CATCH_UP)
        start = now()
        await queue.calm()
        assert now() == start
        queue.add("changed", Priority.REVISION)
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(queue.calm())
            await asyncio.sleep(0)
            assert (await queue.get())[0] == "changed"
            queue.add("changed too", Priority.REVISION)
            await asyncio.sleep(STAND_BACK / 4)
            queue.done("changed")
            assert (await queue.get())[0] == "changed too"
            await asyncio.sleep(STAND_BACK / 4)
            assert not waiter.done()
            queue.done("changed too")
        assert now() - start == pytest.approx(STAND_BACK / 2)
        queue.add("slow", Priority.REVISION)
        assert (await queue.get())[0] == "slow"
        await queue.calm()
        assert now() - start == pytest.approx(STAND_BACK * 3 / 2)

    run(main())


def test_several_getters_share_the_work() -> None:
    async def main() -> None:
        queue: WorkQueue[int] = WorkQueue(clock=now)
        async with asyncio.TaskGroup() as group:
            getters = [group.create_task(queue.get()) for _ in range(10)]
            await asyncio.sleep(0)
            for key in range(10):
                queue.add(key, after=key % 3)
        assert sorted(getter.result()[0] for getter in getters) == list(range(10))

    run(main())


def test_a_cancelled_getter_loses_no_key() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(clock=now)
        getter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("app")
        getter.cancel()
        await asyncio.wait({getter})
        assert getter.cancelled()
        assert queue.take() == ("app", Priority.SPEC)

    run(main())
