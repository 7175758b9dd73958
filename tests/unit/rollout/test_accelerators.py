"""Room for the accelerators of a canary, from nodes, pods and quotas."""

import pytest

from agent.api.canary import Canary
from agent.core.rollout import devices, prefetch
from agent.core.rollout.accelerators import demand_of, free_of, shortage
from agent.core.rollout.reading import plan_of
from agent.core.rollout.surge import SURGE, Surge

GPU = "nvidia.com/gpu"


def node(name, gpus, **spec):
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"allocatable": {"cpu": "8", GPU: str(gpus), "hugepages-2Mi": "0"}},
    }


def pod(on, gpus, phase="Running"):
    return {
        "spec": {"nodeName": on, "containers": [{"resources": {"limits": {GPU: str(gpus)}}}]},
        "status": {"phase": phase},
    }


def quota(hard, used):
    key = f"requests.{GPU}"
    return {"metadata": {"name": "gpus"}, "status": {"hard": {key: hard}, "used": {key: used}}}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {"resources": {"limits": {GPU: "2", "cpu": "1"}}}}, {GPU: 2}),
        ({"containers": [{"resources": {"requests": {"amd.com/gpu": 1}}}]}, {"amd.com/gpu": 1}),
        ({"template": {"containers": [{"resources": {"limits": {GPU: 1}}}] * 2}}, {GPU: 2}),
        ({"model": {"storageUri": "hf://m"}}, {}),
    ],
)
def test_the_demand_of_a_pod(content, found):
    assert demand_of(content) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"model": {"storageUri": "hf://m"}}, {GPU: 1, "amd.com/gpu": 1}),
        ({"model": {"resources": {"limits": {GPU: 4, "cpu": 1}}}}, {GPU: 4, "amd.com/gpu": 1}),
        ({"model": {"resources": {"limits": {GPU: 0}}}}, {"amd.com/gpu": 1}),
        ({"containers": [{"name": "side", "resources": {"limits": {GPU: 2}}}]}, {GPU: 3, "amd.com/gpu": 1}),
    ],
)
def test_the_demand_of_a_pod_whose_runtime_asks_for_accelerators(content, found):
    server = {"name": "kserve-container", "resources": {"limits": {GPU: "1", "cpu": "2"}, "requests": {GPU: "1"}}}
    beside = {"name": "side", "resources": {"requests": {"amd.com/gpu": "1"}}}
    assert demand_of(content, [server, beside]) == found


@pytest.mark.parametrize(
    ("nodes", "pods", "quotas", "text"),
    [
        ([node("a", 4)], [pod("a", 2)], [], ""),
        ([node("a", 4)], [pod("a", 3)], [], "1 pods with 2 nvidia.com/gpu each needed, there is room for 0 on 1 nodes"),
        ([node("a", 4)], [pod("a", 3, "Succeeded")], [], ""),
        ([node("a", 1), node("b", 1)], [], [], "there is room for 0 on 2 nodes"),
        ([node("a", 4, unschedulable=True)], [], [], "there is room for 0 on 0 nodes"),
        ([node("a", 4)], [], [quota("8", "7")], "2 nvidia.com/gpu needed, ResourceQuota gpus leaves 1"),
        ([node("a", 4)], [], [quota("8", "6")], ""),
        ([node("a", 4)], [], [quota("1k", "6")], ""),
        ([node("a", 4)], [], [quota("1k", "999")], "ResourceQuota gpus leaves 1"),
        ([node("a", "1k")], [], [], ""),
        ([node("a", "many")], [], [], "there is room for 0 on 1 nodes"),
    ],
)
def test_room_on_nodes_and_in_quotas(nodes, pods, quotas, text):
    found = shortage({GPU: 2}, 1, free=free_of(nodes, pods), quotas=quotas)
    assert text in found
    assert bool(found) is bool(text)


CLASS, DRIVER = "gpu", "gpu.example.com"


def device_class(expression=f'device.driver == "{DRIVER}" && device.attributes["x"].big'):
    return {"metadata": {"name": CLASS}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}


def resource_slice(node, *names, pool=""):
    devices_ = [{"name": name} for name in names]
    return {"spec": {"driver": DRIVER, "nodeName": node, "pool": {"name": pool or node}, "devices": devices_}}


def claim(pool, device):
    result = {"driver": DRIVER, "pool": pool, "device": device, "request": "r"}
    return {"status": {"allocation": {"devices": {"results": [result]}}}}


def claim_template(*requests):
    return {"metadata": {"name": "two"}, "spec": {"spec": {"devices": {"requests": list(requests)}}}}


def test_devices_that_a_pod_claims():
    pod = {
        "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "two"}, {"name": "b", "resourceClaimName": "own"}]
    }
    assert devices.templates_of(pod) == ("two",)
    exactly = {"name": "r", "exactly": {"deviceClassName": CLASS, "count": 2}}
    every = {"name": "s", "exactly": {"deviceClassName": CLASS, "allocationMode": "All"}}
    either = {"name": "t", "firstAvailable": [{"deviceClassName": CLASS}]}
    assert devices.demand_of([claim_template(exactly, every, either)]) == {CLASS: 2}


