"""Passes, their results, and waits that hold no worker; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager

import pytest

from agent.errors import ConfigurationError, HealthError, OperationError, WaitingError
from agent.runtime.controller import Controller, Done, Pass, RequeueAfter, Result, WaitOutcome
from agent.runtime.queue import Priority, WorkQueue
from tests.unit.runtime.virtual_time import now, run

Reconcile = Callable[[str], Awaitable[Result]]


class Rig:
    """A controller with what it reported: passes, crashes, and the times at which passes began."""

    def __init__(self, reconcile: Reconcile, workers: int = 2) -> None:
        self.passes: list[Pass[str]] = []
        self.crashes: list[tuple[str, Hashable, Exception]] = []
        self.began: list[float] = []
        self.queue: WorkQueue[str] = WorkQueue(clock=now, rand=lambda: 0.0)
        self.inner = reconcile
        self.start = now()
        self.controller: Controller[str] = Controller(
            "apps",
            self._reconcile,
            self.queue,
            workers,
            on_crash=lambda name, key, error: self.crashes.append((name, key, error)),
            on_pass=self.passes.append,
        )

    async def _reconcile(self, key: str) -> Result:
        self.began.append(now() - self.start)
        return await self.inner(key)

    @property
    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in self.passes]


@asynccontextmanager
async def running(rig: Rig, drain: float = 0.0) -> AsyncIterator[Rig]:
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.controller.run())
        yield rig
        rig.controller.stop(drain)


def raising(*errors: Exception) -> Reconcile:
    queue = list(errors)

    async def reconcile(key: str) -> Result:
        if queue:
            raise queue.pop(0)
        return Done()

    return reconcile


def passes_of(reconcile: Reconcile, seconds: float) -> Rig:
    async def main() -> Rig:
        async with running(Rig(reconcile)) as rig:
            rig.queue.add("a", Priority.REVISION)
            await asyncio.sleep(seconds)
        return rig

    return run(main())


def test_a_pass_that_is_done_is_not_repeated() -> None:
    rig = passes_of(raising(), 10_000)
    assert rig.outcomes == ["done"]
    assert rig.passes[0].priority is Priority.REVISION


def test_requeue_after() -> None:
    async def reconcile(key: str) -> Result:
        return RequeueAfter(60)

    rig = passes_of(reconcile, 185)
    assert rig.began == [0, 60, 120, 180]
    assert rig.passes[1].priority is Priority.RESYNC


@pytest.mark.parametrize(
    ("errors", "began", "outcomes"),
    [
        pytest.param([OperationError("no")] * 3, [0, 0.75, 2.25, 5.25], ["retry"] * 3 + ["done"], id="retry backs off"),
        pytest.param([WaitingError("dep", after=30)] * 2, [0, 30, 60], ["wait", "wait", "done"], id="wait"),
        pytest.param([ConfigurationError("bad")], [0], ["stall"], id="stall"),
        pytest.param([ZeroDivisionError()] * 2, [0, 0.75, 2.25], ["crash", "crash", "done"], id="a bug is retried"),
        pytest.param(
            [OperationError("no"), WaitingError("dep", after=30), OperationError("no")],
            [0, 0.75, 30.75, 31.5],
            ["retry", "wait", "retry", "done"],
            id="waiting ends a row of failures",
        ),
    ],
)
def test_errors_fix_what_happens_next(errors: list[Exception], began: list[float], outcomes: list[str]) -> None:
    rig = passes_of(raising(*errors), 3600)
    assert rig.began == pytest.approx(began)
    assert rig.outcomes == outcomes
    assert len(rig.crashes) == sum(isinstance(error, ZeroDivisionError) for error in errors)


def test_success_resets_the_back_off() -> None:
    async def main() -> None:
        failing = [True, True, False, True, False]

        async def reconcile(key: str) -> Result:
            if failing.pop(0):
                raise OperationError("no")
            return Done()

        async with running(Rig(reconcile)) as rig:
            rig.queue.add("a")
            await asyncio.sleep(100)
            rig.queue.add("a")
            await asyncio.sleep(100)
        assert rig.began == pytest.approx([0, 0.75, 2.25, 100, 100.75])

    run(main())


def test_workers_bound_the_passes_and_a_key_never_runs_twice_at_once() -> None:
    async def main() -> None:
        working: list[str] = []
        most = 0

        async def reconcile(key: str) -> Result:
            nonlocal most
            assert key not in working
            working.append(key)
            most = max(most, len(working))
            await asyncio.sleep(10)
            working.remove(key)
            return Done()

        async with running(Rig(reconcile, workers=3)) as rig:
            for key in "abcdefgh":
                rig.queue.add(key)
            await asyncio.sleep(5)
            rig.queue.add("a")
            await asyncio.sleep(100)
        assert most == 3
        assert len(rig.passes) == 9

    run(main())


def test_one_failing_key_does_not_disturb_others() -> None:
    async def main() -> None:
        async def reconcile(key: str) -> Result:
            if key == "bad":
                raise RuntimeError("bug")
            return Done()

        async with running(Rig(reconcile)) as rig:
            for key in ("bad", "a", "b", "c"):
                rig.queue.add(key)
            await asyncio.sleep(1)
        assert {entry.key for entry in rig.passes if entry.outcome == "done"} == {"a", "b", "c"}
        assert {(name, key) for name, key, _ in rig.crashes} == {("apps", "bad")}

    run(main())


# Waits


class Waiting:
    """Each pass takes the outcome of the last wait; without one it leaves a wait of `seconds` behind."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.taken: list[WaitOutcome | None] = []
        self.ended = 0
        self.rig: Rig | None = None

    async def reconcile(self, key: str) -> Result:
        assert self.rig is not None
        outcome = self.rig.controller.take_wait(key)
        self.taken.append(outcome)
        assert self.rig.controller.take_wait(key) is None
        if outcome is None or outcome.interrupted:
            self.rig.controller.spawn_wait(key, self.wait())
        elif outcome.error is not None:
            raise outcome.error
        return Done()

    async def wait(self) -> str:
        try:
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return "healthy"
        finally:
            self.ended += 1


