"""What a promotion writes to a primary that a canary has taken places of."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.canary import Canary
from agent.controllers.canary.observing import World
from agent.controllers.canary.settings import CanarySettings
from agent.controllers.canary.workloads import Workloads
from agent.core.rollout.objects import Selector
from agent.core.rollout.plan import Plan
from agent.core.rollout.snapshot import Stage
from agent.core.rollout.surge import FULL_REPLICAS, Surge

CANARY = {
    "metadata": {"name": "chat", "namespace": "ml", "uid": "u1"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "service": {"port": 80},
        "analysis": {},
    },
}
BY_DEFAULT = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}


def deployment(name: str, replicas: int, image: str, **annotations: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": image}]}}
    return {
        "metadata": {"name": name, "namespace": "ml", "resourceVersion": "7", "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": BY_DEFAULT,
            "template": template,
        },
    }


class Written:
    """The API server: keeps the last patch."""

    def __init__(self) -> None:
        self.patch: dict[str, Any] = {}

    async def json_patch(self, *where: Any, **_how: Any) -> None:
        self.patch = {item["path"]: item.get("value") for item in where[3]}


@pytest.mark.parametrize(
    ("surge", "noted", "in_place"),
    [(Surge.IN_PLACE, "4", True), (None, "4", True), (Surge.ONE_POD, "4", True), (None, "", False)],
)
async def test_pods_are_replaced_one_by_one_as_long_as_the_primary_lacks_some(
    surge: Surge | None, noted: str, in_place: bool
) -> None:
    """Whatever the annotation says by now: the canary has the places."""
    cluster = Written()
    plan = Plan(name="chat", namespace="ml", target="chat", service="chat", provider="gatewayapi:v1", surge=surge)
    world = World(
        stage=Stage.ROUTED,
        target=deployment("chat", 1, "server:2"),
        selector=Selector("app", "chat"),
        primary=deployment("chat-primary", 3, "server:1", **({FULL_REPLICAS: noted} if noted else {})),
    )
    workloads = Workloads(cluster, CanarySettings())  # type: ignore[arg-type]
    await workloads.promote(Canary.from_object(CANARY), plan, world, "an identity")
    assert cluster.patch["/spec/template"]["spec"]["containers"][0]["image"] == "server:2"
    assert ("/spec/replicas" in cluster.patch) is not in_place
    strategy = cluster.patch.get("/spec/strategy", BY_DEFAULT)
    assert (strategy["rollingUpdate"]["maxSurge"] == 0) is in_place
