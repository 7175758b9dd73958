"""OME: base models, fine-tuned weights, services and runtimes (ome.io)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.kserve import serving_runtime
from agent.core.models.extract.mounts import mounts_of
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, items, mapping, text
from agent.core.models.grammar import Grammar
from agent.core.models.redact import SECRET_WORDS
from agent.core.models.ref import unresolved
from agent.core.models.rendered import Object

GROUP: Final = "ome.io"


def base_model(obj: Object, _: Context) -> Iterator[Slot]:
    """Where the weights come from, their version and number format."""
    spec, storage = at(obj, "spec"), at(obj, "spec", "storage")
    yield from fields.uri(storage, "storageUri", "model", grammar=Grammar.OME)
    if storage[0].get("storageUri"):
        yield from fields.value(storage, "path", "storage.path", traits=fields.POD)
    else:
        yield from fields.uri(storage, "path", "model", grammar=Grammar.OME)
    parameters, path = at(obj, "spec", "storage", "parameters")
    for key in sorted(parameters, key=str):
        if not SECRET_WORDS.search(str(key)):
            yield from fields.value((parameters, path), str(key), f"storage.parameters[{key}]")
    for field in ("key", "storageKey"):
        yield from fields.value(storage, field, "storage.key", "credential", fields.POD)
    yield from fields.value(spec, "version", "version")
    yield from fields.value(spec, "quantization", "quantization", "quantization")
    yield from fields.named(at(obj, "spec", "baseModelRef"), "name", "baseModel", "basemodel", "model")


def fine_tuned(obj: Object, context: Context) -> Iterator[Slot]:
    """Weights on top of a base model: the same fields, of kind adapter."""
    for slot in base_model(obj, context):
        yield slot._replace(name="adapter", kind="adapter") if slot.name == "model" else slot


def service(obj: Object, context: Context) -> Iterator[Slot]:
    """A service names a base model, fine-tuned weights and a runtime; engine and decoder are pods."""
    model, path = at(obj, "spec", "model")
    target = (text(model, "kind", path) or "ClusterBaseModel").lower()
    yield from fields.named((model, path), "name", "model", target, "model")
    for number, item in enumerate(items(model, "fineTunedWeights", path)):
        name = str(item)
        ref = unresolved(name, "object", f"finetunedweight:{name}")
        yield Slot(f"adapter[{name}]", "adapter", ref, f"{path}.fineTunedWeights[{number}]", fields.POD)
    yield from fields.named(at(obj, "spec", "runtime"), "name", "runtime", "servingruntime")
    for component in ("engine", "decoder", "router", "predictor"):
        pod, here = at(obj, "spec", component)
        if pod:
            yield from _component(pod, here, component, context)


def runtime(obj: Object, context: Context) -> Iterator[Slot]:
    """A runtime's containers, engine, decoder and router: a change reaches every service that uses it."""
    yield from serving_runtime(obj, context)
    for component in ("engine", "decoder", "router"):
        pod, here = at(obj, "spec", f"{component}Config")
        for slot in _component(pod, here, component, context) if pod else ():
            yield slot._replace(kind="runtime") if slot.kind in {"code-image", "config"} else slot


def _component(pod: Mapping[str, Any], path: str, label: str, context: Context) -> Iterator[Slot]:
    for place, here, prefix in _pods(pod, path, f"{label}."):
        runner = mapping(place, "runner", here)
        if runner:
            inner = f"{here}.runner"
            mounts = mounts_of(runner, inner, place, here, context)
            yield from container_slots(runner, Place(f"{prefix}container[runner]", inner, context, mounts))
        yield from pod_slots(place, here, context, prefix)
    yield from fields.scale((pod, path), "minReplicas", "maxReplicas", prefix=f"{label}.")


def _pods(pod: Mapping[str, Any], path: str, prefix: str) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    yield pod, path, prefix
    for part in ("leader", "worker"):
        inner = mapping(pod, part, path)
        if inner:
            yield inner, f"{path}.{part}", f"{prefix}{part}."


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "BaseModel"): base_model,
    (GROUP, "ClusterBaseModel"): base_model,
    (GROUP, "FineTunedWeight"): fine_tuned,
    (GROUP, "InferenceService"): service,
    (GROUP, "ServingRuntime"): runtime,
    (GROUP, "ClusterServingRuntime"): runtime,
}
