"""What people approve of a run, step by step, and what is told of a model that Git asks for and that does not serve."""

from typing import Any

from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, NAME, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object

GOOD, BAD = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40


async def annotate(rollouts: Rollouts, **annotations: str) -> None:
    noted = {f"weir.dev/{key}": value for key, value in annotations.items()}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, {"metadata": {"annotations": noted}})


def waits(status: Object) -> bool:
    return any(item["reason"] == "TrafficApprovalMissing" for item in status.get("conditions") or ())


async def test_each_step_is_approved_by_a_command_of_its_own(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    gate = {"name": "gate", "type": "confirm-traffic-increase", "url": "weir://gate", "muteAlert": True}
    made = rollouts.canary(analysis={"webhooks": [gate], "interval": "300ms"})
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), made)
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        for number, weight in enumerate((30, 60)):
            await rollouts.until(waits)
            assert await rollouts.weights() == (130 - weight, weight - 30)
            await annotate(rollouts, command=f"promote at={number} by=jane")
            await rollouts.until(lambda status, weight=weight: status["canaryWeight"] == weight and waits(status))
            assert await rollouts.weights() == (100 - weight, weight)
        await annotate(rollouts, command="promote at=last by=jane")
        await rollouts.phase("Succeeded")
        assert await rollouts.version(f"{NAME}-primary") == "2"
    asked = f"jane asked to approve a step of {NAME}.{rollouts.namespace}"
    assert (await rollouts.events()).count(asked) == 3


async def test_a_model_that_does_not_serve_is_named_beside_the_one_that_does(
    kube: KubeClient, rollouts: Rollouts, judge: tuple[Any, str]
) -> None:
    judge[0].refuses = True
    hook = {"name": "judge", "type": "rollout", "url": judge[1]}
    made = rollouts.canary(
        analysis={"stepWeight": None, "maxWeight": None, "iterations": 1, "threshold": 1, "webhooks": [hook]}
    )
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["service"] = {"port": 80}

    def target(reference: str) -> Object:
        return rollouts.target({**rollouts.sleeper("1"), "args": [f"--model={reference}"]}, replicas=None)

    async with canary_agent(kube, rollouts.namespace) as agent:

        def withheld() -> list[tuple[str, str, str]]:
            view = agent.rollouts.get(rollouts.namespace, NAME)
            return [] if view is None else [(one.slot, one.wanted, one.serving) for one in view.withheld]

        await rollouts.apply(target(GOOD), made)
        await rollouts.phase("Initialized")
        assert withheld() == []
        await rollouts.apply(target(BAD))
        await rollouts.phase("Failed")
        await eventually(lambda: withheld() == [("container[server].model", BAD, GOOD)])
        await rollouts.apply(target(GOOD))
        await eventually(lambda: withheld() == [])
