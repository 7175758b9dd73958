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


FORMAT = {"supportedModelFormats": [{"name": "onnx", "autoSelect": True}]}
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
        [isvc(), isvc("other", storageUri="s3://b/mm")],
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
    assert (alone.kind, alone.cause) == ("runtime", "commit")


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
