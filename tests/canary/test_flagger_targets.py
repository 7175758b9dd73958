"""Targets beside plain Deployments: DaemonSets, and Deployments with an autoscaler."""

from typing import Any

import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import HOLD, NAME, Rollouts
from foreign_crds import KEDA, KEDA_API, serve

from agent.adapters.kube.client import KubeClient
from testbed.kube import Admin, Object

STOP = "flagger.app/scale-to-zero"


def plain(rollouts: Rollouts, *, kind: str = "Deployment", **spec: Any) -> Object:
    analysis = {"stepWeight": None, "maxWeight": None, "iterations": 2, "webhooks": [HOLD]}
    made = rollouts.canary(analysis=analysis, **spec)
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["targetRef"]["kind"] = kind
    made["spec"]["service"] = {"port": 80}
    return made


async def test_a_daemonset_is_stopped_by_a_node_selector(kube: KubeClient, rollouts: Rollouts) -> None:
    def daemonset(version: str) -> Object:
        made = rollouts.target(rollouts.sleeper(version), replicas=None)
        return {**made, "kind": "DaemonSet", "spec": {**made["spec"], "updateStrategy": {"type": "RollingUpdate"}}}

    async def selector(name: str) -> dict[str, str]:
        found = await rollouts.get("DaemonSet", name)
        assert found is not None
        return dict(found["spec"]["template"]["spec"].get("nodeSelector") or {})

    async def serves(name: str, version: str) -> bool:
        found = await rollouts.get("DaemonSet", name)
        return found is not None and found["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == version

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(daemonset("1"), plain(rollouts, kind="DaemonSet", revertOnDeletion=True))
        status = await rollouts.phase("Initialized")
        assert status["conditions"][0]["message"] == "DaemonSet initialization completed."
        assert await selector(NAME) == {STOP: "true"}
        assert await selector(f"{NAME}-primary") == {}
        await rollouts.apply(daemonset("2"))
        await rollouts.phase("WaitingPromotion")
        assert await selector(NAME) == {}
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
        assert await selector(NAME) == {STOP: "true"}
        assert await serves(f"{NAME}-primary", "2")
        await rollouts.admin.delete("flagger.app/v1beta1", "Canary", rollouts.namespace, NAME)
        await eventually(lambda: _is(rollouts.get("Canary", NAME, "flagger.app/v1beta1"), None))
        assert await selector(NAME) == {}


async def _is(answer: Any, wanted: Any) -> bool:
    return bool((await answer) == wanted)


async def test_a_scaled_object_is_held_while_its_target_has_no_replicas(
    kube: KubeClient, rollouts: Rollouts, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), KEDA)
    trigger = {"type": "prometheus", "metadata": {"query": 'sum(x{app="chat"})', "threshold": "5"}}
    scaled = {
        "apiVersion": KEDA_API,
        "kind": "ScaledObject",
        "metadata": {"name": "scaler", "namespace": rollouts.namespace},
        "spec": {"scaleTargetRef": {"name": NAME}, "minReplicaCount": 2, "maxReplicaCount": 4, "triggers": [trigger]},
    }
    reference = {"apiVersion": KEDA_API, "kind": "ScaledObject", "name": "scaler"}

    async def paused(name: str) -> str | None:
        found = await rollouts.get("ScaledObject", name, KEDA_API)
        assert found is not None
        answer = (found["metadata"].get("annotations") or {}).get("autoscaling.keda.sh/paused-replicas")
        return None if answer is None else str(answer)

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(scaled, rollouts.target(rollouts.sleeper("1")), plain(rollouts, autoscalerRef=reference))
        await rollouts.phase("Initialized")
        copied = await rollouts.get("ScaledObject", "scaler-primary", KEDA_API)
        assert copied is not None
        assert copied["spec"]["scaleTargetRef"] == {"name": "chat-primary"}
        assert copied["spec"]["triggers"][0]["metadata"]["query"] == 'sum(x{app="chat-primary"})'
        assert await paused("scaler") == "0"
        assert await paused("scaler-primary") is None
        await admin.patch(KEDA_API, "ScaledObject", rollouts.namespace, "scaler", {"spec": {"maxReplicaCount": 8}})
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")
        assert await paused("scaler") is None
        assert await rollouts.replicas(NAME) == 2
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
        assert await paused("scaler") == "0"
        copied = await rollouts.get("ScaledObject", "scaler-primary", KEDA_API)
        assert copied is not None
        assert copied["spec"]["maxReplicaCount"] == 8
        text = "Keda ScaledObject gone."
        await rollouts.apply(plain(rollouts, autoscalerRef={**reference, "name": "gone"}))
        await eventually(lambda: _told(rollouts, text))


async def _told(rollouts: Rollouts, text: str) -> bool:
    return any(told.startswith(text) for told in await rollouts.events())


async def test_a_daemonset_has_no_autoscaler(kube: KubeClient, rollouts: Rollouts) -> None:
    reference = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "scaler"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(plain(rollouts, kind="DaemonSet", autoscalerRef=reference))
        status = await rollouts.until(lambda status: bool(status.get("conditions")))
        assert status["conditions"][0]["reason"] == "AutoscalerNotSupported"
