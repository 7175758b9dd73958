"""How often the whole cluster is read for Canaries that wait for room."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import msgspec
import pytest

from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.resource import (
    CLUSTER_SERVING_RUNTIMES,
    JOBS,
    LOCAL_MODEL_CACHES,
    LOCAL_MODEL_NAMESPACE_CACHES,
    NODES,
    PODS,
)
from agent.api.canary import Canary
from agent.controllers.canary.observing import Observer
from agent.controllers.canary.obstacles import ON_ITS_WAY, Needs, Obstacles
from agent.controllers.canary.settings import CanarySettings
from agent.core.rollout.kserve.content import WANTED
from agent.core.rollout.kserve.serving import Services
from agent.core.rollout.plan import Plan
from agent.core.rollout.prefetch import PREFETCHES
from agent.core.rollout.snapshot import Stage
from agent.core.rollout.surge import INSUFFICIENT, Surge

GPU = "nvidia.com/gpu"
CONTAINERS = {"containers": [{"name": "server", "resources": {"limits": {GPU: "2"}}}]}
PLAN = Plan(name="chat", namespace="ml", target="chat", service="chat", provider="gatewayapi:v1", surge=Surge.ONE_POD)
CANARY = {
    "metadata": {"name": "chat", "namespace": "ml", "uid": "u1"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "service": {"port": 80},
        "analysis": {},
    },
    "status": {"lastAppliedSpec": "v2:before"},
}


class Cluster:
    """One node, and a Deployment with its primary; counts the listings of all Pods."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.listings = 0

    async def list(self, resource, namespace=None, **_):
        self.listings += resource is PODS
        node = {"metadata": {"name": "a"}, "status": {"allocatable": {GPU: str(self.gpus)}}}
        assert (resource in {NODES, PODS, LOCAL_MODEL_CACHES}) is (namespace is None)
        return SimpleNamespace(items=[node] if resource is NODES else [])

    async def get(self, resource, namespace, name):
        if (resource, namespace, name) != (CLUSTER_SERVING_RUNTIMES, None, "vllm"):
            raise NotFound(f"{resource.plural} {name} not found", status=404)
        return {"metadata": {"name": name}, "spec": CONTAINERS}

    async def find(self, _resource, namespace, name):
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": CONTAINERS}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": name, "namespace": namespace, "uid": name}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def test_a_lack_of_room_is_told_for_a_while_from_one_listing_and_room_never():
    cluster, now = Cluster(gpus=1), [100.0]
    obstacles = Obstacles(cluster, 30.0, lambda: now[0])
    needs = Needs(CONTAINERS, 1)
    found = await asyncio.gather(*(obstacles.of(f"team-{n}", needs) for n in range(5)))
    assert {reason for reason, _ in found} == {INSUFFICIENT}
    assert cluster.listings == 1
    cluster.gpus, now[0] = 2, 129.0
    assert await obstacles.of("ml", needs) is not None
    now[0] = 131.0
    assert await obstacles.of("ml", needs) is None
    cluster.gpus = 1
    assert await obstacles.of("ml", needs) is not None, "what there was room for may have been taken since"


async def test_room_is_looked_for_in_one_listing_for_what_a_new_template_asks():
    cluster, canary = Cluster(gpus=1), Canary.from_object(CANARY)
    world = await Observer(cluster, CanarySettings()).observe(canary, PLAN, Stage.ROUTED, None)
    assert world.primary is not None
    assert cluster.listings == 0, "whether there is room is asked of its own accord"
    ((reason, text),) = await Obstacles(cluster, 30.0).to_run(canary, PLAN, world)
    assert (reason, cluster.listings) == (INSUFFICIENT, 1)
    assert f"1 pods with 2 {GPU} each needed" in text


async def test_a_pod_in_the_place_of_another_needs_no_room_unless_it_asks_for_more():
    cluster, canary = Cluster(gpus=0), Canary.from_object(CANARY)
    plan = msgspec.structs.replace(PLAN, surge=Surge.IN_PLACE)
    world = await Observer(cluster, CanarySettings()).observe(canary, plan, Stage.ROUTED, None)
    assert await Obstacles(cluster, 30.0).to_run(canary, plan, world) == ()
    assert cluster.listings == 0
    world.primary["spec"]["template"]["spec"] = {"containers": [{"name": "server"}]}
    assert await Obstacles(cluster, 30.0).to_run(canary, plan, world) != ()