@pytest.mark.parametrize(
    ("slices", "claims", "classes", "quotas", "text"),
    [
        ([resource_slice("a", "0", "1")], [], [device_class()], [], ""),
        ([resource_slice("a", "0", "1")], [claim("a", "1")], [device_class()], [], "there is room for 0"),
        ([resource_slice("a", "0", "1")], [claim("b", "1")], [device_class()], [], ""),
        ([resource_slice("a", "0"), resource_slice("b", "0")], [], [device_class()], [], "there is room for 0"),
        ([resource_slice("a", "0"), resource_slice("a", "1", pool="more")], [], [device_class()], [], ""),
        ([], [], [device_class("device.attributes['x'].big")], [], ""),
        ([], [], [device_class()], [], "1 pods with 2 devices of class gpu each needed, there is room for 0"),
        (
            [resource_slice("a", "0", "1")],
            [],
            [device_class()],
            [
                {
                    "metadata": {"name": "q"},
                    "status": {
                        "hard": {f"{CLASS}.deviceclass.resource.k8s.io/devices": "1k"},
                        "used": {f"{CLASS}.deviceclass.resource.k8s.io/devices": "999"},
                    },
                }
            ],
            "2 devices of class gpu needed, ResourceQuota q leaves 1",
        ),
    ],
)
def test_room_for_claimed_devices(slices, claims, classes, quotas, text):
    inventory = devices.inventory_of(slices=slices, classes=classes, claims=claims)
    found = devices.shortage({CLASS: 2}, 1, inventory, quotas)
    assert text in found
    assert bool(found) is bool(text)


def cache(uri, **copies):
    return {
        "kind": "LocalModelCache",
        "metadata": {"name": "c"},
        "spec": {"sourceModelUri": uri},
        "status": {"copies": copies},
    }


@pytest.mark.parametrize(
    ("caches", "text"),
    [
        ([], ""),
        ([cache("hf://org/other")], ""),
        ([cache("hf://org/chat-2-large")], ""),
        ([cache("hf://org/chat-2")], "LocalModelCache c has hf://org/chat-2 on 0 of 0 nodes"),
        ([cache("hf://org/chat-2", available=1, total=3, failed=1)], "on 1 of 3 nodes, 1 have failed"),
        ([cache("hf://org/chat-2", available=3, total=3)], ""),
        ([cache("hf://org/", available=1, total=3)], "has hf://org/chat-2 on 1 of 3 nodes"),
    ],
)
def test_models_on_their_way_to_the_nodes(caches, text):
    found = prefetch.missing(("hf://org/chat-2",), caches)
    assert text in found
    assert bool(found) is bool(text)


@pytest.mark.parametrize(
    ("annotation", "conditions", "text"),
    [
        ("hf://org/chat-2 hf://org/other", [], "Job pull has not fetched hf://org/chat-2 yet"),
        ("hf://org/chat-2", [{"type": "Failed", "status": "True"}], "Job pull has failed to fetch hf://org/chat-2"),
        ("hf://org/chat-2", [{"type": "Complete", "status": "True"}], ""),
        ("hf://org/other", [], ""),
        ("", [], ""),
    ],
)
def test_models_that_a_job_fetches(annotation, conditions, text):
    job = {"metadata": {"name": "pull", "annotations": {prefetch.PREFETCHES: annotation}}, "status": {}}
    job["status"]["conditions"] = conditions
    assert prefetch.fetching(("hf://org/chat-2",), [job]) == text


IMAGE_VOLUME = {"name": "model", "image": {"reference": "registry.example/team/chat:2"}}
VLLM = {"name": "server", "image": "vllm/vllm-openai:v0.21", "command": ["vllm", "serve"], "args": ["org/chat-2"]}
PREDICTOR = {"modelFormat": {"name": "huggingface"}}


@pytest.mark.parametrize(
    ("kind", "spec", "found"),
    [
        (
            "LLMInferenceService",
            {"model": {"uri": "hf://m", "lora": {"adapters": [{"uri": "hf://a"}]}}},
            "hf://m hf://a",
        ),
        ("InferenceService", {"predictor": {"model": PREDICTOR, "storageUris": [{"uri": "s3://b/m"}]}}, "s3://b/m"),
        ("InferenceService", {"predictor": {"sklearn": {"storageUri": "s3://b/m"}}}, "s3://b/m"),
        (
            "InferenceService",
            {"predictor": {"model": PREDICTOR, "volumes": [IMAGE_VOLUME]}},
            "registry.example/team/chat:2",
        ),
        ("Deployment", {"template": {"spec": {"containers": [VLLM]}}}, "org/chat-2"),
        (
            "Deployment",
            {
                "template": {
                    "spec": {"containers": [{"name": "server", "image": "r.example/s:1"}], "volumes": [IMAGE_VOLUME]}
                }
            },
            "registry.example/team/chat:2",
        ),
        ("Deployment", {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}}, ""),
    ],
)
def test_all_models_of_a_revision_count_as_they_are_spelled(kind, spec, found):
    versions = {"Deployment": "apps/v1", "InferenceService": "serving.kserve.io/v1beta1"}
    metadata = {"name": "chat", "namespace": "ml"}
    obj = {
        "apiVersion": versions.get(kind, "serving.kserve.io/v1alpha1"),
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }
    assert prefetch.uris_of(obj) == tuple(found.split())


@pytest.mark.parametrize(
    ("text", "surge", "fault"),
    [
        (None, None, ""),
        ("one-pod", Surge.ONE_POD, ""),
        ("more", None, "is 'more': use surge, in-place, one-pod, unchecked"),
    ],
)
def test_how_a_canary_may_surge(text, surge, fault):
    raw = {
        "metadata": {"name": "chat", "namespace": "prod", "annotations": {} if text is None else {SURGE: text}},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {}},
    }
    plan = plan_of(Canary.from_object(raw), default_provider="istio", minimum_interval=10)
    assert plan.surge is surge
    assert fault in (plan.fault[1] if plan.fault else "")
