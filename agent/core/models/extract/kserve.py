"""KServe: InferenceService, serving runtimes, multi-model and cache resources (group serving.kserve.io)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.core.models.extract import fields, servers
from agent.core.models.extract.container import resource_slots, server_slots
from agent.core.models.extract.mounts import mounts_of
from agent.core.models.extract.podspec import environment_slots, pod_slots
from agent.core.models.extract.seen import POD, Place
from agent.core.models.extract.slot import Context, Extractor, Slot, Trait, at, mapping, mappings, text, texts
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.redact import bounded, redact_within
from agent.core.models.ref import SECRET_KEYED, Ref, literal, origin, unresolved
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
        yield from _sharding((worker, f"{path}.workerSpec"), f"{label}.worker.")
    yield from _scale(component)


def _block_slots(block: Mapping[str, Any], name: str, component: _Component, context: Context) -> Iterator[Slot]:
    """The model block: what is served, by which runtime, and the container fields that are inlined in it."""
    label, path = component.label, f"{component.path}.{name}"
    uri = text(block, "storageUri", path)
    storage = mapping(block, "storage", path)
    if uri:
        yield Slot(f"{label}.model", "model", parse(uri, Grammar.KSERVE), f"{path}.storageUri", POD)
    elif storage:
        yield from _stored(storage, f"{path}.storage", label)
    model_format = mapping(block, "modelFormat", path)
    yield from _runtime(block, model_format, _Component(block, label, path))
    image = text(block, "image", path)
    if image:
        yield Slot(f"{label}.image", "code-image", parse(image, Grammar.IMAGE), f"{path}.image", POD)
    yield from confidential(block, path, f"{label}.confidential")
    hugging_face = "huggingface" in {name, text(model_format, "name", path)}
    assumed = servers.KSERVE_HF if hugging_face else servers.TRITON if name == "triton" else None
    if name == "art":
        yield from fields.value((block, path), "type", f"{label}.type")
    mounts = mounts_of(block, path, component.fields, component.path, context)
    place = Place(label, path, context, mounts, assumed)
    yield from resource_slots(block, place)
    yield from server_slots(block, image, place, model=not (uri or storage))
    yield from environment_slots(block, path, context, label)


def confidential(block: Mapping[str, Any], path: str, name: str) -> Iterator[Slot]:
    """Which key opens an encrypted model, and whether one is needed: what is served stays the same."""
    found, here = mapping(block, "confidential", path), f"{path}.confidential"
    resource_id = text(found, "resourceId", here)
    if resource_id:
        ref = unresolved(resource_id, "key-broker", f"key-broker:{resource_id}")
        yield Slot(name, "credential", ref, f"{here}.resourceId", POD)
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
    if name not in {"model", "art"}:
        # The older form: the field itself is the format.
        yield Slot(f"{label}.modelFormat", "config", literal(name), path, POD | {"output"})
    else:
        form = (model_format, f"{path}.modelFormat")
        yield from fields.value(form, "name", f"{label}.modelFormat")
        yield from fields.value(form, "version", f"{label}.modelFormat.version")
    protocol = text(block, "protocolVersion", path)
    if protocol:
        yield Slot(f"{label}.protocolVersion", "config", literal(protocol), f"{path}.protocolVersion",
                   POD | {"api-name"})  # fmt: skip


def _stored(storage: Mapping[str, Any], path: str, label: str) -> Iterator[Slot]:
    """A model in a store that an entry of the storage Secret describes; which entry that is, is its credential."""
    written = text(storage, "path", path)
    here = f"{path}.path" if written else path
    yield Slot(f"{label}.model", "model", _keyed(storage, path), here, POD)
    for field in ("key", "storageKey"):
        yield from fields.value((storage, path), field, f"{label}.storage.key", "credential", POD)
    yield from fields.value((storage, path), "schemaPath", f"{label}.schema")


def _keyed(storage: Mapping[str, Any], path: str) -> Ref:
    """The address as far as the text tells: the Secret's data has the rest of it, and the server to ask."""
    parameters, here = mapping(storage, "parameters", path), f"{path}.parameters"
    kind, bucket, endpoint = (text(parameters, field, here) for field in ("type", "bucket", "endpoint_url"))
    written = text(storage, "path", path)
    place = "/".join(part for part in (bucket, written.strip("/")) if part)
    spelling = bounded(redact_within(written or bucket))
    if place and (kind in {"hdfs", "webhdfs"} or (kind == "s3" and bucket)):
        known = parse(f"{kind}://{place}", Grammar.KSERVE)
        scheme, canonical = known.scheme, known.canonical
    else:
        scheme, canonical = "storage-key", f"storage-key://{bucket}/{written.strip('/')}"
        canonical += f"?type={kind}" if kind else ""
    if endpoint:
        canonical += f"{'&' if '?' in canonical else '?'}endpoint={redact_within(endpoint)}"
    return unresolved(spelling, scheme, bounded(redact_within(canonical)), SECRET_KEYED)


