"""Leader election over a real Lease."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.lease import KubeLease
from agent.adapters.kube.resource import LEASES, Object
from agent.runtime.leadership import Elector, LeaseRecord, LeaseRefused, LeaseTaken, Timing
from tests.kube.polling import until

TIMING = Timing(duration=300.0, renew=200.0, retry=0.2, call=100.0)
"""Of the clock below; a slow answer of a busy machine is far from any of these."""


class CountingLease(KubeLease):
    """Counts how often somebody looked at it."""

    looks = 0

    async def get(self) -> LeaseRecord | None:
        self.looks += 1
        return await super().get()


class Candidate(Elector):
    """An elector by a clock that stands still until a test moves it."""

    def __init__(self, client: KubeClient, namespace: str, name: str, problems: list[str], clock: list[float]) -> None:
        self.lease = CountingLease(client, namespace, "weir-leader")
        super().__init__(
            self.lease,
            name,
            TIMING,
            on_problem=lambda who, error: problems.append(f"{who}: {error.message}"),
            clock=lambda: clock[0],
        )

    async def looked_again(self) -> None:
        """Return once it has looked at the lease and dealt with what it saw, all of it from now on."""
        before = self.lease.looks
        await until(lambda: self.lease.looks >= before + 3)


@asynccontextmanager
async def standing(elector: Elector) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(elector.run())
        try:
            yield task
        finally:
            task.cancel()


async def test_the_lease_changes_hands_when_it_is_released(client: KubeClient, namespace: str) -> None:
    problems: list[str] = []
    clock = [0.0]
    one, two = (Candidate(client, namespace, name, problems, clock) for name in ("one", "two"))
    async with standing(two), standing(one):
        await until(lambda: one.leading.is_set() or two.leading.is_set())
        leader, other = (one, two) if one.leading.is_set() else (two, one)
        spec = (await client.get(LEASES, namespace, "weir-leader"))["spec"]
        assert spec["holderIdentity"] == leader.identity
        assert spec["leaseDurationSeconds"] == 300
        # Longer than the lease lasts: it is renewed, and the other never leads.
        for _ in range(5):
            clock[0] += 100.0
            await until(lambda: leader.remaining() == TIMING.duration)
            await other.looked_again()
            assert not other.leading.is_set()
        assert leader.leading.is_set()
    # Both have stopped; the release frees it for a third at once.
    await leader.release()
    freed = (await client.get(LEASES, namespace, "weir-leader"))["spec"]
    assert freed.get("holderIdentity", "") == ""
    third = Candidate(client, namespace, "three", problems, clock)
    async with standing(third):
        await until(third.leading.is_set)
    spec = (await client.get(LEASES, namespace, "weir-leader"))["spec"]
    assert spec["holderIdentity"] == "three"
    assert spec["leaseTransitions"] == freed["leaseTransitions"] + 1
    assert problems == []


async def test_a_dead_leader_is_replaced(client: KubeClient, namespace: str) -> None:
    problems: list[str] = []
    clock = [0.0]
    one, two = (Candidate(client, namespace, name, problems, clock) for name in ("one", "two"))
    async with standing(one):
        await until(one.leading.is_set)
    async with standing(two):
        await until(lambda: two.leader == "one")
        clock[0] += TIMING.duration - 1.0
        await two.looked_again()
        assert not two.leading.is_set()
        clock[0] += 1.0
        await until(two.leading.is_set)
    assert problems == []


async def eventually(client: KubeClient, namespace: str) -> Object:
    async with asyncio.timeout(60):
        while True:
            found = await client.find(LEASES, namespace, "weir-leader")
            if found is not None:
                return found
            await asyncio.sleep(0.05)


async def test_a_leader_whose_lease_is_deleted_takes_it_again(client: KubeClient, namespace: str) -> None:
    problems: list[str] = []
    one = Candidate(client, namespace, "one", problems, [0.0])
    async with standing(one) as task:
        await until(one.leading.is_set)
        first = await client.get(LEASES, namespace, "weir-leader")
        await client.delete(LEASES, namespace, "weir-leader")
        found = await eventually(client, namespace)
        assert found["metadata"]["uid"] != first["metadata"]["uid"]
        assert one.leading.is_set()
        assert not task.done()


async def test_the_record_survives_the_round_trip_and_is_locked(client: KubeClient, namespace: str) -> None:
    store = KubeLease(client, namespace, "trip")
    assert await store.get() is None
    moment = dt.datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=dt.UTC)
    made = await store.create(LeaseRecord("me", 35.0, moment, moment, transitions=4))
    assert made == LeaseRecord("me", 35.0, moment, moment, 4, made.version)
    assert await store.get() == made
    with pytest.raises(LeaseTaken):
        await store.create(made)
    await store.update(made)
    assert (await store.get()) is not None
    stale = LeaseRecord("other", 35.0, moment, moment, 4, made.version)
    renewed = await store.update(LeaseRecord("me", 36.0, moment, moment, 4, (await store.get() or made).version))
    with pytest.raises(LeaseTaken):
        await store.update(stale)
    assert await store.get() == renewed


async def test_a_lease_that_may_not_be_had_names_the_role_that_is_missing(client: KubeClient, namespace: str) -> None:
    moment = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    store = KubeLease(client.as_service_account(namespace, "weir"), namespace, "weir-leader-election")
    record = LeaseRecord("me", 35.0, moment, moment, version="1")
    for attempt in (store.get(), store.create(record), store.update(record)):
        with pytest.raises(LeaseRefused, match=f"in namespace {namespace} a Role, .* the lease weir-leader-election"):
            await attempt