@pytest.mark.parametrize(
    ("named", "status", "lacks"),
    [
        ({"runtime": "vllm"}, {}, True),
        ({}, {"clusterServingRuntimeName": "vllm"}, True),
        ({"runtime": "mine"}, {"clusterServingRuntimeName": "vllm"}, False),
        ({}, {}, False),
    ],
)
async def test_accelerators_that_a_runtime_adds_need_room(named, status, lacks):
    model = {"modelFormat": {"name": "huggingface"}, "args": ["--model=org/m"], **named}
    target = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "annotations": {WANTED: json.dumps({"model": model})}},
        "spec": {"predictor": {"model": {**model, "args": ["--model=org/before"]}}},
        "status": status,
    }
    world = SimpleNamespace(services=Services(target=target))
    found = await Obstacles(Cluster(gpus=1), 30.0).to_run(Canary.from_object(CANARY), PLAN, world)
    text = f"1 pods with 2 {GPU} each needed, there is room for 0 on 1 nodes"
    assert found == (((INSUFFICIENT, text),) if lacks else ())


CHAT_2 = "registry.example/team/chat:2"
VOLUMES = [{"name": "model", "image": {"reference": CHAT_2}}]


class Fetching:
    """A namespace with a Job that fetches one model, and caches that have none yet."""

    def __init__(self, fetches: str, *conditions: str, caches: str = CHAT_2) -> None:
        self.caches = caches
        states = [{"type": name, "status": "True"} for name in conditions]
        metadata = {"name": "pull", "annotations": {PREFETCHES: fetches}}
        self.job = {"metadata": metadata, "status": {"conditions": states}}

    async def list(self, resource, _namespace=None, **_):
        cache = {"metadata": {"name": "c"}, "spec": {"sourceModelUri": self.caches}}
        return SimpleNamespace(
            items={JOBS: [self.job], LOCAL_MODEL_CACHES: [cache], LOCAL_MODEL_NAMESPACE_CACHES: [cache]}[resource]
        )


def workload(kind, **pod):
    template = {"spec": {"containers": [{"name": "server", "image": "server:1"}], **pod}}
    metadata = {"name": "chat", "namespace": "ml"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"template": template}}


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        (Fetching(CHAT_2), f"Job pull has not fetched {CHAT_2} yet"),
        (Fetching(CHAT_2, "Failed"), f"Job pull has failed to fetch {CHAT_2}"),
        (Fetching(CHAT_2, "Complete"), ""),
        (Fetching("registry.example/team/other:2"), ""),
    ],
)
async def test_a_workload_waits_for_the_job_that_fetches_its_model_whatever_its_surge(kind, cluster, told):
    plan = msgspec.structs.replace(PLAN, surge=None, target_kind=kind)
    world = SimpleNamespace(services=None, target=workload(kind, volumes=VOLUMES), primary=workload(kind))
    found = await Obstacles(cluster, 30.0).to_run(Canary.from_object(CANARY), plan, world)
    assert found == (((ON_ITS_WAY, told),) if told else ())


async def test_an_inference_service_waits_for_the_job_that_pulls_its_image_volume():
    content = {"model": {"modelFormat": {"name": "huggingface"}}, "volumes": VOLUMES}
    target = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "ml", "annotations": {WANTED: json.dumps(content)}},
        "spec": {"predictor": {"model": content["model"]}},
    }
    world = SimpleNamespace(services=Services(target=target))
    found = await Obstacles(Fetching(CHAT_2), 30.0).to_run(Canary.from_object(CANARY), PLAN, world)
    assert found == ((ON_ITS_WAY, f"Job pull has not fetched {CHAT_2} yet"),)


CHAT = "hf://org/chat"
SIGNED = "https://models.example/chat?sig=c2VjcmV0"


@pytest.mark.parametrize(
    ("uri", "notes", "shown"),
    [
        (CHAT, {}, CHAT),
        (CHAT, {"weir.dev/model-ref.predictor-model": f"{CHAT}@{'1' * 40}"}, CHAT),
        (CHAT, {"weir.dev/model-role": "data"}, CHAT),
        (SIGNED, {}, SIGNED.replace("c2VjcmV0", "***")),
    ],
)
async def test_caches_and_jobs_name_what_kserve_loads_whatever_is_declared_of_it(uri, notes, shown):
    content = {"model": {"modelFormat": {"name": "huggingface"}, "storageUri": uri}}
    target = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "ml", "annotations": {WANTED: json.dumps(content), **notes}},
        "spec": {"predictor": {"model": {**content["model"], "storageUri": f"{CHAT}-before"}}},
    }
    world, canary = SimpleNamespace(services=Services(target=target)), Canary.from_object(CANARY)
    ((reason, text),) = await Obstacles(Fetching("other", "Complete", caches=uri), 30.0).to_run(canary, PLAN, world)
    assert (reason, text.partition(" has ")[2]) == (ON_ITS_WAY, f"{shown} on 0 of 0 nodes")
    ((reason, text),) = await Obstacles(Fetching(uri, caches="other"), 30.0).to_run(canary, PLAN, world)
    assert (reason, text) == (ON_ITS_WAY, f"Job pull has not fetched {shown} yet")
