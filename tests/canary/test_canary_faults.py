"""An agent that is killed again and again brings a rollout to the same end; one with nothing to do does nothing."""

import random
from collections import Counter

import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import NAME, Rollouts
from canary_lives import live_and_die

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import load
from agent.core.rollout.objects import fence_of
from testbed.controlplane import ControlPlane
from testbed.gateway import ProcessGateway

APART = {"create events", "patch events", "list deployments", "get openapi"}
"""What is written beside the passes, and the looks for a Flagger and at the definition of Canaries, now and then."""


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_any_moment(kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, seed: int) -> None:
    dice = random.Random(seed)
    canary = rollouts.canary(analysis={"interval": "1s", "stepWeight": 25, "maxWeight": 50})
    await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
    await live_and_die(kube, rollouts, dice, "Initialized")
    assert await rollouts.version("chat-primary") == "1"
    await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
    async with canary_agent(kube, rollouts.namespace, minimum_interval=0.1):
        await rollouts.phase("Progressing", "Promoting", "Finalising", "Succeeded")
    lives = await live_and_die(kube, rollouts, dice, "Succeeded")
    assert lives > 1
    assert await rollouts.version("chat-primary") == "2"
    assert await rollouts.weights() == (100, 0)
    assert await rollouts.replicas("chat") == 0
    primary = await rollouts.get("Deployment", f"{NAME}-primary")
    assert primary is not None
    assert primary["metadata"]["generation"] == 2, "created once, promoted once"
    weights = [int(text.rpartition(" ")[2]) for text in await rollouts.events() if text.startswith("Advance chat.")]
    assert weights == sorted(weights)
    assert set(weights) <= {25, 50}


async def test_a_canary_at_rest_only_reads(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    calls: Counter[str] = Counter()

    def note(verb: str, resource: str, _code: int, _seconds: float) -> None:
        calls[f"{verb} {resource}"] += 1

    await rollouts.apply(rollouts.target(rollouts.sleeper("1")), rollouts.canary())
    async with (
        KubeClient(await load(str(control_plane.kubeconfig)), on_request=note) as kube,
        canary_agent(kube, rollouts.namespace) as agent,
    ):
        await rollouts.phase("Initialized")
        await eventually(lambda: _settled(rollouts))
        await eventually(lambda: _fenced(rollouts))
        done = len(agent.passes)
        await eventually(lambda: len(agent.passes) > done, every=0.01)  # a second before the next one
        calls.clear()
        done = len(agent.passes)
        await eventually(lambda: len(agent.passes) >= done + 3, every=0.01)
        passes = len(agent.passes) - done
    made = {name: count for name, count in calls.items() if not name.startswith("watch") and name not in APART}
    assert {name.partition(" ")[0] for name in made} == {"get"}
    assert sum(made.values()) <= 11 * passes


async def _settled(rollouts: Rollouts) -> bool:
    """The target's pods are gone, so that nothing wakes the agent any more."""
    found = await rollouts.get("Deployment", NAME)
    return found is not None and found["spec"]["replicas"] == 0 and not found["status"].get("replicas")


async def _fenced(rollouts: Rollouts) -> bool:
    """The status has the target as it is stored now, its replicas taken away."""
    found = await rollouts.get("Deployment", NAME)
    assert found is not None
    return (await rollouts.status()).get("lastTrackedRevision") == fence_of(found)
