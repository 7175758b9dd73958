"""How long an agent lives that is about to be killed."""

from __future__ import annotations

from fault_agent import AgentProcess
from fault_world import World

from testbed.processes import ProcessError, until


async def live_until_some_write(agent: AgentProcess, world: World, writes: int) -> None:
    """Until that many writes have been made by anybody, or the agent has nothing left to write."""
    goal = await world.revision() + writes

    async def reached() -> bool:
        return await world.revision() >= goal

    try:
        await until(reached, timeout=2.5, what="some writes", process=agent.process, every=0.01)
    except ProcessError:
        assert agent.process.returncode is None, agent.process.tail()
