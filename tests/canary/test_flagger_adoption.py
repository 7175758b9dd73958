"""Coming from Flagger: what it left is taken over untouched, and while it still runs nothing is taken."""

import pytest
from canary_agent import CanaryAgent, canary_agent, eventually
from canary_cluster import NAME, Rollouts
from flagger_left import OTHER_HASH, Left, status
from foreign_crds import ISTIO, serve

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Admin, Object

GATEWAY = "gatewayapi:v1"
KEPT = ("phase", "failedChecks", "canaryWeight", "iterations", "lastTransitionTime", "conditions")


@pytest.fixture(scope="module", autouse=True)
async def istio(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), ISTIO)


async def adopted(left: Left, agent: CanaryAgent, before: Object) -> Object:
    """The status once a hash of ours is in it; looked at again and again, the Canary stays as it was."""
    rollouts = left.rollouts
    found = await rollouts.until(lambda found: found.get("lastAppliedSpec", "").startswith("v2:"))
    done = len(agent.passes)
    await eventually(lambda: len(agent.passes) >= done + 4)
    assert {name: found.get(name) for name in KEPT} == {name: before[name] for name in KEPT}
    assert await rollouts.still(found)
    assert await rollouts.events() == []
    return found


@pytest.mark.parametrize(
    ("provider", "phase"),
    [(GATEWAY, "Initialized"), (GATEWAY, "Succeeded"), ("istio", "Succeeded"), ("nginx", "Succeeded")],
)
async def test_what_flagger_left_at_rest_is_taken_over_without_a_write_and_without_a_run(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, provider: str, phase: str
) -> None:
    left = Left(rollouts, provider)
    await left.leave(status(phase))
    before = await left.untouched()
    async with canary_agent(kube, rollouts.namespace) as agent:
        found = await adopted(left, agent, status(phase))
        assert await left.untouched() == before
        assert found["lastPromotedSpec"] == found["lastAppliedSpec"]
        # From now on it is an ordinary Canary.
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await eventually(lambda: _serves(rollouts, "2"))
        await rollouts.phase("Succeeded")


@pytest.mark.parametrize("provider", [GATEWAY, "istio", "nginx"])
async def test_what_flagger_has_rejected_stays_rejected(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, provider: str
) -> None:
    left = Left(rollouts, provider, target="2")
    await left.leave(status("Failed", lastPromotedSpec=OTHER_HASH))
    before = await left.untouched()
    async with canary_agent(kube, rollouts.namespace) as agent:
        found = await adopted(left, agent, status("Failed"))
        assert await left.untouched() == before
        assert found["lastPromotedSpec"] == OTHER_HASH, "what the primary runs is not what the target is"
        assert await rollouts.version(f"{NAME}-primary") == "1"
        await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
        await eventually(lambda: _serves(rollouts, "3"))
        await rollouts.phase("Succeeded")


@pytest.mark.parametrize(
    ("provider", "phase"),
    [(GATEWAY, "Progressing"), (GATEWAY, "WaitingPromotion"), ("istio", "Progressing"), ("nginx", "Progressing")],
)
async def test_a_run_that_flagger_left_in_the_middle_begins_again(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, provider: str, phase: str
) -> None:
    left = Left(rollouts, provider, target="2", weight=60, replicas=1)
    await left.leave(status(phase, canaryWeight=60, failedChecks=1, lastPromotedSpec=OTHER_HASH))
    where = f"{NAME}.{rollouts.namespace}"
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.phase("Succeeded")
    texts = await rollouts.events()
    assert f"New revision detected! Restarting analysis for {where}" in texts
    steps = [text for text in texts if text.startswith(f"Advance {where} canary weight")]
    assert steps == [f"Advance {where} canary weight {weight}" for weight in (30, 60)], "from the first step"
    assert await rollouts.version(f"{NAME}-primary") == "2"


@pytest.mark.parametrize("phase", ["Promoting", "Finalising"])
async def test_a_promotion_that_flagger_left_is_finished(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, phase: str
) -> None:
    left = Left(rollouts, GATEWAY, target="2", primary="2", weight=60 if phase == "Promoting" else 0, replicas=1)
    await left.leave(status(phase, lastPromotedSpec=OTHER_HASH))
    async with canary_agent(kube, rollouts.namespace):
        found = await rollouts.phase("Succeeded")
        assert found["lastPromotedSpec"] == found["lastAppliedSpec"]
        assert await rollouts.weights() == (100, 0)
        assert await rollouts.replicas(NAME) == 0
        primary = await rollouts.get("Deployment", f"{NAME}-primary")
        assert primary is not None
        assert primary["metadata"]["generation"] == 1, "the primary has it already"
    assert not any("New revision detected" in text for text in await rollouts.events())


async def test_a_run_that_waited_for_its_approval_still_waits(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    gate = {"name": "gate", "type": "confirm-rollout", "url": "weir://gate"}
    left = Left(rollouts, GATEWAY, target="2")
    await left.leave(status("Waiting", lastPromotedSpec=OTHER_HASH), webhooks=[gate])
    before = await left.untouched()
    async with canary_agent(kube, rollouts.namespace) as agent:
        await eventually(lambda: len(agent.passes) >= 4)
        assert (await rollouts.status())["phase"] == "Waiting"
        assert await left.untouched() == before
        opened = {"metadata": {"annotations": {"weir.dev/gate.gate": "approved"}}}
        await rollouts.admin.patch("flagger.app/v1beta1", "Canary", rollouts.namespace, NAME, opened)
        await eventually(lambda: _serves(rollouts, "2"))
        await rollouts.phase("Succeeded")


async def _serves(rollouts: Rollouts, version: str) -> bool:
    return await rollouts.version(f"{NAME}-primary") == version


async def test_a_running_flagger_keeps_its_canaries(kube: KubeClient, rollouts: Rollouts) -> None:
    container = {"name": "flagger", "image": "ghcr.io/fluxcd/flagger:1.44.0"}
    container["args"] = [f"-namespace={rollouts.namespace}"]  # type: ignore[assignment]
    labels = {"app": "flagger"}
    running = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "rollouts", "namespace": rollouts.namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    made = rollouts.canary(analysis={"stepWeight": None, "maxWeight": None, "iterations": 1})
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["service"] = {"port": 80}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(running, rollouts.target(rollouts.sleeper("1")))
        await rollouts.apply(made)
        status = await rollouts.until(lambda status: bool(status.get("conditions")))
        assert status["conditions"][0]["reason"] == "FlaggerRunning"
        assert f"Flagger runs as Deployment {rollouts.namespace}/rollouts" in status["conditions"][0]["message"]
        assert await rollouts.get("Deployment", f"{NAME}-primary") is None
        made["metadata"]["annotations"] = {"weir.dev/handover": "weir"}
        await rollouts.apply(made)
        await rollouts.phase("Initialized")
        del made["metadata"]["annotations"]
        await rollouts.apply(made)
        await rollouts.until(lambda status: any(item["type"] == "Blocked" for item in status["conditions"]))
        await rollouts.admin.patch("apps/v1", "Deployment", rollouts.namespace, "rollouts", {"spec": {"replicas": 0}})
        await rollouts.until(lambda status: all(item["type"] != "Blocked" for item in status["conditions"]))
