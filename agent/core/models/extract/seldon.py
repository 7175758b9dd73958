"""Seldon Core 2 models and experiments (mlops.seldon.io) and Seldon Core 1 deployments (machinelearning.seldon.io)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from agent.core.models.confidential import is_secret_name
from agent.core.models.extract import fields
from agent.core.models.extract.slot import Context, Extractor, Slot, at, items, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import Identity, literal
from agent.core.models.rendered import Object

GROUP: Final = "mlops.seldon.io"
V1_GROUP: Final = "machinelearning.seldon.io"


def model(obj: Object, context: Context) -> Iterator[Slot]:
    """A model of a shared server: artifact, version folder, server, explainer target and parameters."""
    spec = at(obj, "spec")
    uri, version = text(spec[0], "storageUri", spec[1]), text(spec[0], "artifactVersion", spec[1])
    if uri:
        ref = parse(uri, Grammar.SELDON)
        if version:
            # The version picks a numbered folder below the address; what is in it can still be replaced.
            identity = replace(ref.identity or Identity(), version=version)
            ref = replace(ref, canonical=f"{ref.canonical}#version={version}", identity=identity)
        yield Slot("model", "model", ref, f"{spec[1]}.storageUri", fields.HOT)
    yield from fields.uri(spec, "schemaUri", "schema", "config", Grammar.SELDON)
    yield from fields.secret(spec, "secretName", "secret", context.namespace)
    yield from fields.value(spec, "modelType", "modelType")
    yield from fields.named(spec, "server", "server", "server")
    requirements = [str(item) for item in items(spec[0], "requirements", spec[1])]
    if requirements:
        yield Slot("requirements", "runtime", literal(",".join(sorted(requirements))), f"{spec[1]}.requirements")
    for block in ("llm", "explainer"):
        inner = (mapping(spec[0], block, spec[1]), f"{spec[1]}.{block}")
        yield from fields.named(inner, "modelRef", f"{block}.model", "model", "model")
        yield from fields.named(inner, "pipelineRef", f"{block}.pipeline", "pipeline", "pipeline")
        yield from fields.value(inner, "type", f"{block}.type")
    for parameter, here in mappings(spec[0], "parameters", spec[1]):
        yield from _parameter(parameter, here, "")
    yield from fields.value(spec, "memory", "memory", "scale", fields.NONE)
    yield from fields.scale(spec, "replicas", "minReplicas", "maxReplicas")


def _parameter(parameter: Mapping[str, object], path: str, label: str) -> Iterator[Slot]:
    name = text(parameter, "name", path)
    made = fields.concealed if is_secret_name(name) else fields.value
    yield from made((parameter, path), "value", f"{label}parameter[{name}]")


def experiment(obj: Object, _: Context) -> Iterator[Slot]:
    """Shares of traffic between candidates, and the mirror."""
    spec, path = at(obj, "spec")
    yield from fields.value((spec, path), "default", "default", "traffic", fields.NONE)
    for candidate, here in mappings(spec, "candidates", path):
        name = f"candidate[{text(candidate, 'name', here)}].weight"
        yield from fields.value((candidate, here), "weight", name, "traffic", fields.NONE)
    mirror = (mapping(spec, "mirror", path), f"{path}.mirror")
    yield from fields.values(mirror, ("name", "percent"), "mirror.", "traffic", fields.NONE)


def deployment(obj: Object, context: Context) -> Iterator[Slot]:
    """Inference graphs of Seldon Core 1: the model of every node, explainers, traffic."""
    spec, path = at(obj, "spec")
    for predictor, here in mappings(spec, "predictors", path):
        label = f"predictor[{text(predictor, 'name', here) or 'unnamed'}]"
        graph = mapping(predictor, "graph", here)
        if graph:
            yield from _graph(graph, f"{here}.graph", label, context)
        explainer = (mapping(predictor, "explainer", here), f"{here}.explainer")
        yield from fields.uri(explainer, "modelUri", f"{label}.explainer.model", grammar=Grammar.SELDON)
        yield from fields.value(explainer, "type", f"{label}.explainer.type")
        yield from fields.value((predictor, here), "traffic", f"{label}.traffic", "traffic", fields.NONE)
        yield from fields.scale((predictor, here), "replicas", prefix=f"{label}.")


def _graph(root: Mapping[str, object], path: str, label: str, context: Context) -> Iterator[Slot]:
    open_nodes = [(root, path)]
    while open_nodes:
        node, here = open_nodes.pop()
        base = f"{label}.graph[{text(node, 'name', here) or 'unnamed'}]"
        parent = (node, here)
        yield from fields.uri(parent, "modelUri", f"{base}.model", grammar=Grammar.SELDON)
        yield from fields.value(parent, "implementation", f"{base}.implementation", "runtime", fields.POD)
        yield from fields.secret(parent, "envSecretRefName", f"{base}.secret", context.namespace)
        yield from fields.image(parent, "storageInitializerImage", f"{base}.storageInitializer")
        for parameter, inner in mappings(node, "parameters", here):
            yield from _parameter(parameter, inner, f"{base}.")
        open_nodes.extend(mappings(node, "children", here))


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "Model"): model,
    (GROUP, "Experiment"): experiment,
    (V1_GROUP, "SeldonDeployment"): deployment,
}
