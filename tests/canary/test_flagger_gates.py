"""Manual gates without a load tester: a person opens and closes them by annotating the Canary."""

from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, NAME, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.kube import Object


def gated(rollouts: Rollouts, *kinds: str) -> Object:
    webhooks = [{"name": kind, "type": kind, "url": "weir://gate"} for kind in kinds]
    made = rollouts.canary(analysis={"stepWeight": None, "maxWeight": None, "iterations": 1, "webhooks": webhooks})
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["service"] = {"port": 80}
    return made


async def turn(rollouts: Rollouts, kind: str, value: str | None) -> None:
    patch = {"metadata": {"annotations": {f"weir.dev/gate.{kind}": value}}}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, patch)


async def test_gates_before_the_rollout_and_before_the_promotion(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            rollouts.target(rollouts.sleeper("1")), gated(rollouts, "confirm-rollout", "confirm-promotion")
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Waiting")
        assert await rollouts.replicas(NAME) == 0
        await turn(rollouts, "confirm-rollout", "halted")
        await turn(rollouts, "confirm-rollout", "approved")
        await rollouts.phase("WaitingPromotion")
        assert await rollouts.version(f"{NAME}-primary") == "1"
        await turn(rollouts, "confirm-promotion", "approved")
        await rollouts.phase("Succeeded")
        assert await rollouts.version(f"{NAME}-primary") == "2"
    texts = await rollouts.events()
    assert f"Halt {NAME}.{rollouts.namespace} advancement waiting for approval confirm-rollout" in texts
    assert "Confirm-rollout check confirm-rollout passed" in texts
    assert "Confirm-promotion check confirm-promotion passed" in texts


async def test_a_gate_that_rolls_back(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), gated(rollouts, "confirm-promotion", "rollback"))
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")
        await turn(rollouts, "rollback", "approved")
        await rollouts.phase("Failed")
        assert await rollouts.version(f"{NAME}-primary") == "1"
        await eventually(lambda: _told(rollouts))


async def _told(rollouts: Rollouts) -> bool:
    return f"Rolling back {NAME}.{rollouts.namespace} manual webhook invoked" in await rollouts.events()


async def test_a_closed_gate_before_traffic_says_how_it_is_opened(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), gated(rollouts, "pre-rollout"))
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Failed")
    text = "pre-rollout check pre-rollout failed gate is closed: annotate the canary with weir.dev/gate.pre-rollout"
    assert any(text in told for told in await rollouts.events())
