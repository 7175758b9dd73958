"""An agent that is killed again and again, while commits arrive, ends where one that was left alone would."""

from __future__ import annotations

import random

import pytest
from fault_agent import AgentProcess
from fault_lives import live_until_some_write
from fault_world import KS, Dice, World

from testbed.processes import until

LIVES = 12


@pytest.mark.parametrize("seed", [1])
async def test_killed_at_any_write_nothing_is_lost_or_left_over(agent: AgentProcess, world: World, seed: int) -> None:
    dice = Dice(seed)
    dice.fill(world, kustomizations=6, objects=5)
    commit = world.commit()
    await world.declare(**{"part-1": {"wait": True}, "part-2": {"dependsOn": [{"name": "part-1"}]}})
    for _ in range(LIVES):
        await agent.start()
        await live_until_some_write(agent, world, dice.random.randrange(1, 25))
        for _ in range(dice.random.randrange(3)):
            dice.edit(world, edits=6)
            commit = world.commit()
            await world.announce()
            await live_until_some_write(agent, world, dice.random.randrange(1, 12))
        await agent.kill()
        owned = await world.owned()
        inventories = await world.inventories()
        known = {owner: set(objects) <= inventories[owner] for owner, objects in owned.items()}
        assert all(known.values()), f"exists, but is in no inventory: {owned} {inventories}"
    await agent.start()
    await world.until_settled(commit, agent.process)
    await world.assert_exact()
    assert agent.crashed() == ""


async def test_killed_while_it_cleans_up_after_a_deleted_kustomization(agent: AgentProcess, world: World) -> None:
    world.content = {f"part-{part}": {("ConfigMap", f"thing-{part}-{n}"): n for n in range(25)} for part in range(2)}
    commit = world.commit()
    await world.declare()
    await agent.start()
    await world.until_settled(commit, agent.process)
    await agent.kill()
    for name in world.content:
        await world.operator.delete(*KS, world.namespace, name)
    dice = random.Random(5)
    for _ in range(3):
        await agent.start()
        await live_until_some_write(agent, world, dice.randrange(1, 15))
        await agent.kill()
        left = await world.owned()
        finalized = {name for name in world.content if await world.operator.find(*KS, world.namespace, name) is None}
        assert not [name for name in finalized if left[name]], "the finalizer went before the objects"
    await agent.start()

    async def gone() -> bool:
        return not await world.operator.list(*KS, world.namespace)

    await until(gone, timeout=60, what="the Kustomizations are gone", process=agent.process)
    assert await world.owned() == {"part-0": {}, "part-1": {}}
    assert agent.crashed() == ""
