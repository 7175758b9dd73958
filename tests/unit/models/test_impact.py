"""Who a change reaches: the edges of the impact graph, one by one."""

from typing import Any

import pytest

from agent.core.models import Blob, FileChange
from tests.unit.models.manifests import compare, config_map, container, deployment, obj, secret, vllm

KSERVE = "serving.kserve.io/v1beta1"
ALPHA = "serving.kserve.io/v1alpha1"


def runtime(image: str, name: str = "rt", **spec: Any) -> dict[str, Any]:
    return obj(ALPHA, "ServingRuntime", {"containers": [container("kserve-container", image)], **spec}, name)


def isvc(name: str = "chat", **model: Any) -> dict[str, Any]:
    return obj(KSERVE, "InferenceService", {"predictor": {"model": {"storageUri": "s3://b/m", **model}}}, name)


def cluster(kind: str, image: str) -> dict[str, Any]:
    spec = {"containers": [container("c", image)], "container": container("c", image)}
    return {"apiVersion": ALPHA, "kind": kind, "metadata": {"name": "shared"}, "spec": spec}


def elsewhere(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "x"}}


def canary(name: str, kind: str = "Deployment") -> dict[str, Any]:
    return obj("flagger.app/v1beta1", "Canary", {"targetRef": {"kind": kind, "name": name}}, name)


def nim(cache: str) -> dict[str, Any]:
    return obj("apps.nvidia.com/v1alpha1", "NIMService", {"storage": {"nimCache": {"name": cache}}}, "nim")


def cache(puller: str) -> dict[str, Any]:
    return obj("apps.nvidia.com/v1alpha1", "NIMCache", {"source": {"ngc": {"modelPuller": puller}}}, "weights")


def training(image: str) -> dict[str, Any]:
    job = {"name": "node", "template": {"spec": {"template": {"spec": {"containers": [container("node", image)]}}}}}
    spec = {"template": {"spec": {"replicatedJobs": [job]}}}
    return obj("trainer.kubeflow.org/v1alpha1", "TrainingRuntime", spec, "torch")


def with_env(**fields: Any) -> dict[str, Any]:
    return deployment(container(**fields))


