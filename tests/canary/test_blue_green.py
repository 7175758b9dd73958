"""Rollouts behind plain Services, with hooks, configs and autoscalers; and what an operator may do to them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, HOLD, NAME, Rollouts
from loopback import listening

from agent.adapters.kube.client import KubeClient
from testbed.kube import Object


class Gates:
    """An HTTP server that is asked by hooks: open unless closed by name."""

    def __init__(self) -> None:
        self.url = ""
        self.closed: set[str] = set()
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["path"]
        self.calls.append((name, await request.json()))
        return web.Response(status=403, text=f"{name} is closed") if name in self.closed else web.Response(status=202)

    def hook(self, kind: str, name: str) -> Object:
        return {"name": name, "type": kind, "url": f"{self.url}/{name}", "metadata": {"gate": name}}

    def payloads(self, name: str) -> list[dict[str, Any]]:
        return [payload for called, payload in self.calls if called == name]


@pytest.fixture
async def gates() -> AsyncIterator[Gates]:
    gates = Gates()
    async with listening(gates.answer) as gates.url:
        yield gates


def blue_green(
    rollouts: Rollouts, *, service: Object | None = None, analysis: Object | None = None, **spec: Any
) -> Object:
    canary = rollouts.canary(
        analysis={"stepWeight": None, "maxWeight": None, "iterations": 2, **(analysis or {})}, **spec
    )
    canary["spec"]["provider"] = "kubernetes"
    canary["spec"]["service"] = {"port": 80, "targetPort": 8080, **(service or {})}
    return canary


PROGRESSING = ("Progressing", "Unknown", "New revision detected, progressing canary analysis.")
FAILED = ("Failed", "False", "Canary analysis failed, Deployment scaled to zero.")
PROMOTED = [
    ("Initializing", "Unknown", "New Deployment detected, starting initialization."),
    ("Initialized", "True", "Deployment initialization completed."),
    ("Waiting", "Unknown", "Waiting for approval."),
    PROGRESSING,
    ("WaitingPromotion", "Unknown", "Waiting for approval."),
    ("Promoting", "Unknown", "Canary analysis completed, starting primary rolling update."),
    ("Finalising", "Unknown", "Canary analysis completed, routing all traffic to primary."),
    ("Succeeded", "True", "Canary analysis completed successfully, promotion finished."),
    PROGRESSING,
    FAILED,
]
"""Flagger's words, in the order in which the run below goes through them."""


async def test_every_hook_is_asked_at_its_time(kube: KubeClient, rollouts: Rollouts, gates: Gates) -> None:
    hooks = [
        gates.hook("confirm-rollout", "may-start"),
        gates.hook("pre-rollout", "smoke"),
        gates.hook("rollout", "load"),
        gates.hook("confirm-promotion", "may-promote"),
        gates.hook("rollback", "abort"),
        gates.hook("post-rollout", "notify"),
        gates.hook("event", "journal"),
    ]
    gates.closed = {"may-start", "abort"}
    async with canary_agent(kube, rollouts.namespace), rollouts.promotions() as conditions:
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), blue_green(rollouts, analysis={"webhooks": hooks}))
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Waiting")
        assert await rollouts.replicas("chat") == 0
        gates.closed = {"abort", "may-promote"}
        await rollouts.phase("WaitingPromotion")
        gates.closed = {"abort"}
        await rollouts.phase("Succeeded")
        await eventually(lambda: gates.payloads("notify"))
        assert await rollouts.version("chat-primary") == "2"
        assert [payload["phase"] for payload in gates.payloads("notify")] == ["Succeeded"]
        smoke = gates.payloads("smoke")[0]
        assert (smoke["name"], smoke["namespace"], smoke["phase"]) == ("chat", rollouts.namespace, "Progressing")
        assert smoke["metadata"] == {"gate": "smoke"}
        assert len(smoke["checksum"]) > 8
        journal = gates.payloads("journal")
        await eventually(lambda: _last(gates).startswith("Promotion completed! Scaling down chat."))
        assert {"eventType", "timestamp", "gate"} <= set(journal[-1]["metadata"])

        gates.closed = set()
        await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
        await rollouts.phase("Failed")
        assert await rollouts.version("chat-primary") == "2"
        await eventually(lambda: conditions[-1] == FAILED)
    assert [one for one in conditions if one is not None] == PROMOTED
    texts = await rollouts.events()
    namespace = rollouts.namespace
    for text in (
        f"Halt chat.{namespace} advancement waiting for approval may-start",
        "Confirm-rollout check may-start passed",
        "Pre-rollout check smoke passed",
        f"Advance chat.{namespace} canary iteration 1/2",
        f"Halt chat.{namespace} advancement waiting for promotion approval may-promote",
        "Rollback hook abort not signaling a rollback",
        f"Copying chat.{namespace} template spec to chat-primary.{namespace}",
        "Post-rollout check notify passed",
        "Rollback check abort passed",
        f"Rolling back chat.{namespace} manual webhook invoked",
        f"Canary failed! Scaling down chat.{namespace}",
        "all the metrics providers are available!",
        f"Initialization done! chat.{namespace}",
    ):
        assert text in texts
    told = await rollouts.event_objects()
    assert {(event["reason"], event["source"]["component"]) for event in told} == {("Synced", "flagger")}


def _last(gates: Gates) -> str:
    """The text of the event that the journal was told last."""
    return str(gates.payloads("journal")[-1]["metadata"]["eventMessage"])


