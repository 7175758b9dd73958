"""SIGTERM: what has been begun is finished, nothing new is begun, and the command ends with status 0."""

from __future__ import annotations

from fault_agent import AgentProcess
from fault_world import World

from testbed.processes import until

THINGS = {("ConfigMap", f"thing-{number}"): number for number in range(40)}


async def _in_the_middle(agent: AgentProcess, world: World) -> None:
    async def some() -> bool:
        return len((await world.owned())["part-0"]) >= 5

    await until(some, timeout=60, what="some objects are there", process=agent.process, every=0.01)


async def test_a_pass_in_progress_is_finished(agent: AgentProcess, world: World) -> None:
    world.content = {"part-0": dict(THINGS)}
    commit = world.commit()
    await world.declare()
    await agent.start()
    await _in_the_middle(agent, world)
    assert await agent.terminate(grace=60) == 0
    await world.until_settled(commit)
    await world.assert_exact()
    assert [entry["why"] for entry in agent.entries("stopped")] == ["stopped"]


async def test_without_a_grace_period_the_next_agent_finishes_it(agent: AgentProcess, world: World) -> None:
    agent.flags = ("--shutdown-grace=0s",)
    world.content = {"part-0": dict(THINGS)}
    world.commit()
    await world.declare()
    await agent.start()
    await _in_the_middle(agent, world)
    assert await agent.terminate(grace=60) == 0
    assert set((await world.owned())["part-0"]) <= (await world.inventories())["part-0"]
    world.content = {"part-0": {("ConfigMap", "only"): 1}}
    commit = world.commit()
    await agent.start()
    await world.until_settled(commit, agent.process)
    await world.assert_exact()
    assert agent.crashed() == ""


async def test_an_agent_that_is_told_to_stop_while_it_starts_stops(agent: AgentProcess, world: World) -> None:
    world.content = {"part-0": {("ConfigMap", "only"): 1}}
    world.commit()
    await world.declare()
    await agent.start()

    async def up() -> bool:
        return await agent.probe("/healthz") != 0

    await until(up, timeout=60, what="the agent listens", process=agent.process, every=0.01)
    assert await agent.terminate(grace=60) == 0