ONNX = {"name": "onnx"}
FORMAT = {"supportedModelFormats": [{**ONNX, "autoSelect": True}]}
SELDON = "mlops.seldon.io/v1alpha1"
CASES = [
    ("a runtime by name", [runtime("a:1")], [runtime("a:2")], [isvc(runtime="rt")], {"InferenceService/ml/chat"}),
    (
        "a runtime by the format of the model",
        [runtime("a:1", **FORMAT)],
        [runtime("a:2", **FORMAT)],
        [isvc(modelFormat={"name": "onnx"}), isvc("other", modelFormat={"name": "sklearn"})],
        {"InferenceService/ml/chat"},
    ),
    (
        "through a service to those that use it",
        [runtime("a:1")],
        [runtime("a:2")],
        [
            isvc(runtime="rt"),
            obj(ALPHA, "InferenceGraph", {"nodes": {"root": {"steps": [{"serviceName": "chat"}]}}}, "graph"),
            obj(ALPHA, "TrainedModel", {"inferenceService": "chat", "model": {"storageUri": "s3://b/t"}}, "trained"),
        ],
        {"InferenceService/ml/chat", "InferenceGraph/ml/graph", "TrainedModel/ml/trained"},
    ),
    (
        "a configuration of LLM services",
        [obj(ALPHA, "LLMInferenceServiceConfig", {"model": {"uri": "hf://a/b"}}, "base")],
        [obj(ALPHA, "LLMInferenceServiceConfig", {"model": {"uri": "hf://a/c"}}, "base")],
        [obj(ALPHA, "LLMInferenceService", {"baseRefs": [{"name": "base"}]}, "llm")],
        {"LLMInferenceService/ml/llm"},
    ),
    (
        "a base model of the cluster that kustomize has put into a namespace",
        [obj("ome.io/v1beta1", "ClusterBaseModel", {"storage": {"storageUri": "hf://a/b"}}, "base")],
        [obj("ome.io/v1beta1", "ClusterBaseModel", {"storage": {"storageUri": "hf://a/c"}}, "base")],
        [obj("ome.io/v1beta1", "InferenceService", {"model": {"name": "base"}}, "chat")],
        {"InferenceService/ml/chat"},
    ),
    (
        "a runtime of training jobs",
        [training("a:1")],
        [training("a:2")],
        [obj("trainer.kubeflow.org/v1alpha1", "TrainJob", {"runtimeRef": {"name": "torch"}}, "run")],
        {"TrainJob/ml/run"},
    ),
    ("a NIM cache", [cache("a:1")], [cache("a:2")], [nim("weights")], {"NIMService/ml/nim"}),
    (
        "a Seldon model in a pipeline in an experiment",
        [obj(SELDON, "Model", {"storageUri": "gs://b/a"}, "m")],
        [obj(SELDON, "Model", {"storageUri": "gs://b/b"}, "m")],
        [
            obj(SELDON, "Pipeline", {"steps": [{"name": "m"}]}, "p"),
            obj(SELDON, "Experiment", {"resourceType": "pipeline", "candidates": [{"name": "p", "weight": 1}]}, "e"),
        ],
        {"Pipeline/ml/p", "Experiment/ml/e"},
    ),
    (
        "a base model of OME",
        [obj("ome.io/v1beta1", "BaseModel", {"storage": {"storageUri": "hf://a/b"}}, "base")],
        [obj("ome.io/v1beta1", "BaseModel", {"storage": {"storageUri": "hf://a/c"}}, "base")],
        [obj("ome.io/v1beta1", "InferenceService", {"model": {"name": "base"}}, "llm"), isvc("base")],
        {"InferenceService/ml/llm"},
    ),
    (
        "a ConfigMap in the environment",
        [config_map({"A": "1"})],
        [config_map({"A": "2"})],
        [with_env(envFrom=[{"configMapRef": {"name": "settings"}}])],
        {"Deployment/ml/chat"},
    ),
    (
        "a Secret in a volume",
        [secret({"A": "1"})],
        [secret({"A": "2"})],
        [deployment(container(), volumes=[{"name": "v", "secret": {"secretName": "credentials"}}])],
        {"Deployment/ml/chat"},
    ),
    (
        "a container that fetches an address",
        [obj(ALPHA, "ClusterStorageContainer", {"container": container(image="a:1"), "supportedUriFormats": [{"regex": "s3://(a+)+$"}]})],
        [obj(ALPHA, "ClusterStorageContainer", {"container": container(image="a:2"), "supportedUriFormats": [{"regex": "s3://(a+)+$"}]})],
        [isvc(), isvc("other", storageUri="gs://b/m")],
        {"InferenceService/ml/chat"},
    ),
    (
        "a cache of an address",
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/m", "modelSize": "1Gi"}, "c")],
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/m/", "modelSize": "2Gi"}, "c")],
        [isvc(), isvc("below", storageUri="s3://b/m/v1"), isvc("other", storageUri="s3://b/mm")],
        {"InferenceService/ml/chat", "InferenceService/ml/below"},
    ),
    (
        "a cache that served another address",
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/m"}, "c")],
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/n"}, "c")],
        [isvc(), isvc("other", storageUri="s3://b/o")],
        {"InferenceService/ml/chat"},
    ),
    (
        "an address of whatever loads it",
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/m", "modelSize": "1Gi"}, "c")],
        [obj(ALPHA, "LocalModelCache", {"sourceModelUri": "s3://b/m", "modelSize": "2Gi"}, "c")],
        [
            obj(KSERVE, "InferenceService", {"predictor": {"sklearn": {"storageUri": "s3://b/m"}}}, "framework"),
            obj(KSERVE, "InferenceService", {"predictor": {"storageUris": [{"uri": "s3://b/m"}]}}, "several"),
            obj(KSERVE, "InferenceService", {"canary": [{"predictor": {"model": {"storageUri": "s3://b/m"}}}]}, "c"),
            obj(ALPHA, "LLMInferenceService", {"model": {"uri": "s3://b/m"}}, "llm"),
            obj(ALPHA, "LLMInferenceService", {"model": {"lora": {"adapters": [{"uri": "s3://b/m/a"}]}}}, "adapted"),
            obj(ALPHA, "LLMInferenceService", {"model": {"uri": "s3://b/o"}}, "other"),
        ],
        {
            "InferenceService/ml/framework", "InferenceService/ml/several", "InferenceService/ml/c",
            "LLMInferenceService/ml/llm", "LLMInferenceService/ml/adapted",
        },
    ),
    (
        "a container that no longer fetches an address",
        [obj(ALPHA, "ClusterStorageContainer", {"supportedUriFormats": [{"prefix": "s3:"}, {"prefix": "x:"}]}, "f")],
        [obj(ALPHA, "ClusterStorageContainer", {"supportedUriFormats": [{"prefix": "x:"}]}, "f")],
        [isvc(), isvc("other", storageUri="gs://b/m")],
        {"InferenceService/ml/chat"},
    ),
    (
        "a container by name",
        [cluster("ClusterStorageContainer", "a:1")],
        [cluster("ClusterStorageContainer", "a:2")],
        [obj(KSERVE, "InferenceService", {"predictor": {"storageContainerName": "shared"}}, "chat"), isvc("other")],
        {"InferenceService/ml/chat"},
    ),
    (
        "a runtime by the format of a framework's field, and of a canary",
        [runtime("a:1", **FORMAT)],
        [runtime("a:2", **FORMAT)],
        [
            obj(KSERVE, "InferenceService", {"predictor": {"onnx": {"storageUri": "s3://b/m"}}}, "chat"),
            obj(KSERVE, "InferenceService", {"predictor": {"sklearn": {"storageUri": "s3://b/m"}}}, "other"),
            obj(KSERVE, "InferenceService", {"canary": [{"predictor": {"model": {"modelFormat": ONNX}}}]}, "c"),
        ],
        {"InferenceService/ml/chat", "InferenceService/ml/c"},
    ),
    (
        "a runtime of the cluster that kustomize put into a namespace",
        [elsewhere({**runtime("a:1", **FORMAT), "kind": "ClusterServingRuntime"})],
        [elsewhere({**runtime("a:2", **FORMAT), "kind": "ClusterServingRuntime"})],
        [isvc(modelFormat={"name": "onnx"})],
        {"InferenceService/ml/chat"},
    ),
    (
        "a format that a runtime no longer offers",
        [runtime("a:1", **FORMAT)],
        [runtime("a:1", supportedModelFormats=[{"name": "onnx"}])],
        [isvc(modelFormat={"name": "onnx"})],
        {"InferenceService/ml/chat"},
    ),
    (
        "a runtime of the cluster behind one of the namespace",
        [cluster("ClusterServingRuntime", "a:1")],
        [cluster("ClusterServingRuntime", "a:2")],
        [runtime("b:1", "shared"), isvc(runtime="shared"), elsewhere(isvc("far", runtime="shared"))],
        {"InferenceService/x/far"},
    ),
    (
        "the Secret that storage keys are entries of",
        [secret({"k": "1"}, "storage-config")],
        [secret({"k": "2"}, "storage-config")],
        [isvc(storageUri=None, storage={"key": "k", "path": "m"}), isvc("other")],
        {"InferenceService/ml/chat"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "old", "new", "around", "reached"), CASES, ids=[case[0] for case in CASES])
def test_a_change_reaches_those_who_use_the_object(
    _name: str, old: list[Any], new: list[Any], around: list[Any], reached: set[str]
) -> None:
    kind = new[0]["kind"]
    records = [r for r in compare([*old, *around], [*new, *around]) if r.object.kind == kind]
    assert records
    for record in records:
        assert set(record.impact.objects) == reached


def test_a_runtime_reaches_services_only_when_they_are_reconciled() -> None:
    (record,) = compare([runtime("a:1"), isvc(runtime="rt")], [runtime("a:2"), isvc(runtime="rt")])
    assert (record.kind, record.cause) == ("runtime", "runtime-indirect")
    (alone,) = compare([runtime("a:1")], [runtime("a:2")])
    assert (alone.kind, alone.cause) == ("runtime", "runtime-indirect")


def test_the_services_of_a_new_runtime_are_the_commit_s_own() -> None:
    (added,) = compare([], [runtime("a:1")])
    assert (added.op, added.cause) == ("added", "commit")
    around = obj(ALPHA, "InferenceGraph", {"nodes": {"root": {"steps": [{"serviceName": "chat"}]}}}, "graph")
    (chosen,) = compare([isvc(runtime="a"), around], [isvc(runtime="b"), around])
    assert (chosen.kind, chosen.cause, chosen.impact.objects) == ("runtime", "commit", ("InferenceGraph/ml/graph",))


def test_the_canaries_of_those_who_are_reached_are_named() -> None:
    around = [with_env(envFrom=[{"configMapRef": {"name": "settings"}}]), canary("chat"), canary("other")]
    records = compare([config_map({"A": "1"}), *around], [config_map({"A": "2"}), *around])
    assert {record.impact.canaries for record in records} == {("Canary/ml/chat",)}


def test_circles_of_uses_end() -> None:
    def graph(name: str, step: str, uri: str) -> list[dict[str, Any]]:
        return [
            obj(SELDON, "Model", {"storageUri": uri, "explainer": {"pipelineRef": step}}, name),
            obj(SELDON, "Pipeline", {"steps": [{"name": name}]}, step),
        ]

    (record,) = compare(graph("m", "p", "gs://b/a"), graph("m", "p", "gs://b/b"))
    assert record.impact.objects == ("Pipeline/ml/p",)


def test_evidence_asks_for_the_gates_again_also_when_it_is_new() -> None:
    (record,) = compare([vllm("org/m")], [vllm("org/m")], [FileChange("evals/a/r.json", None, Blob(b"{}"))])
    assert (record.kind, record.op, record.action) == ("provenance", "added", "gate")