def _storages(component: _Component) -> Iterator[Slot]:
    """Several artifacts, by their mounts; those that share one are told apart by where they come from."""
    fields, label, path = component
    found: dict[str, list[tuple[Ref, str]]] = {}
    for item, here in mappings(fields, "storageUris", path):
        uri = text(item, "uri", here)
        if uri:
            mount = text(item, "mountPath", here) or DEFAULT_MOUNT
            found.setdefault(mount, []).append((parse(uri, Grammar.KSERVE), f"{here}.uri"))
    for mount, stored in found.items():
        for ref, here in stored:
            slot = f"{mount}:{origin(ref)}" if len(stored) > 1 else mount
            yield Slot(f"{label}.model[{slot}]", "model", ref, here, POD)


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


def _sharding(worker: fields.Parent, prefix: str, kind: Kind = "config") -> Iterator[Slot]:
    """How a model is cut over the nodes of one server."""
    yield from fields.values(worker, ("pipelineParallelSize", "tensorParallelSize"), prefix, kind, fields.ACCELERATOR)


def serving_runtime(obj: Object, context: Context) -> Iterator[Slot]:
    """A runtime's containers: a change reaches every service that uses it, so all of it is kind ``runtime``."""
    spec, path = at(obj, "spec")
    worker = mapping(spec, "workerSpec", path)
    for pod, here, prefix in ((spec, path, ""), (worker, f"{path}.workerSpec", "worker.")):
        for slot in pod_slots(pod, here, context, prefix):
            yield slot._replace(kind="runtime") if slot.kind in {"code-image", "config"} else slot
    yield from _sharding((worker, f"{path}.workerSpec"), "worker.", "runtime")
    formats = sorted(_offered(form, here) for form, here in mappings(spec, "supportedModelFormats", path))
    if formats:
        yield Slot("supportedModelFormats", "runtime", literal(",".join(formats)), f"{path}.supportedModelFormats")
    yield from fields.value((spec, path), "disabled", "disabled", "runtime", fields.NONE)


def _offered(form: Mapping[str, Any], path: str) -> str:
    """A format as ``name:version``, with what decides whether services get the runtime without naming it."""
    version, priority = text(form, "version", path), text(form, "priority", path)
    chosen = " auto" + (f" {priority}" if priority else "") if form.get("autoSelect") else ""
    return text(form, "name", path) + (f":{version}" if version else "") + chosen


def trained_model(obj: Object, _: Context) -> Iterator[Slot]:
    """One model of a multi-model service."""
    model = at(obj, "spec", "model")
    yield from fields.uri(model, "storageUri", "model", grammar=Grammar.KSERVE, traits=fields.HOT)
    yield from fields.value(model, "framework", "framework", traits=frozenset({"output"}))
    yield from fields.value(model, "memory", "memory", "scale", frozenset({"immutable"}))
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
            field = next((field for field in ("serviceName", "serviceUrl", "nodeName") if text(step, field, inner)), "")
            target = text(step, field, inner)
            name = text(step, "name", inner) or target
            if field == "serviceUrl":
                yield Slot(f"node[{node}].step[{name}]", "runtime", parse(target), f"{inner}.{field}")
            elif field:
                ref = unresolved(target, "object", f"{'node' if field == 'nodeName' else 'inferenceservice'}:{target}")
                yield Slot(f"node[{node}].step[{name}]", "runtime", ref, f"{inner}.{field}")
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
