"""KServe: InferenceService, serving runtimes, multi-model and cache resources (group serving.kserve.io)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.core.models.extract import fields, servers
from agent.core.models.extract.container import resource_slots, server_slots
from agent.core.models.extract.mounts import mounts_of
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.seen import POD, Place
from agent.core.models.extract.slot import Context, Extractor, Slot, Trait, at, mapping, mappings, text, texts
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import SECRET_KEYED, Ref, literal, unresolved
from agent.core.models.rendered import Object

GROUP: Final = "serving.kserve.io"
FRAMEWORKS: Final = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle",
)  # fmt: skip
"""Predictor fields of the older form, one per framework."""
DEFAULT_MOUNT: Final = "/mnt/models"


def inference_service(obj: Object, context: Context) -> Iterator[Slot]:
    """Predictor, transformer, explainer and the canaries of standard mode."""
    spec, path = at(obj, "spec")
    for name in ("predictor", "transformer", "explainer"):
        component = mapping(spec, name, path)
        if component:
            yield from _component(component, name, f"{path}.{name}", context)
    for canary, here in mappings(spec, "canary", path):
        component = mapping(canary, "predictor", here)
        label = f"canary[{text(component, 'name', f'{here}.predictor') or 'unnamed'}]"
        yield from _component(component, label, f"{here}.predictor", context)
        if "trafficPercent" in canary:
            percent = literal(text(canary, "trafficPercent", here))
            yield Slot(f"{label}.trafficPercent", "traffic", percent, f"{here}.trafficPercent")


class _Component(NamedTuple):
    """A predictor, transformer or explainer: its fields, the prefix of its slots and its JSONPath."""

    fields: Mapping[str, Any]
    label: str
    path: str


def _component(found: Mapping[str, Any], label: str, path: str, context: Context) -> Iterator[Slot]:
    component = _Component(found, label, path)
    for name in ("model", *FRAMEWORKS, "art"):
        block = mapping(found, name, path)
        if block:
            yield from _block_slots(block, name, component, context)
            break
    yield from _storages(component)
    yield from pod_slots(found, path, context, f"{label}.")
    worker = mapping(found, "workerSpec", path)
    if worker:
        yield from pod_slots(worker, f"{path}.workerSpec", context, f"{label}.worker.")
    yield from _scale(component)


def _block_slots(block: Mapping[str, Any], name: str, component: _Component, context: Context) -> Iterator[Slot]:
    """The model block: what is served, by which runtime, and the container fields that are inlined in it."""
    label, path = component.label, f"{component.path}.{name}"
    uri = text(block, "storageUri", path)
    storage = mapping(block, "storage", path)
    if uri:
        yield Slot(f"{label}.model", "model", parse(uri, Grammar.KSERVE), f"{path}.storageUri", POD)
    elif storage:
        yield Slot(f"{label}.model", "model", _keyed(storage, f"{path}.storage"), f"{path}.storage", POD)
        yield from fields.value((storage, f"{path}.storage"), "schemaPath", f"{label}.schema")
    model_format = mapping(block, "modelFormat", path)
    yield from _runtime(block, model_format, _Component(block, label, path))
    image = text(block, "image", path)
    if image:
        yield Slot(f"{label}.image", "code-image", parse(image, Grammar.IMAGE), f"{path}.image", POD)
    yield from confidential(block, path, f"{label}.confidential")
    hugging_face = "huggingface" in {name, text(model_format, "name", path)}
    assumed = servers.KSERVE_HF if hugging_face else servers.TRITON if name == "triton" else None
    mounts = mounts_of(block, path, component.fields, component.path, context)
    place = Place(label, path, context, mounts, assumed)
    yield from resource_slots(block, place)
    yield from server_slots(block, image, place, model=not (uri or storage))


def confidential(block: Mapping[str, Any], path: str, name: str) -> Iterator[Slot]:
    """Which key opens an encrypted model, and whether one is needed: what is served stays the same."""
    found, here = mapping(block, "confidential", path), f"{path}.confidential"
    resource_id = text(found, "resourceId", here)
    if resource_id:
        ref = unresolved(resource_id, "key-broker", f"key-broker:{resource_id}")
        yield Slot(name, "credential", ref, here, POD)
    yield from fields.value((found, here), "enabled", f"{name}.enabled", "credential", POD)


def _runtime(block: Mapping[str, Any], model_format: Mapping[str, Any], where: _Component) -> Iterator[Slot]:
    label, path = where.label, where.path
    name = path.rpartition(".")[2]
    runtime = text(block, "runtime", path)
    if runtime:
        ref = unresolved(runtime, "object", f"servingruntime:{runtime}")
        yield Slot(f"{label}.runtime", "runtime", ref, f"{path}.runtime", POD)
    version = text(block, "runtimeVersion", path)
    if version:
        ref = unresolved(version, "image-tag", f"image-tag:{version}")
        yield Slot(f"{label}.runtimeVersion", "code-image", ref, f"{path}.runtimeVersion", POD)
    framework = text(model_format, "name", path) or ("" if name in {"model", "art"} else name)
    if framework:
        value = framework + (f":{found}" if (found := text(model_format, "version", path)) else "")
        yield Slot(f"{label}.modelFormat", "config", literal(value), f"{path}.modelFormat", POD | {"output"})
    protocol = text(block, "protocolVersion", path)
    if protocol:
        yield Slot(f"{label}.protocolVersion", "config", literal(protocol), f"{path}.protocolVersion",
                   POD | {"api-name"})  # fmt: skip


def _keyed(storage: Mapping[str, Any], path: str) -> Ref:
    """A model named by an entry of the storage Secret: the Secret's data decides the effective address."""
    parameters = mapping(storage, "parameters", path)
    kind, bucket = text(parameters, "type", path), text(parameters, "bucket", path)
    key = text(storage, "key", path) or text(storage, "storageKey", path) or "default"
    parts = "/".join(part for part in (bucket, text(storage, "path", path).strip("/")) if part)
    canonical = f"storage-key://{key}/{parts}" + (f"?type={kind}" if kind else "")
    return unresolved(canonical, "storage-key", canonical, SECRET_KEYED)


