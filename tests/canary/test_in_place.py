"""A canary that takes the place of pods of the primary, in a namespace whose quota has room for no pod more."""

import random

from canary_agent import canary_agent, eventually
from canary_cluster import HOLD, NAME, Rollouts
from canary_lives import live_and_die

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object

PODS = 3
BACK = {"name": "back", "type": "rollback", "url": "weir://gate"}


def in_place(rollouts: Rollouts, *hooks: Object) -> Object:
    return rollouts.canary(
        annotations={"weir.dev/judge": "compatibility", "weir.dev/surge": "in-place"},
        analysis={"stepWeight": 50, "maxWeight": 50, "webhooks": list(hooks)},
    )


async def filled(rollouts: Rollouts) -> None:
    """The primary has all the pods that the quota allows."""

    async def alone() -> bool:
        return len(await rollouts.admin.list("v1", "Pod", rollouts.namespace)) == PODS

    await eventually(alone)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "pods", "namespace": rollouts.namespace},
        "spec": {"hard": {"pods": str(PODS)}},
    }
    await rollouts.apply(quota)

    async def counted() -> bool:
        found = await rollouts.get("ResourceQuota", "pods", "v1")
        return ((found or {}).get("status") or {}).get("used") == {"pods": str(PODS)}

    await eventually(counted)


async def replicas(rollouts: Rollouts) -> tuple[int, int]:
    return await rollouts.replicas(f"{NAME}-primary"), await rollouts.replicas(NAME)


async def is_whole(rollouts: Rollouts) -> bool:
    """All pods are the primary's again, and are there."""
    primary = await rollouts.get("Deployment", f"{NAME}-primary")
    assert primary is not None
    noted = "weir.dev/full-replicas" in primary["metadata"]["annotations"]
    ready = primary["status"].get("readyReplicas") == PODS
    return not noted and ready and await replicas(rollouts) == (PODS, 0)


async def test_a_revision_is_promoted_where_no_pod_more_has_room(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1"), replicas=PODS), in_place(rollouts, HOLD))
        await rollouts.phase("Initialized")
        await filled(rollouts)
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion", within=120)
        assert await replicas(rollouts) == (1, 2)
        assert await rollouts.weights() == (50, 50)
        assert await rollouts.version(f"{NAME}-primary") == "1"
        await rollouts.let_go()
        await rollouts.phase("Succeeded", within=120)
        await eventually(lambda: is_whole(rollouts))
        assert await rollouts.weights() == (100, 0)
        assert await rollouts.version(f"{NAME}-primary") == "2"


async def test_a_rollback_gives_the_places_back(kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1"), replicas=PODS), in_place(rollouts, HOLD, BACK))
        await rollouts.phase("Initialized")
        await filled(rollouts)
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion", within=120)
        opened = {"metadata": {"annotations": {"weir.dev/gate.back": "approved"}}}
        await rollouts.admin.patch("flagger.app/v1beta1", "Canary", rollouts.namespace, NAME, opened)
        await rollouts.phase("Failed")
        await eventually(lambda: is_whole(rollouts))
        assert await rollouts.weights() == (100, 0)
        assert await rollouts.version(f"{NAME}-primary") == "1"


async def test_killed_at_any_moment_all_places_are_taken_in_the_end(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1"), replicas=PODS), in_place(rollouts))
        await rollouts.phase("Initialized")
        await filled(rollouts)
    await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
    await live_and_die(kube, rollouts, random.Random(3), "Succeeded")
    await eventually(lambda: is_whole(rollouts))
    assert await rollouts.weights() == (100, 0)
    assert await rollouts.version(f"{NAME}-primary") == "2"


async def test_a_canary_of_one_pod_leaves_the_primary_its_number(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    canary = rollouts.canary(annotations={"weir.dev/judge": "compatibility", "weir.dev/surge": "one-pod"})

    def size(primary: Object) -> tuple[int, str]:
        return primary["spec"]["replicas"], primary["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1"), replicas=2), canary)
        await rollouts.phase("Initialized")
        async with rollouts.watched("Deployment", "apps/v1", size, f"{NAME}-primary") as seen:
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            await eventually(lambda: len(seen) > 1)
    assert seen == [(2, "1"), (2, "2")]
