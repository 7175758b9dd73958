"""Which objects an object uses, by the names that it holds: the edges of the impact graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from agent.core.models.rendered import Object
from agent.core.objects import ObjectKey, split_api_version

Edge = Callable[[Object, str], Iterable[ObjectKey]]
"""(object, its namespace) -> what it uses."""

_KSERVE: Final = "serving.kserve.io"
_SELDON: Final = "mlops.seldon.io"
_NIM: Final = "apps.nvidia.com"
_STORAGE_SECRET: Final = "serving.kserve.io/storageSecretName"  # noqa: S105 - an annotation
_DEFAULT_STORAGE_SECRET: Final = "storage-config"  # noqa: S105 - a name
_OME: Final = "ome.io"
_TRAINER: Final = "trainer.kubeflow.org"

_POD_FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("configMap", "name"): "ConfigMap",
    ("configMapRef", "name"): "ConfigMap",
    ("configMapKeyRef", "name"): "ConfigMap",
    ("secret", "secretName"): "Secret",
    ("secret", "name"): "Secret",
    ("secretRef", "name"): "Secret",
    ("secretKeyRef", "name"): "Secret",
    ("persistentVolumeClaim", "claimName"): "PersistentVolumeClaim",
}
"""(field, field within) of volumes and environments -> the kind that it names."""


def used_by(obj: Object) -> Iterator[ObjectKey]:
    """The keys of all objects that *obj* names as something it uses."""
    group, _ = split_api_version(obj["apiVersion"])
    namespace = str(obj["metadata"].get("namespace") or "")
    edge = EDGES.get((group, obj["kind"]))
    if edge is not None:
        yield from edge(obj, namespace)
    if obj["kind"] not in {"ConfigMap", "Secret"}:
        yield from _of_pods(obj.get("spec"), namespace)


def _of_pods(spec: Any, namespace: str) -> Iterator[ObjectKey]:
    """ConfigMaps, Secrets and claims in volumes and environments, wherever the pod spec stands."""
    pending, seen = [spec], set[int]()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue  # aliases of aliases grow without bound
        seen.add(id(value))
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, Mapping):
            for field, inner in value.items():
                pending.append(inner)
                if not isinstance(inner, Mapping):
                    continue
                for within in ("name", "secretName", "claimName"):
                    kind = _POD_FIELDS.get((str(field), within))
                    if kind is not None and isinstance(inner.get(within), str):
                        yield ObjectKey("", kind, namespace, inner[within])


def _inference_service(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    for component in components(obj):
        runtime = _at(component, "model", "runtime")
        if isinstance(runtime, str):
            yield ObjectKey(_KSERVE, "ServingRuntime", namespace, runtime)
            yield ObjectKey(_KSERVE, "ClusterServingRuntime", "", runtime)
        container = component.get("storageContainerName")
        if isinstance(container, str):
            yield ObjectKey(_KSERVE, "ClusterStorageContainer", "", container)
        if any(_at(block, "storage") for block in component.values()):
            secret = _at(obj, "metadata", "annotations", _STORAGE_SECRET) or _DEFAULT_STORAGE_SECRET
            yield ObjectKey("", "Secret", namespace, str(secret))


def components(service: Object) -> Iterator[Mapping[str, Any]]:
    """Predictor, transformer, explainer and the predictors of canaries of a KServe InferenceService."""
    spec = _at(service, "spec")
    for found in (*(_at(spec, name) for name in ("predictor", "transformer", "explainer")),
                  *(_at(canary, "predictor") for canary in _items(_at(spec, "canary")))):  # fmt: skip
        if isinstance(found, Mapping):
            yield found


def _llm_service(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    for reference in _items(_at(obj, "spec", "baseRefs")):
        yield ObjectKey(_KSERVE, "LLMInferenceServiceConfig", namespace, _name(reference))


def _trained_model(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    yield ObjectKey(_KSERVE, "InferenceService", namespace, str(_at(obj, "spec", "inferenceService") or ""))


def _inference_graph(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    nodes = _at(obj, "spec", "nodes")
    for node in nodes.values() if isinstance(nodes, Mapping) else ():
        for step in _items(_at(node, "steps")):
            yield ObjectKey(_KSERVE, "InferenceService", namespace, str(step.get("serviceName") or ""))


def _nim_service(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    yield ObjectKey(_NIM, "NIMCache", namespace, str(_at(obj, "spec", "storage", "nimCache", "name") or ""))
    yield ObjectKey("", "PersistentVolumeClaim", namespace, str(_at(obj, "spec", "storage", "pvc", "name") or ""))


def _nim_build(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    yield ObjectKey(_NIM, "NIMCache", namespace, str(_at(obj, "spec", "nimCache", "name") or ""))


def _experiment(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    kind = "Pipeline" if _at(obj, "spec", "resourceType") == "pipeline" else "Model"
    for candidate in (*_items(_at(obj, "spec", "candidates")), {"name": _at(obj, "spec", "mirror", "name")}):
        yield ObjectKey(_SELDON, kind, namespace, _name(candidate))


def _pipeline(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    for step in _items(_at(obj, "spec", "steps")):
        yield ObjectKey(_SELDON, "Model", namespace, _name(step))


def _seldon_model(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    for field in ("explainer", "llm"):
        for reference, kind in (("modelRef", "Model"), ("pipelineRef", "Pipeline")):
            yield ObjectKey(_SELDON, kind, namespace, str(_at(obj, "spec", field, reference) or ""))


def _fine_tuned(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    name = str(_at(obj, "spec", "baseModelRef", "name") or "")
    yield from (ObjectKey(_OME, "BaseModel", namespace, name), ObjectKey(_OME, "ClusterBaseModel", "", name))


def _ome_service(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    name = str(_at(obj, "spec", "model", "name") or "")
    yield from (ObjectKey(_OME, "BaseModel", namespace, name), ObjectKey(_OME, "ClusterBaseModel", "", name))
    runtime = str(_at(obj, "spec", "runtime", "name") or "")
    yield ObjectKey(_OME, "ServingRuntime", namespace, runtime)
    yield ObjectKey(_OME, "ClusterServingRuntime", "", runtime)
    weights = _at(obj, "spec", "model", "fineTunedWeights")
    for weight in weights if isinstance(weights, list) else ():
        yield ObjectKey(_OME, "FineTunedWeight", "", str(weight))


def _kaito(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    inference = _at(obj, "inference")
    options = _at(inference, "preset", "presetOptions")
    yield ObjectKey("", "ConfigMap", namespace, str(_at(inference, "config") or ""))
    yield ObjectKey("", "Secret", namespace, str(_at(options, "modelAccessSecret") or ""))
    yield ObjectKey("", "PersistentVolumeClaim", namespace, str(_at(options, "modelWeightsPVC") or ""))


def _train_job(obj: Object, namespace: str) -> Iterator[ObjectKey]:
    name = str(_at(obj, "spec", "runtimeRef", "name") or "")
    yield ObjectKey(_TRAINER, "TrainingRuntime", namespace, name)
    yield ObjectKey(_TRAINER, "ClusterTrainingRuntime", "", name)


EDGES: Final[Mapping[tuple[str, str], Edge]] = {
    (_KSERVE, "InferenceService"): _inference_service,
    (_KSERVE, "LLMInferenceService"): _llm_service,
    (_KSERVE, "LLMInferenceServiceConfig"): _llm_service,
    (_KSERVE, "TrainedModel"): _trained_model,
    (_KSERVE, "InferenceGraph"): _inference_graph,
    ("kaito.sh", "Workspace"): _kaito,
    (_NIM, "NIMService"): _nim_service,
    (_NIM, "NIMBuild"): _nim_build,
    (_SELDON, "Experiment"): _experiment,
    (_SELDON, "Pipeline"): _pipeline,
    (_SELDON, "Model"): _seldon_model,
    (_OME, "FineTunedWeight"): _fine_tuned,
    (_OME, "InferenceService"): _ome_service,
    (_TRAINER, "TrainJob"): _train_job,
}
"""Edges of kinds that name others in fields of their own."""


def _at(value: Any, *fields: str) -> Any:
    for field in fields:
        if not isinstance(value, Mapping):
            return None
        value = value.get(field)
    return value


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _name(value: Mapping[str, Any]) -> str:
    return str(value.get("name") or "")
