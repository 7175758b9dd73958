"""An API server that fails in the middle of things: nothing is lost, nothing is left over, nothing needs a restart."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_agent import AgentProcess
from fault_world import Dice, World
from faulty_api import Fault, FaultyApi, Request, faulty_api, no_fault

from testbed.controlplane import ControlPlane
from testbed.processes import until


@pytest.fixture
async def api(own_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultyApi]:
    """Faultless until told otherwise."""
    async with faulty_api(own_plane, tmp_path) as running:
        yield running


@pytest.fixture
async def troubled(api: FaultyApi, world: World, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """An agent that reaches the API server through the faults."""
    process = AgentProcess(api.kubeconfig, world.namespace, tmp_path)
    yield process
    await process.kill()


async def test_an_object_whose_creation_went_unanswered_is_not_forgotten(
    troubled: AgentProcess, api: FaultyApi, world: World
) -> None:
    """It may exist, so it stays in the inventory, even if the next commit knows nothing of it any more."""
    world.content = {"part-0": {("ConfigMap", "first"): 1, ("ConfigMap", "second"): 2}}
    world.commit()

    def break_down(request: Request) -> Fault | None:
        if not request.writes or "/configmaps/" not in request.path:
            return None
        return Fault.LOSE_ANSWER if request.path.endswith("/first") else Fault.DROP

    api.rule = break_down
    await world.declare()
    await troubled.start()

    async def failed() -> bool:
        there = (await world.owned())["part-0"]
        return bool(there) and (await world.reason("part-0")) == "ReconciliationFailed"

    await until(failed, timeout=60, what="the apply has failed", process=troubled.process)
    assert api.faults[Fault.LOSE_ANSWER] > 0
    assert await world.owned() == {"part-0": {("ConfigMap", "first"): 1}}
    assert ("ConfigMap", "first") in (await world.inventories())["part-0"]
    world.content = {"part-0": {("ConfigMap", "second"): 2}}
    commit = world.commit()
    await world.announce()
    api.rule = no_fault
    await world.until_settled(commit, troubled.process)
    await world.assert_exact()


async def test_any_request_may_fail_in_any_way(troubled: AgentProcess, api: FaultyApi, world: World) -> None:
    dice = Dice(7)
    dice.fill(world, kustomizations=4, objects=4)
    commit = world.commit()
    luck = random.Random(7)

    def now_and_then(request: Request) -> Fault | None:
        if request.watch:
            return Fault.CUT if luck.random() < 0.3 else None
        if luck.random() > (0.2 if request.writes else 0.05):
            return None
        return luck.choice([Fault.LOSE_ANSWER, Fault.DROP, Fault.ERROR, Fault.BUSY])

    await world.declare()
    await troubled.start()
    api.rule = now_and_then
    for turn in itertools.count(1):
        if turn > 6 and sum(api.faults.values()) > 20:
            break
        goal = sum(api.faults.values()) + 8
        dice.edit(world, edits=8)
        commit = world.commit()
        await world.announce()

        async def enough(goal: int = goal, commit: str = commit) -> bool:
            return sum(api.faults.values()) >= goal or await world.settled(commit)

        await until(enough, timeout=60, what="faults, or the end of the work", process=troubled.process)
    api.rule = no_fault
    await world.until_settled(commit, troubled.process)
    await world.assert_exact()
    assert troubled.crashed() == ""


async def test_the_api_server_restarts_in_the_middle_of_an_apply(
    agent: AgentProcess, own_plane: ControlPlane, world: World
) -> None:
    world.content = {"part-0": {("ConfigMap", f"thing-{number}"): number for number in range(60)}}
    world.commit()
    await world.declare()
    await agent.start()
    await agent.ready()

    async def half_way() -> bool:
        return len((await world.owned())["part-0"]) >= 20

    await until(half_way, timeout=60, what="some objects are there", process=agent.process, every=0.01)
    await own_plane.restart_apiserver()
    world.content = {"part-0": {("ConfigMap", f"thing-{number}"): number + 1000 for number in range(40, 70)}}
    commit = world.commit()
    await world.announce()
    await world.until_settled(commit, agent.process)
    await world.assert_exact()
    assert await agent.probe("/healthz") == 200
    assert agent.crashed() == ""
