"""A core Service as a target: its copies get the traffic in steps, and the target stays Git's."""

import random

from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, NAME, Rollouts, traffic
from canary_lives import live_and_die

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object


def service(rollouts: Rollouts, version: str) -> Object:
    """The Service as Git has it: it selects the pods of one version."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": rollouts.namespace},
        "spec": {"selector": {"app": f"{NAME}-{version}"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def canary(rollouts: Rollouts, url: str) -> Object:
    gate = {"name": "judge", "type": "rollout", "url": url}
    made = rollouts.canary(analysis={"webhooks": [gate], "threshold": 1})
    made["spec"]["targetRef"] = {"apiVersion": "v1", "kind": "Service", "name": NAME}
    return made


async def selected(rollouts: Rollouts, name: str) -> str:
    found = await rollouts.get("Service", name, "v1")
    return "" if found is None else str(found["spec"]["selector"]["app"])


async def test_a_service_is_rolled_out_in_steps_and_rolled_back(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, judge: tuple
) -> None:
    answers, url = judge
    for version in ("v1", "v2"):
        await rollouts.apply(rollouts.target(rollouts.server(rollouts.model(version)), name=f"{NAME}-{version}"))
    async with canary_agent(kube, rollouts.namespace) as agent:
        await rollouts.apply(service(rollouts, "v1"), canary(rollouts, url))
        status = await rollouts.phase("Initialized")
        assert status["conditions"][0]["message"] == "Service initialization completed."
        assert await selected(rollouts, f"{NAME}-primary") == await selected(rollouts, f"{NAME}-canary") == "chat-v1"
        async with traffic(edge, rollouts.host) as seen:
            await eventually(lambda: seen.versions["v1"] > 5)
            assert seen.versions["v2"] == 0
            await rollouts.apply(service(rollouts, "v2"))
            await eventually(lambda: seen.versions["v2"] > 0)
            await rollouts.phase("Succeeded")
            assert await selected(rollouts, f"{NAME}-primary") == "chat-v2"
            assert await rollouts.weights() == (100, 0)
            await eventually(lambda: rollouts.told("Promotion completed!"))
            texts = await rollouts.events()
            for text in (
                f"New revision detected! Scaling up {NAME}.{rollouts.namespace}",
                f"Advance {NAME}.{rollouts.namespace} canary weight 30",
                f"Advance {NAME}.{rollouts.namespace} canary weight 60",
                f"Copying {NAME}.{rollouts.namespace} template spec to {NAME}-primary.{rollouts.namespace}",
            ):
                assert text in texts
            answers.refuses = True
            await rollouts.apply(service(rollouts, "v1"))
            status = await rollouts.phase("Failed")
        assert await selected(rollouts, f"{NAME}-primary") == "chat-v2", "what was rejected does not serve"
        assert await rollouts.weights() == (100, 0)
        assert await selected(rollouts, NAME) == "chat-v1", "the target is Git's"
        await rollouts.apply(service(rollouts, "v2"))
        await rollouts.phase("Succeeded")
        assert (await rollouts.status())["conditions"][0]["message"] == "Service reverted to the promoted revision."
        addresses = set()
        for name in (NAME, f"{NAME}-primary", f"{NAME}-canary"):
            found = await rollouts.get("Service", name, "v1")
            assert found is not None
            addresses.add(found["spec"]["clusterIP"])
        assert len(addresses) == 3
        assert 'flagger_canary_weight{namespace="' in agent.exported()
        await rollouts.admin.delete(FLAGGER, "Canary", rollouts.namespace, NAME)
        await eventually(lambda: _gone(rollouts))
    assert await selected(rollouts, NAME) == "chat-v2"


async def test_a_service_is_rolled_out_by_agents_that_are_killed(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    dice = random.Random("service")
    made = rollouts.canary(analysis={"interval": "300ms"})
    made["spec"]["targetRef"] = {"apiVersion": "v1", "kind": "Service", "name": NAME}
    await rollouts.apply(service(rollouts, "v1"), made)
    await live_and_die(kube, rollouts, dice, "Initialized")
    async with rollouts.watched("Service", "v1", selector_of, name=f"{NAME}-primary") as primary:
        await rollouts.apply(service(rollouts, "v2"))
        async with canary_agent(kube, rollouts.namespace, minimum_interval=0.1):
            await rollouts.phase("Progressing", "Promoting", "Finalising", "Succeeded")
        await live_and_die(kube, rollouts, dice, "Succeeded")
        await eventually(lambda: primary[-1] == f"{NAME}-v2")
    assert primary == [f"{NAME}-v1", f"{NAME}-v2"], "promoted once, and never back"
    assert await rollouts.weights() == (100, 0)


def selector_of(found: Object) -> str:
    return str(found["spec"]["selector"]["app"])


async def _gone(rollouts: Rollouts) -> bool:
    """The copies go with the Canary, for they are its own."""
    names = (f"{NAME}-primary", f"{NAME}-canary")
    return all([await rollouts.get("Service", name, "v1") is None for name in names])
