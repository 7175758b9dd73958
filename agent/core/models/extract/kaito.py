"""KAITO workspaces and inference sets (kaito.sh). A Workspace keeps its fields at the top, not under ``spec``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields
from agent.core.models.extract.podspec import config_map_ref, pod_slots
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text, texts
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import Ref, unresolved
from agent.core.models.rendered import Object

GROUP: Final = "kaito.sh"


def workspace(obj: Object, context: Context) -> Iterator[Slot]:
    """Inference preset with adapters, or tuning with its data; machine type."""
    yield from _inference(*at(obj, "inference"), context)
    yield from _tuning(*at(obj, "tuning"), context)
    resource = at(obj, "resource")
    yield from fields.value(resource, "instanceType", "instanceType", "scale", fields.ACCELERATOR)
    yield from fields.scale(resource, "count")


def inference_set(obj: Object, context: Context) -> Iterator[Slot]:
    """A replicated workspace template."""
    yield from _inference(*at(obj, "spec", "template", "inference"), context)
    resource = at(obj, "spec", "template", "resource")
    yield from fields.value(resource, "instanceType", "instanceType", "scale", fields.ACCELERATOR)
    yield from fields.scale(at(obj, "spec"), "replicas")


def _inference(inference: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    preset, here = mapping(inference, "preset", path), f"{path}.preset"
    name = text(preset, "name", here)
    if name:
        yield Slot("model", "model", _preset(name), f"{here}.name", fields.POD)
    options = (mapping(preset, "presetOptions", here), f"{here}.presetOptions")
    yield from fields.image(options, "image", "preset.image", "model")
    yield from fields.claim(options, "modelWeightsPVC", "weights")
    yield from fields.value(options, "modelWeightsSubPath", "weights.path", "model", fields.POD)
    yield from fields.secret(options, "modelAccessSecret", "secret", context.namespace)
    for adapter, inner in mappings(inference, "adapters", path):
        source = (mapping(adapter, "source", inner), f"{inner}.source")
        label = text(source[0], "name", source[1]) or text(source[0], "image", source[1]) or "unnamed"
        yield from _source(source, f"adapter[{label}]", "adapter", context)
        yield from fields.value((adapter, inner), "strength", f"adapter[{label}].strength")
    yield from _config(inference, path, "config", context)
    template, here = mapping(mapping(inference, "template", path), "spec", path), f"{path}.template.spec"
    yield from pod_slots(template, here, context)


def _preset(name: str) -> Ref:
    """A hub id since 0.9; older presets are names whose weights come with the operator's version."""
    return parse(name, Grammar.HUB) if "/" in name else unresolved(name, "kaito-preset", f"kaito-preset:{name}")


def _tuning(tuning: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    preset = mapping(tuning, "preset", path)
    name = text(preset, "name", path)
    if name:
        yield Slot("tuning.model", "model", _preset(name), f"{path}.preset.name", fields.POD)
    yield from fields.value((tuning, path), "method", "tuning.method", "pipeline", fields.POD)
    yield from _source((mapping(tuning, "input", path), f"{path}.input"), "tuning.input", "data", context)
    output = (mapping(tuning, "output", path), f"{path}.output")
    yield from fields.image(output, "image", "tuning.output", "model")
    yield from _config(tuning, path, "tuning.config", context)


def _source(source: fields.Parent, name: str, kind: Any, context: Context) -> Iterator[Slot]:
    """An image, addresses or a volume."""
    values, path = source
    yield from fields.image(source, "image", name, kind)
    for number, url in enumerate(texts(values, "urls", path)):
        yield Slot(f"{name}.url[{parse(url).canonical}]", kind, parse(url), f"{path}.urls[{number}]", fields.POD)
    for field in ("volumeSource", "volume"):
        volume = mapping(values, field, path)
        pod = {"volumes": [{"name": "source", **volume}] if volume else []}
        for slot in pod_slots(pod, path, context):
            where = slot.path.replace(f"{path}.volumes[0]", f"{path}.{field}")
            yield slot._replace(name=f"{name}.volume", kind=kind, path=where)


def _config(parent: Mapping[str, Any], path: str, name: str, context: Context) -> Iterator[Slot]:
    found = text(parent, "config", path)
    if found:
        yield Slot(name, "config", config_map_ref(found, context), f"{path}.config", fields.OUTPUT)


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "Workspace"): workspace,
    (GROUP, "InferenceSet"): inference_set,
}
