"""Serving resources as whole records: where a change stands, what it says on both sides, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.models.manifests import A, B, compare, container, obj

KSERVE = "serving.kserve.io"
Expected = tuple[str, str, str, str, str | None, str | None, str]
"""Operation, kind, slot, JSONPath, canonical text before and after, action."""


def isvc(predictor: Any, **components: Any) -> dict[str, Any]:
    return obj(f"{KSERVE}/v1beta1", "InferenceService", {"predictor": predictor, **components}, "chat")


def model(**fields: Any) -> dict[str, Any]:
    return isvc({"model": fields})


def stored(**storage: Any) -> dict[str, Any]:
    return model(storage=storage)


def token(secret: str) -> list[Any]:
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "t"}}}]


def claimed(name: str) -> dict[str, Any]:
    return {"volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": name}}]}


def explainer(**art: Any) -> dict[str, Any]:
    return isvc({}, explainer={"art": art})


def alpha(kind: str, **spec: Any) -> dict[str, Any]:
    return obj(f"{KSERVE}/v1alpha1", kind, spec, "one")


def graph(*steps: Any) -> dict[str, Any]:
    return alpha("InferenceGraph", nodes={"root": {"steps": list(steps)}})


def artifacts(*uris: str) -> dict[str, Any]:
    return isvc({"storageUris": [{"uri": uri} for uri in uris]})


def pod(image: str, revision: str) -> dict[str, Any]:
    return obj("v1", "Pod", {"containers": [container("vllm", image, args=["org/m", "--revision", revision])]}, "p")


def ome(image: str) -> dict[str, Any]:
    return obj("ome.io/v1beta1", "ClusterServingRuntime", {"engineConfig": {"runner": {"image": image}}}, "srt")


def lws(replicas: int, size: int) -> dict[str, Any]:
    spec = {"replicas": replicas, "leaderWorkerTemplate": {"size": size, "workerTemplate": {"spec": {}}}}
    return obj("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", spec)


def workers(**replicas: int) -> dict[str, Any]:
    groups = [{"groupName": name, "replicas": count} for name, count in replicas.items()]
    return obj("ray.io/v1", "RayCluster", {"workerGroupSpecs": groups})


def role(replicas: int) -> dict[str, Any]:
    spec = {"roles": [{"name": "decode", "replicas": replicas}]}
    return obj("orchestration.aibrix.ai/v1alpha1", "StormService", {"template": {"spec": spec}})


def needs(key: str, value: str) -> str:
    expression = {"key": key, "operator": "In", "values": [value]}
    return json.dumps({"nodeSelectorTerms": [{"matchExpressions": [expression]}]}, separators=(",", ":"))


def nodes(key: str, value: str) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": json.loads(needs(key, value))}
    return {"affinity": {"nodeAffinity": required}}


CUT = {"pipelineParallelSize": 2, "tensorParallelSize": 2}
NODES = "$.spec.predictor.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
STORAGE = "$.spec.predictor.model.storage"
S3 = {"type": "s3", "bucket": "b"}
TABLE: list[tuple[str, Any, Any, list[Expected]]] = [
    ("another path below a storage key", stored(key="k", path="a"), stored(key="k", path="b"),
     [("changed", "model", "predictor.model", f"{STORAGE}.path", "storage-key:///a", "storage-key:///b", "rollout")]),
    ("another storage key", stored(key="k1", path="a"), stored(key="k2", path="a"),
     [("changed", "credential", "predictor.storage.key", f"{STORAGE}.key", "k1", "k2", "apply")]),
    ("another path in a bucket that parameters name",
     stored(key="k", path="a", parameters=S3), stored(key="k", path="b/", parameters=S3),
     [("changed", "model", "predictor.model", f"{STORAGE}.path", "s3://b/a", "s3://b/b", "rollout")]),
    ("another bucket in the parameters", stored(path="a", parameters=S3),
     stored(path="a", parameters={**S3, "bucket": "c"}),
     [("changed", "model", "predictor.model", f"{STORAGE}.path", "s3://b/a", "s3://c/a", "rollout")]),
    ("another server in the parameters",
     stored(path="a", parameters=S3), stored(path="a", parameters={**S3, "endpoint_url": "https://u:p@s3.example"}),
     [("changed", "model", "predictor.model", f"{STORAGE}.path", "s3://b/a",
       "s3://b/a?endpoint=https://***@s3.example", "rollout")]),
    ("a file system in the parameters",
     stored(path="a", parameters={"type": "hdfs"}), stored(path="a", parameters={"type": "webhdfs"}),
     [("changed", "model", "predictor.model", f"{STORAGE}.path", "hdfs://a", "webhdfs://a", "rollout")]),
    ("the address of a storage key written out", stored(key="k", path="a", parameters=S3), model(storageUri="s3://b/a"),
     [("changed", "model", "predictor.model", "$.spec.predictor.model.storageUri", "s3://b/a", "s3://b/a", "rollout"),
      ("removed", "credential", "predictor.storage.key", f"{STORAGE}.key", "k", None, "apply")]),
    ("another version of a format",
     model(modelFormat={"name": "a", "version": "1"}), model(modelFormat={"name": "a", "version": "2"}),
     [("changed", "config", "predictor.modelFormat.version", "$.spec.predictor.model.modelFormat.version", "1", "2",
       "rollout")]),
    ("the newer form of the same", isvc({"sklearn": {"storageUri": "s3://b/m"}}),
     model(modelFormat={"name": "sklearn"}, storageUri="s3://b/m"), []),
    ("another explainer", explainer(type="SquareAttack"), explainer(type="Other"),
     [("changed", "config", "explainer.type", "$.spec.explainer.art.type", "SquareAttack", "Other", "rollout")]),
    ("another key of the broker",
     model(confidential={"resourceId": "kbs:///a"}), model(confidential={"resourceId": "kbs:///b"}),
     [("changed", "credential", "predictor.confidential", "$.spec.predictor.model.confidential.resourceId",
       "key-broker:kbs:///a", "key-broker:kbs:///b", "apply")]),
    ("another token of the model block", model(env=token("a")), model(env=token("b")),
     [("changed", "credential", "predictor.env[HF_TOKEN]", "$.spec.predictor.model.env[0]", "secret://ml/a#t",
       "secret://ml/b#t", "apply")]),
    ("an address without a scheme is none", model(storageUri="s3://b/m"), model(storageUri="org/m"),
     [("changed", "model", "predictor.model", "$.spec.predictor.model.storageUri", "s3://b/m", "org/m", "rollout")]),
    ("another claim", isvc(claimed("a")), isvc(claimed("b")),
     [("changed", "model", "predictor.volume[weights]",
       "$.spec.predictor.volumes[0].persistentVolumeClaim.claimName", "pvc://a", "pvc://b", "rollout")]),
    ("another revision beside another artifact with one mount",
     artifacts(f"hf://o/a:{A}", "s3://b/c"), artifacts("s3://b/c", f"hf://o/a:{B}"),
     [("changed", "model", "predictor.model[/mnt/models:hf://o/a]", "$.spec.predictor.storageUris[1].uri",
       f"hf://o/a@{A}", f"hf://o/a@{B}", "rollout")]),
    ("another artifact beside one with the same mount", artifacts("s3://b/a", "s3://b/c"),
     artifacts("s3://b/a", "s3://b/d"),
     [("changed", "model", "predictor.model[/mnt/models:s3://b/d]", "$.spec.predictor.storageUris[1].uri",
       "s3://b/c", "s3://b/d", "rollout")]),
    ("other revisions of two folders of the hub with one mount",
     artifacts(f"hf://o/a:{A}/x", f"hf://o/a:{A}/y"), artifacts(f"hf://o/a:{B}/x", f"hf://o/a:{B}/y"),
     [("changed", "model", f"predictor.model[/mnt/models:hf://o/a/{part}]",
       f"$.spec.predictor.storageUris[{number}].uri", f"hf://o/a@{A}/{part}", f"hf://o/a@{B}/{part}", "rollout")
      for number, part in enumerate("xy")]),
    ("artifacts with one mount in another order", artifacts("s3://b/a", "s3://c"), artifacts("s3://c", "s3://b/a"), []),
    ("memory of a trained model, which KServe takes once",
     alpha("TrainedModel", model={"memory": "1Gi"}), alpha("TrainedModel", model={"memory": "2Gi"}),
     [("changed", "scale", "memory", "$.spec.model.memory", "1Gi", "2Gi", "recreate")]),
    ("formats of a runtime",
     alpha("ServingRuntime", supportedModelFormats=[{"name": "a"}, {"name": "b", "version": "1", "autoSelect": True}]),
     alpha("ServingRuntime", supportedModelFormats=[{"name": "b", "version": "2", "autoSelect": True, "priority": 1}]),
     [("changed", "runtime", "supportedModelFormats", "$.spec.supportedModelFormats", "a,b:1 auto", "b:2 auto 1",
       "rollout")]),
    ("a runtime that is no longer offered",
     alpha("ServingRuntime", disabled=False), alpha("ServingRuntime", disabled=True),
     [("changed", "runtime", "disabled", "$.spec.disabled", "false", "true", "rollout")]),
    ("another service of a step", graph({"name": "s", "serviceName": "a"}), graph({"name": "s", "serviceName": "b"}),
     [("changed", "runtime", "node[root].step[s]", "$.spec.nodes.root.steps[0].serviceName", "inferenceservice:a",
       "inferenceservice:b", "rollout")]),
    ("another address of a step",
     graph({"name": "s", "serviceUrl": "http://a/v1"}), graph({"name": "s", "serviceUrl": "http://b/v1"}),
     [("changed", "runtime", "node[root].step[s]", "$.spec.nodes.root.steps[0].serviceUrl", "http://a/v1",
       "http://b/v1", "rollout")]),
    ("base configs in another order",
     alpha("LLMInferenceService", baseRefs=[{"name": "a"}, {"name": "b"}]),
     alpha("LLMInferenceService", baseRefs=[{"name": "b"}, {"name": "a"}]),
     [("changed", "runtime", "baseRefs", "$.spec.baseRefs", "a,b", "b,a", "rollout")]),
    ("another version folder of Seldon",
     obj("mlops.seldon.io/v1alpha1", "Model", {"storageUri": "gs://b/m", "artifactVersion": 1, "memory": "1Gi"}, "m"),
     obj("mlops.seldon.io/v1alpha1", "Model", {"storageUri": "gs://b/m", "artifactVersion": 2, "memory": "2Gi"}, "m"),
     [("changed", "scale", "memory", "$.spec.memory", "1Gi", "2Gi", "apply"),
      ("changed", "model", "model", "$.spec.storageUri", "gs://b/m#version=1", "gs://b/m#version=2", "hot-reload")]),
    ("the model is cut otherwise", isvc({"workerSpec": CUT}), isvc({"workerSpec": {**CUT, "tensorParallelSize": 4}}),
     [("changed", "config", "predictor.worker.tensorParallelSize", "$.spec.predictor.workerSpec.tensorParallelSize",
       "2", "4", "rollout")]),
    ("a runtime cuts it otherwise",
     alpha("ServingRuntime", workerSpec=CUT), alpha("ServingRuntime", workerSpec={**CUT, "pipelineParallelSize": 4}),
     [("changed", "runtime", "worker.pipelineParallelSize", "$.spec.workerSpec.pipelineParallelSize", "2", "4",
       "rollout")]),
    ("more pods for one server", lws(1, 2), lws(1, 4),
     [("changed", "scale", "size", "$.spec.leaderWorkerTemplate.size", "2", "4", "rollout")]),
    ("more servers of several pods", lws(1, 2), lws(2, 2),
     [("changed", "scale", "replicas", "$.spec.replicas", "1", "2", "apply")]),
    ("more pods of one group", workers(a=1, b=1), workers(a=1, b=2),
     [("changed", "scale", "worker[b].replicas", "$.spec.workerGroupSpecs[1].replicas", "1", "2", "apply")]),
    ("more pods of one role", role(1), role(2),
     [("changed", "scale", "role[decode].replicas", "$.spec.template.spec.roles[0].replicas", "1", "2", "apply")]),
    ("another accelerator by affinity", isvc(nodes("gpu.product", "A100")), isvc(nodes("gpu.product", "H100")),
     [("changed", "scale", "predictor.nodeAffinity", NODES, needs("gpu.product", "A100"), needs("gpu.product", "H100"),
       "rollout")]),
    ("another zone by affinity", isvc(nodes("zone", "a")), isvc(nodes("zone", "b")),
     [("changed", "scale", "predictor.nodeAffinity", NODES, needs("zone", "a"), needs("zone", "b"), "apply")]),
    ("another engine of a runtime of OME", ome("r:1"), ome("r:2"),
     [("changed", "runtime", "engine.container[runner].image", "$.spec.engineConfig.runner.image",
       "oci://docker.io/library/r:1", "oci://docker.io/library/r:2", "rollout")]),
    ("a Pod takes no other arguments", pod("vllm/vllm-openai:v1", A), pod("vllm/vllm-openai:v1", B),
     [("changed", "model", "container[vllm].model", "$.spec.containers[0].args[0]", f"hf://org/m@{A}", f"hf://org/m@{B}",
       "recreate")]),
    ("a Pod takes another image", pod("vllm/vllm-openai:v1", A), pod("vllm/vllm-openai:v2", A),
     [("changed", "code-image", "container[vllm].image", "$.spec.containers[0].image",
       "oci://docker.io/vllm/vllm-openai:v1", "oci://docker.io/vllm/vllm-openai:v2", "rollout")]),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "old", "new", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_one_change_makes_these_records(_name: str, old: Any, new: Any, expected: list[Expected]) -> None:
    found = [
        (r.op, r.kind, r.slot, r.location.json_path, r.old and r.old.canonical, r.new and r.new.canonical, r.action)
        for r in compare([old], [new])
    ]
    assert found == expected


def test_what_a_secret_completes_is_spelled_as_written_and_says_so() -> None:
    (record,) = compare([stored(key="k", path="a/")], [stored(key="k", path="b/?versionId=1", parameters=S3)])
    assert record.old is not None
    assert record.new is not None
    assert [(ref.spelling, ref.pinned, ref.unresolved) for ref in (record.old, record.new)] == [
        ("a/", False, "secret-keyed"),
        ("b/?versionId=1", False, "secret-keyed"),
    ]


def test_a_claim_is_spelled_as_written() -> None:
    (record,) = compare([isvc(claimed("a"))], [isvc(claimed("b"))])
    assert record.new is not None
    assert record.new.spelling == "b"


@pytest.mark.parametrize("value", ["org/m", 7, True, "  "])
def test_what_is_no_address_of_kserve_is_no_hub_id(value: object) -> None:
    (record,) = compare([model(storageUri="s3://b/m")], [model(storageUri=value)])
    assert record.new is not None
    assert (record.new.scheme, record.new.unresolved) == ("unknown", "malformed")


def test_a_version_folder_is_the_version_of_the_reference() -> None:
    old, new = (
        obj("mlops.seldon.io/v1alpha1", "Model", {"storageUri": "gs://b/m", "artifactVersion": n}) for n in "12"
    )
    (record,) = compare([old], [new])
    assert record.new is not None
    assert record.new.identity is not None
    assert (record.new.spelling, record.new.identity.version, record.new.pinned) == ("gs://b/m", "2", False)
