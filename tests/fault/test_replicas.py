"""Two replicas with leader election: one works, the other is ready to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_agent import AgentProcess
from fault_world import World

from testbed.controlplane import ControlPlane
from testbed.processes import until

LEASE = ("coordination.k8s.io/v1", "Lease")
FLAGS = (
    "--enable-leader-election",
    "--leader-election-lease-duration=15s",  # a leader that a busy machine forgets for a while has not ended
    "--leader-election-renew-deadline=12s",
    "--leader-election-retry-period=500ms",
)
LEADERSHIP_LOST = 3


@pytest.fixture
async def replicas(own_plane: ControlPlane, world: World, tmp_path: Path) -> AsyncIterator[list[AgentProcess]]:
    """Two replicas, the first of them leading."""
    both = [AgentProcess(own_plane.kubeconfig, world.namespace, tmp_path, *FLAGS, name=name) for name in ("a", "b")]
    await both[0].start()
    await _leader_other_than(world, "", both[0])
    await both[1].start()
    await both[1].ready()
    yield both
    for replica in both:
        await replica.kill()


async def _holder(world: World) -> str:
    lease = await world.operator.find(*LEASE, world.namespace, "weir-source-kustomize-leader-election")
    return str(lease["spec"].get("holderIdentity", "")) if lease else ""


async def _leader_other_than(world: World, former: str, replica: AgentProcess) -> str:
    async def changed() -> bool:
        return await _holder(world) not in {"", former}

    await until(changed, timeout=60, what="another replica leads", process=replica.process)
    return await _holder(world)


async def test_one_leads_and_the_other_takes_over_when_it_is_killed(replicas: list[AgentProcess], world: World) -> None:
    first, second = replicas
    leader = await _holder(world)
    world.content = {"part-0": {("ConfigMap", "one"): 1}}
    commit = world.commit()
    await world.declare()
    await world.until_settled(commit, first.process)
    assert await second.probe("/readyz") == 200
    assert await second.writes() == 0
    assert await first.writes() > 0
    assert await _holder(world) == leader

    await first.kill()
    world.content = {"part-0": {("ConfigMap", "one"): 2, ("ConfigMap", "two"): 1}}
    commit = world.commit()
    assert await _leader_other_than(world, leader, second) != leader
    await world.until_settled(commit, second.process)
    await world.assert_exact()

    assert await second.terminate(grace=60) == 0
    assert await _holder(world) == "", "released, so that nobody has to wait"


async def test_a_leader_that_was_frozen_does_not_come_back_to_lead(replicas: list[AgentProcess], world: World) -> None:
    first, second = replicas
    leader = await _holder(world)
    first.process.signal(signal.SIGSTOP)
    successor = await _leader_other_than(world, leader, second)
    world.content = {"part-0": {("ConfigMap", "one"): 1}}
    commit = world.commit()
    await world.declare()
    await world.until_settled(commit, second.process)
    first.process.signal(signal.SIGCONT)
    async with asyncio.timeout(60):
        assert await first.process.wait() == LEADERSHIP_LOST
    assert await _holder(world) == successor
    assert await second.probe("/readyz") == 200
    await world.assert_exact()
