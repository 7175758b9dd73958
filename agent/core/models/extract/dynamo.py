"""NVIDIA Dynamo models and graph deployments (nvidia.com)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.mounts import mounts_of
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text
from agent.core.models.grammar import Grammar
from agent.core.models.record import Kind
from agent.core.models.rendered import Object

GROUP: Final = "nvidia.com"


def model(obj: Object, _: Context) -> Iterator[Slot]:
    """A base model or an adapter; without a source its name is the hub id."""
    spec = at(obj, "spec")
    base = text(spec[0], "modelType", spec[1]).lower() not in {"lora", "adapter"}
    kind: Kind = "model" if base else "adapter"
    source = at(obj, "spec", "source")
    if text(source[0], "uri", source[1]):
        yield from fields.uri(source, "uri", kind, kind, Grammar.DYNAMO, traits=fields.NONE if base else fields.HOT)
        yield from fields.value(spec, "modelName", "modelName", traits=fields.NAME)
    else:
        yield from fields.uri(spec, "modelName", kind, kind, Grammar.HUB, traits=fields.NONE if base else fields.HOT)
    yield from fields.named(spec, "baseModelName", "baseModel", "model")


def graph(obj: Object, context: Context) -> Iterator[Slot]:
    """Services of a graph in both API versions: a mapping with extra pod specs, or a list with pod templates."""
    spec, path = at(obj, "spec")
    services = mapping(spec, "services", path)
    for name in sorted(services, key=str):
        here = f"{path}.services.{name}"
        service = mapping(services, name, f"{path}.services")
        yield from _service(service, here, f"service[{name}].", context)
    for component, here in mappings(spec, "components", path):
        label = f"service[{text(component, 'name', here) or text(component, 'componentName', here) or 'unnamed'}]."
        template = mapping(component, "podTemplate", here)
        yield from pod_slots(mapping(template, "spec", here), f"{here}.podTemplate.spec", context, label)
        yield from fields.scale((component, here), "replicas", prefix=label)


def component(obj: Object, context: Context) -> Iterator[Slot]:
    """One service on its own."""
    yield from _service(*at(obj, "spec"), "", context)


def request(obj: Object, _: Context) -> Iterator[Slot]:
    """A model that Dynamo makes a deployment for."""
    spec = at(obj, "spec")
    yield from fields.uri(spec, "model", "model", "model", Grammar.HUB)
    yield from fields.image(spec, "image", "image")
    yield from fields.value(spec, "backend", "backend", "runtime", fields.POD)


def _service(service: Mapping[str, Any], path: str, label: str, context: Context) -> Iterator[Slot]:
    pod, here = mapping(service, "extraPodSpec", path), f"{path}.extraPodSpec"
    main = mapping(pod, "mainContainer", here)
    if main:
        inner = f"{here}.mainContainer"
        mounts = mounts_of(main, inner, pod, here, context)
        yield from container_slots(main, Place(f"{label}container[main]", inner, context, mounts))
    yield from pod_slots(pod, here, context, label)
    yield from fields.scale((service, path), "replicas", prefix=label)
    reference = (mapping(service, "modelRef", path), f"{path}.modelRef")
    yield from fields.uri(reference, "name", f"{label}modelRef", "model", Grammar.HUB, revision="revision")
    limits, here = mapping(mapping(service, "resources", path), "limits", path), f"{path}.resources.limits"
    yield from fields.value((limits, here), "gpu", f"{label}accelerators", "scale", fields.ACCELERATOR)


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "DynamoModel"): model,
    (GROUP, "DynamoGraphDeployment"): graph,
    (GROUP, "DynamoComponentDeployment"): component,
    (GROUP, "DynamoGraphDeploymentRequest"): request,
}
