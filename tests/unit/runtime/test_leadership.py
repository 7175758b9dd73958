"""Leader election over a lease that lives in memory and can be made to fail; in virtual time."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace

import pytest

from agent.errors import OperationError
from agent.runtime.leadership import Elector, LeaseRecord, LeaseRefused, LeaseTaken, Timing
from tests.unit.runtime.virtual_time import now, run


class Lease:
    """A `LeaseStore`. While `down` it refuses, while `hanging` it does not answer; `lost_answers` are still done."""

    def __init__(self) -> None:
        self.record: LeaseRecord | None = None
        self.version = 0
        self.down = False
        self.forbidden = False
        self.hanging = False
        self.lost_answers = 0
        self.delay = 0.01
        self.writes: list[tuple[float, str]] = []

    async def get(self) -> LeaseRecord | None:
        await self._reach()
        return self.record

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        await self._reach()
        if self.record is not None:
            raise LeaseTaken("exists")
        return await self._write(record)

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        await self._reach()
        if self.record is None or self.record.version != record.version:
            raise LeaseTaken("changed")
        return await self._write(record)

    async def _reach(self) -> None:
        await asyncio.sleep(self.delay)
        if self.hanging:
            await asyncio.sleep(1e6)
        if self.forbidden:
            raise LeaseRefused("not allowed: a Role has to")
        if self.down:
            raise OperationError("the API server is away")

    async def _write(self, record: LeaseRecord) -> LeaseRecord:
        self.version += 1
        self.record = replace(record, version=str(self.version))
        self.writes.append((now(), record.holder))
        if self.lost_answers:
            self.lost_answers -= 1
            await asyncio.sleep(1e6)
        return self.record


def elector(lease: Lease, name: str, problems: list[str] | None = None) -> Elector:
    told = problems if problems is not None else []
    return Elector(
        lease, name, on_problem=lambda who, error: told.append(f"{who}: {error.message}"), clock=now, rand=lambda: 0.5
    )


async def leads_within(elector: Elector, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await elector.leading.wait()


def test_one_leads_and_the_other_stands_by() -> None:
    async def main() -> None:
        lease = Lease()
        one, two = elector(lease, "one"), elector(lease, "two")
        tasks = [asyncio.create_task(one.run()), asyncio.create_task(two.run())]
        await asyncio.sleep(600)
        assert [one.leading.is_set(), two.leading.is_set()].count(True) == 1
        assert one.leader == two.leader
        assert lease.record is not None
        assert lease.record.transitions == 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(main())


def test_a_released_lease_is_taken_over_at_the_next_look() -> None:
    async def main() -> None:
        lease = Lease()
        one, two = elector(lease, "one"), elector(lease, "two")
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        second = asyncio.create_task(two.run())
        await asyncio.sleep(100)
        first.cancel()
        await asyncio.wait({first})
        assert not one.leading.is_set()
        await one.release()
        assert lease.record is not None
        assert lease.record.holder == ""
        await leads_within(two, 6)
        assert lease.record.transitions == 1
        second.cancel()
        await asyncio.wait({second})

    run(main())


@pytest.mark.parametrize("renewing", [False, True])
def test_a_lease_is_released_although_the_answer_to_the_last_write_never_came(renewing: bool) -> None:
    async def main() -> None:
        lease = Lease()
        one = elector(lease, "one")
        lease.lost_answers = 0 if renewing else 1
        task = asyncio.create_task(one.run())
        if renewing:
            await leads_within(one, 1)
            lease.lost_answers = 1
        await asyncio.sleep(6)  # the write was done by then, and has no answer yet
        assert lease.lost_answers == 0
        task.cancel()
        await asyncio.wait({task})
        await one.release()
        assert lease.record is not None
        assert lease.record.holder == ""

    run(main())


def test_a_lease_that_is_not_to_be_released_is_kept_until_it_expires() -> None:
    async def main() -> None:
        lease = Lease()
        one = Elector(lease, "one", on_problem=lambda *_: None, release_on_cancel=False, clock=now)
        task = asyncio.create_task(one.run())
        await leads_within(one, 1)
        task.cancel()
        await asyncio.wait({task})
        await one.release()
        assert lease.record is not None
        assert lease.record.holder == "one"

    run(main())


def test_a_dead_leader_is_replaced_after_the_lease_duration_and_not_before() -> None:
    async def main() -> None:
        lease = Lease()
        one, two = elector(lease, "one"), elector(lease, "two")
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        second = asyncio.create_task(two.run())
        await asyncio.sleep(100)
        first.cancel()
        await asyncio.wait({first})
        last_write = lease.writes[-1][0]
        await leads_within(two, 60)
        assert 35 <= now() - last_write <= 35 + 5 + 6.1
        second.cancel()
        await asyncio.wait({second})

    run(main())


@pytest.mark.parametrize("trouble", ["down", "hanging"])
def test_leadership_is_lost_when_it_cannot_be_renewed_and_before_another_may_lead(trouble: str) -> None:
    async def main() -> None:
        lease = Lease()
        problems: list[str] = []
        one = elector(lease, "one", problems)
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        await asyncio.sleep(100)
        setattr(lease, trouble, True)
        last_write = lease.writes[-1][0]
        async with asyncio.timeout(60):
            await first
        assert not one.leading.is_set()
        assert now() - last_write <= 30.1
        assert one.remaining() >= 4.9
        assert problems

    run(main())


def test_a_short_outage_is_survived() -> None:
    async def main() -> None:
        lease = Lease()
        one = elector(lease, "one")
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        for _ in range(5):
            lease.down = True
            await asyncio.sleep(20)
            lease.down = False
            await asyncio.sleep(20)
        assert one.leading.is_set()
        first.cancel()
        await asyncio.wait({first})

    run(main())


def test_a_write_whose_answer_was_lost_is_recognised_as_ours() -> None:
    async def main() -> None:
        lease = Lease()
        one = elector(lease, "one")
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        lease.lost_answers = 1
        await asyncio.sleep(300)
        assert one.leading.is_set()
        assert lease.record is not None
        assert lease.record.transitions == 0
        first.cancel()
        await asyncio.wait({first})

    run(main())


def test_a_lease_taken_by_force_is_noticed() -> None:
    async def main() -> None:
        lease = Lease()
        one = elector(lease, "one")
        first = asyncio.create_task(one.run())
        await leads_within(one, 1)
        moment = dt.datetime.now(dt.UTC)
        lease.record = LeaseRecord("thief", 35, moment, moment, version="other")
        async with asyncio.timeout(30):
            await first
        await one.release()
        assert lease.record.holder == "thief"

    run(main())


def test_a_slow_write_counts_from_before_it_was_sent() -> None:
    async def main() -> None:
        lease = Lease()
        lease.delay = 2.0
        one = elector(lease, "one")
        first = asyncio.create_task(one.run())
        await leads_within(one, 10)
        # Asked for twice, to read and to create; others may have seen the write any time after the start.
        assert one.remaining() == pytest.approx(31)
        first.cancel()
        await asyncio.wait({first})

    run(main())


def test_clocks_of_other_machines_do_not_matter() -> None:
    async def main() -> None:
        lease = Lease()
        long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
        lease.record = LeaseRecord("other", 35, long_ago, long_ago, version="v")
        one = elector(lease, "one")
        first = asyncio.create_task(one.run())
        await asyncio.sleep(34)
        assert not one.leading.is_set()
        await leads_within(one, 10)
        first.cancel()
        await asyncio.wait({first})

    run(main())


def test_timing_must_leave_time_to_stop() -> None:
    with pytest.raises(ValueError, match="lease timing"):
        Timing(duration=10, renew=10, retry=2)


def test_a_hold_expires_by_our_own_clock_even_if_nothing_ran_meanwhile() -> None:
    async def main() -> None:
        lease = Lease()
        clock = 0.0
        one = Elector(lease, "one", on_problem=lambda _who, _error: None, clock=lambda: clock, rand=lambda: 0.5)
        task = asyncio.create_task(one.run())
        await leads_within(one, 1)
        assert one.holds()
        clock = one.timing.renew - 1
        assert one.holds()
        clock = one.timing.renew + 1  # as after a SIGSTOP: the task that renews had no chance to run
        assert one.leading.is_set()
        assert not one.holds()
        task.cancel()
        await asyncio.wait({task})

    run(main())
