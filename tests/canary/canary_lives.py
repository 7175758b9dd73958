"""Agents that are killed again and again."""

import asyncio
import random

from canary_agent import canary_agent
from canary_cluster import Rollouts

from agent.adapters.kube.client import KubeClient

LIVES = 120


async def live_and_die(kube: KubeClient, rollouts: Rollouts, dice: random.Random, *ends: str) -> int:
    """Run agents for moments each until the Canary is in one of the phases; how many it took."""
    for lives in range(1, LIVES):
        async with canary_agent(kube, rollouts.namespace, minimum_interval=0.1, drain=False) as agent:
            # ever longer: on a busy machine a life may be over before it has begun, or before what it has to do is done
            await asyncio.sleep(dice.uniform(0.02, 0.5) * (1 + (lives / 30) ** 2))
            assert agent.crashes == []
        if (await rollouts.status()).get("phase") in ends:
            return lives
    raise AssertionError(f"not at an end after {LIVES} lives: {await rollouts.status()}")