def waiting_rig(waiting: Waiting, workers: int = 2) -> Rig:
    rig = Rig(waiting.reconcile, workers)
    waiting.rig = rig
    return rig


def test_a_wait_holds_no_worker_and_its_result_comes_with_the_next_pass() -> None:
    async def main() -> None:
        waiting = Waiting(300)
        async with running(waiting_rig(waiting, workers=1)) as rig:
            for key in "abc":
                rig.queue.add(key)
            await asyncio.sleep(1)
            assert rig.controller.waiting == {"a", "b", "c"}
            assert rig.queue.working == frozenset()
            await asyncio.sleep(300)
            assert rig.controller.waiting == frozenset()
        assert waiting.taken == [None] * 3 + [WaitOutcome(result="healthy")] * 3
        assert rig.began == [0, 0, 0, 300, 300, 300]

    run(main())


def test_a_new_pass_stops_the_wait_first_and_is_told() -> None:
    async def main() -> None:
        waiting = Waiting(300)
        async with running(waiting_rig(waiting)) as rig:
            rig.queue.add("a")
            await asyncio.sleep(100)
            rig.queue.add("a")
            await asyncio.sleep(0.1)
            assert waiting.ended == 1
            assert rig.controller.waiting == {"a"}
            await asyncio.sleep(1000)
        assert waiting.taken == [None, WaitOutcome(interrupted=True), WaitOutcome(result="healthy")]
        assert rig.began == pytest.approx([0, 100, 400])

    run(main())