def _storages(component: _Component) -> Iterator[Slot]:
    fields, label, path = component
    for item, here in mappings(fields, "storageUris", path):
        uri = text(item, "uri", here)
        mount = text(item, "mountPath", here) or DEFAULT_MOUNT
        if uri:
            yield Slot(f"{label}.model[{mount}]", "model", parse(uri, Grammar.KSERVE), f"{here}.uri", POD)


def _scale(component: _Component) -> Iterator[Slot]:
    fields, label, path = component
    for field in ("minReplicas", "maxReplicas"):
        if field in fields:
            yield Slot(f"{label}.{field}", "scale", literal(text(fields, field, path)), f"{path}.{field}")
    if "canaryTrafficPercent" in fields:
        percent = literal(text(fields, "canaryTrafficPercent", path))
        yield Slot(f"{label}.canaryTrafficPercent", "traffic", percent, f"{path}.canaryTrafficPercent")
    container = text(fields, "storageContainerName", path)
    if container:
        ref = unresolved(container, "object", f"clusterstoragecontainer:{container}")
        yield Slot(f"{label}.storageContainer", "runtime", ref, f"{path}.storageContainerName", POD)


def serving_runtime(obj: Object, context: Context) -> Iterator[Slot]:
    """A runtime's containers: a change reaches every service that uses it, so all of it is kind ``runtime``."""
    spec, path = at(obj, "spec")
    worker = mapping(spec, "workerSpec", path)
    for pod, here, prefix in ((spec, path, ""), (worker, f"{path}.workerSpec", "worker.")):
        for slot in pod_slots(pod, here, context, prefix):
            yield slot._replace(kind="runtime") if slot.kind in {"code-image", "config"} else slot


def trained_model(obj: Object, _: Context) -> Iterator[Slot]:
    """One model of a multi-model service."""
    model = at(obj, "spec", "model")
    yield from fields.uri(model, "storageUri", "model", grammar=Grammar.KSERVE, traits=fields.HOT)
    yield from fields.value(model, "framework", "framework", traits=frozenset({"output"}))
    yield from fields.value(model, "memory", "memory", "scale", fields.NONE)
    service = at(obj, "spec")
    yield from fields.named(service, "inferenceService", "service", "inferenceservice", traits=fields.NONE)


def local_model_cache(obj: Object, _: Context) -> Iterator[Slot]:
    """A copy of a model on nodes; its source cannot be edited in place."""
    spec = at(obj, "spec")
    traits: frozenset[Trait] = frozenset({"immutable"})
    yield from fields.uri(spec, "sourceModelUri", "model", grammar=Grammar.KSERVE, traits=traits)
    yield from fields.value(spec, "modelSize", "modelSize", "scale", fields.NONE)
    groups = sorted(texts(spec[0], "nodeGroups", spec[1]))
    if groups:
        yield Slot("nodeGroups", "scale", literal(",".join(groups)), f"{spec[1]}.nodeGroups")
    yield from fields.value(at(obj, "spec", "storage"), "key", "storage.key", "credential", fields.NONE)


def storage_container(obj: Object, _: Context) -> Iterator[Slot]:
    """The downloader of a family of URIs: its image and the URIs it claims."""
    spec, path = at(obj, "spec")
    container = mapping(spec, "container", path)
    image = text(container, "image", f"{path}.container")
    if image:
        yield Slot("container.image", "runtime", parse(image, Grammar.IMAGE), f"{path}.container.image")
    formats = sorted(
        text(item, "prefix", here) or text(item, "regex", here)
        for item, here in mappings(spec, "supportedUriFormats", path)
    )
    if formats:
        yield Slot("supportedUriFormats", "runtime", literal(",".join(formats)), f"{path}.supportedUriFormats")


def inference_graph(obj: Object, _: Context) -> Iterator[Slot]:
    """Steps of a graph: services by name and their share of the traffic."""
    nodes, path = at(obj, "spec", "nodes")
    for node in sorted(nodes, key=str):
        here = f"{path}.{node}"
        for step, inner in mappings(mapping(nodes, node, path), "steps", here):
            target = (
                text(step, "serviceName", inner) or text(step, "serviceUrl", inner) or text(step, "nodeName", inner)
            )
            name = text(step, "name", inner) or target
            ref = unresolved(target, "object", f"inferenceservice:{target}")
            yield Slot(f"node[{node}].step[{name}]", "runtime", ref, inner)
            if "weight" in step:
                weight = literal(text(step, "weight", inner))
                yield Slot(f"node[{node}].step[{name}].weight", "traffic", weight, f"{inner}.weight")


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "InferenceService"): inference_service,
    (GROUP, "ServingRuntime"): serving_runtime,
    (GROUP, "ClusterServingRuntime"): serving_runtime,
    (GROUP, "TrainedModel"): trained_model,
    (GROUP, "LocalModelCache"): local_model_cache,
    (GROUP, "LocalModelNamespaceCache"): local_model_cache,
    (GROUP, "ClusterStorageContainer"): storage_container,
    (GROUP, "InferenceGraph"): inference_graph,
}