async def test_configs_are_copied_tracked_and_promoted(kube: KubeClient, rollouts: Rollouts) -> None:
    def settings(value: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": rollouts.namespace},
            "data": {"prompt": value},
        }

    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "namespace": rollouts.namespace},
        "stringData": {"token": "abc"},
    }
    container = rollouts.sleeper("1")
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}}]
    async with canary_agent(kube, rollouts.namespace):
        made = blue_green(rollouts, analysis={"webhooks": [HOLD]})
        await rollouts.apply(settings("be brief"), secret, rollouts.target(container), made)
        status = await rollouts.phase("Initialized")
        assert set(status["trackedConfigs"]) == {"configmap/settings", "secret/token"}
        primary = await rollouts.get("Deployment", "chat-primary")
        assert primary is not None
        sources = primary["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        assert sources == [{"configMapRef": {"name": "settings-primary"}}, {"secretRef": {"name": "token-primary"}}]

        await rollouts.apply(settings("be long"))
        await rollouts.phase("WaitingPromotion")
        copy = await rollouts.get("ConfigMap", "settings-primary", "v1")
        assert copy is not None
        assert copy["data"] == {"prompt": "be brief"}
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
        copy = await rollouts.get("ConfigMap", "settings-primary", "v1")
        assert copy is not None
        assert copy["data"] == {"prompt": "be long"}
        after = await rollouts.get("Deployment", "chat-primary")
        assert after is not None
        assert after["metadata"]["generation"] > primary["metadata"]["generation"]


async def test_an_autoscaler_is_copied_and_keeps_the_replicas(kube: KubeClient, rollouts: Rollouts) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": rollouts.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    reference = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "name": "chat",
        "primaryScalerReplicas": {"maxReplicas": 9},
    }
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(scaler, rollouts.target(rollouts.sleeper("1"), replicas=2))
        await rollouts.apply(blue_green(rollouts, analysis={"webhooks": [HOLD]}, autoscalerRef=reference))
        await rollouts.phase("Initialized")
        copy = await rollouts.get("HorizontalPodAutoscaler", "chat-primary", "autoscaling/v2")
        assert copy is not None
        assert copy["spec"]["scaleTargetRef"]["name"] == "chat-primary"
        assert (copy["spec"]["minReplicas"], copy["spec"]["maxReplicas"]) == (2, 9)
        await rollouts.apply({**scaler, "spec": {**scaler["spec"], "minReplicas": 3}})
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")
        assert await rollouts.replicas("chat") == 3
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
        copy = await rollouts.get("HorizontalPodAutoscaler", "chat-primary", "autoscaling/v2")
        assert copy is not None
        assert copy["spec"]["minReplicas"] == 3


async def test_a_suspended_rollout_stays_as_it_is(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            rollouts.target(rollouts.sleeper("1")), blue_green(rollouts, analysis={"iterations": 5000})
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.until(lambda status: status.get("iterations", 0) >= 1)
        await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, {"spec": {"suspend": True}})
        await eventually(lambda: _said(rollouts, "skipping canary run as object is suspended"))
        held = await rollouts.status()
        await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
        await eventually(lambda: _said(rollouts, "skipping canary run as object is suspended", times=3))
        assert await rollouts.still(held)
        await rollouts.admin.patch(
            FLAGGER, "Canary", rollouts.namespace, NAME, {"spec": {"suspend": False, "analysis": {"iterations": 1}}}
        )
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "3"


async def _said(rollouts: Rollouts, text: str, times: int = 1) -> bool:
    return (await rollouts.events()).count(text) >= times


async def test_a_deleted_canary_gives_everything_back(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            rollouts.target(rollouts.sleeper("1"), replicas=2), blue_green(rollouts, revertOnDeletion=True)
        )
        await rollouts.phase("Initialized")
        assert await rollouts.replicas("chat") == 0
        leaving = ("Terminating", "Unknown", "Canary deletion requested, restoring the Deployment.")
        async with rollouts.promotions() as conditions:
            await rollouts.admin.delete(FLAGGER, "Canary", rollouts.namespace, NAME)
            await rollouts.admin.wait_for(FLAGGER, "Canary", rollouts.namespace, NAME, lambda found: found is None)
            await eventually(lambda: conditions[-1] == leaving)
        assert await rollouts.replicas("chat") == 2
        await rollouts.admin.wait_for(
            "apps/v1", "Deployment", rollouts.namespace, "chat-primary", lambda found: found is None, timeout=120
        )
        service = await rollouts.get("Service", "chat", "v1")
        assert service is not None
        assert service["spec"]["selector"] == {"app": "chat"}
        assert not service["metadata"].get("ownerReferences")


async def test_what_flagger_left_is_taken_over_without_a_run(kube: KubeClient, rollouts: Rollouts) -> None:
    canary = blue_green(rollouts, analysis={"webhooks": [HOLD]})
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        await eventually(lambda: _scaled_down(rollouts))
    flagger = {"phase": "Succeeded", "lastAppliedSpec": "5d4b8f7c9d", "lastPromotedSpec": "5d4b8f7c9d"}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, {"status": flagger}, subresource="status")
    names = [("Deployment", "chat", "apps/v1"), ("Deployment", "chat-primary", "apps/v1"), ("Service", "chat", "v1")]
    before = [await rollouts.get(*name) for name in names]
    async with canary_agent(kube, rollouts.namespace) as agent:
        await rollouts.until(lambda status: status["lastAppliedSpec"].startswith("v2:"))
        await eventually(lambda: len(agent.passes) > 2)
        status = await rollouts.status()
        assert status["phase"] == "Succeeded"
        assert status["lastAppliedSpec"] == status["lastPromotedSpec"]
        after = [await rollouts.get(*name) for name in names]
        assert [item and item["metadata"]["generation"] for item in after[:2]] == [
            item and item["metadata"]["generation"] for item in before[:2]
        ]
        assert after[2] == before[2]
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")


async def _scaled_down(rollouts: Rollouts) -> bool:
    return await rollouts.replicas("chat") == 0