def test_failures_found_by_waiting_add_up() -> None:
    async def main() -> None:
        waiting = Waiting(10, HealthError("unhealthy"))
        async with running(waiting_rig(waiting)) as rig:
            rig.queue.add("a")
            await asyncio.sleep(45)
        # Wait 10, fail, back-off 0.75, again; the back-off grows although each first pass succeeded.
        assert rig.began == pytest.approx([0, 10, 10.75, 20.75, 22.25, 32.25, 35.25])
        assert rig.outcomes == ["done", "retry", "done", "retry", "done", "retry", "done"]

    run(main())


def test_a_bug_in_a_wait_is_reported_and_retried() -> None:
    async def main() -> None:
        waiting = Waiting(10, ZeroDivisionError())
        async with running(waiting_rig(waiting)) as rig:
            rig.queue.add("a")
            await asyncio.sleep(10.5)
            assert [key for _, key, _ in rig.crashes] == ["a"]
            await asyncio.sleep(1)
        assert rig.began == pytest.approx([0, 10.75])
        assert waiting.taken == [None, None]

    run(main())


def test_a_wait_that_ends_within_its_pass_is_not_lost() -> None:
    async def main() -> None:
        waiting = Waiting(0.0)

        async def slow(key: str) -> Result:
            result = await waiting.reconcile(key)
            await asyncio.sleep(5)
            return result

        rig = Rig(slow)
        waiting.rig = rig
        async with running(rig):
            rig.queue.add("a")
            await asyncio.sleep(60)
        assert waiting.taken == [None, WaitOutcome(result="healthy")]
        assert rig.began == [0, 5]

    run(main())


def test_a_wait_can_be_cancelled_for_a_deleted_object() -> None:
    async def main() -> None:
        waiting = Waiting(300)
        async with running(waiting_rig(waiting)) as rig:
            rig.queue.add("a")
            await asyncio.sleep(1)
            assert await rig.controller.cancel_wait("a")
            assert waiting.ended == 1
            assert not await rig.controller.cancel_wait("a")
            await asyncio.sleep(1000)
        assert len(rig.passes) == 1

    run(main())


def test_two_waits_for_one_key_are_a_bug() -> None:
    async def main() -> None:
        waiting = Waiting(300)

        async def twice(key: str) -> Result:
            rig.controller.spawn_wait(key, waiting.wait())
            rig.controller.spawn_wait(key, waiting.wait())
            return Done()

        rig = Rig(twice)
        async with running(rig):
            rig.queue.add("a")
            await asyncio.sleep(0.1)
        assert rig.outcomes == ["crash"]

    run(main())


# Stopping


def test_passes_in_progress_are_finished_and_no_new_ones_begin() -> None:
    async def main() -> None:
        finished: list[str] = []

        async def reconcile(key: str) -> Result:
            await asyncio.sleep(10)
            finished.append(key)
            return Done()

        rig = Rig(reconcile, workers=1)
        async with running(rig, drain=30):
            rig.queue.add("a")
            rig.queue.add("b")
            await asyncio.sleep(5)
        assert finished == ["a"]
        assert now() - rig.start == pytest.approx(10)
        assert len(rig.queue) == 1
        assert rig.queue.working == frozenset()

    run(main())


def test_passes_that_overrun_the_deadline_and_waits_are_cancelled() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def sleep(name: str) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(name)

        async def reconcile(key: str) -> Result:
            if key == "waits":
                rig.controller.spawn_wait(key, sleep("wait"))
            else:
                await sleep("pass")
            return Done()

        rig = Rig(reconcile)
        async with running(rig, drain=30):
            rig.queue.add("waits")
            rig.queue.add("slow")
            await asyncio.sleep(5)
        assert sorted(ended) == ["pass", "wait"]
        assert now() - rig.start == pytest.approx(35)
        assert rig.queue.working == frozenset()

    run(main())


def test_a_cancelled_controller_leaves_nothing_behind() -> None:
    async def main() -> None:
        waiting = Waiting(300)
        rig = waiting_rig(waiting)
        task = asyncio.create_task(rig.controller.run())
        rig.queue.add("a")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert waiting.ended == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
