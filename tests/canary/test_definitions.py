"""Which definition of Canaries the cluster has: ours keeps the status of judges, Flagger's drops it."""

import json
from typing import Any

from canary_agent import canary_agent, eventually
from canary_cluster import CRDS, Rollouts

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.controllers.canary.definition import DefinitionWatch
from agent.core.rollout.definition import TEXT, lacking
from testbed.kube import Admin

PATH = "/openapi/v3/apis/flagger.app/v1beta1"


async def document(kube: KubeClient) -> Any:
    return json.loads(await kube.raw("GET", PATH))


async def test_ours_lacks_nothing_and_one_without_the_judge_is_noticed(
    kube: KubeClient, admin: Admin, rollouts: Rollouts
) -> None:
    await admin.apply_files(sorted(CRDS.glob("flagger.app_*.yaml")))
    await eventually(lambda: _is_published(kube))
    assert await DefinitionWatch(kube, lambda: 0.0).lacking() == frozenset()
    found = await document(kube)
    for schema in found["components"]["schemas"].values():
        schema.get("properties", {}).get("status", {}).get("properties", {}).pop("judge", None)
    assert lacking(found) == {"judge"}


async def _is_published(kube: KubeClient) -> bool:
    try:
        return "lastTrackedRevision" in json.dumps(await document(kube))
    except ApiError:
        return False


async def test_a_definition_without_the_judge_is_told_once_and_refuses_what_it_cannot_keep(
    kube: KubeClient, rollouts: Rollouts, monkeypatch: Any
) -> None:
    async def dropped(_: DefinitionWatch) -> frozenset[str]:
        return frozenset({"judge", "lastTrackedRevision"})

    monkeypatch.setattr(DefinitionWatch, "lacking", dropped)
    made = rollouts.canary(analysis={"stepWeight": None, "maxWeight": None, "iterations": 1, "interval": "300ms"})
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["service"] = {"port": 80}
    async with canary_agent(kube, rollouts.namespace) as agent:
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), made)
        status = await rollouts.phase("Initialized")
        done = len(agent.passes)
        await eventually(lambda: len(agent.passes) > done + 3)
        assert "lastTrackedRevision" not in status
        await eventually(lambda: rollouts.told(TEXT))
        assert (await rollouts.events()).count(TEXT) == 1
        made["metadata"]["annotations"] = {"weir.dev/judge": "guarded"}
        await rollouts.apply(made)
        status = await rollouts.until(lambda found: len(found.get("conditions", ())) == 2)
        assert [item["reason"] for item in status["conditions"] if item["type"] == "Blocked"] == [
            "DefinitionIncomplete"
        ]
