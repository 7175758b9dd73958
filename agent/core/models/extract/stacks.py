"""Smaller families: vLLM production stack, BentoML on Kubernetes, Fluid data sets, Helm values of serving charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.rendered import Object

PRODUCTION_STACK: Final = "production-stack.vllm.ai"


def vllm_runtime(obj: Object, _: Context) -> Iterator[Slot]:
    """The model of a vLLM runtime of the production stack."""
    yield from fields.uri(at(obj, "spec", "model"), "modelURL", "model", grammar=Grammar.HUB)
    image, path = at(obj, "spec", "deploymentConfig")
    yield from fields.image((image, path), "image", "image")


def lora_adapter(obj: Object, _: Context) -> Iterator[Slot]:
    """An adapter that the production stack loads into running pods."""
    yield from fields.named(at(obj, "spec"), "baseModel", "baseModel", "model")
    source, path = at(obj, "spec", "adapterSource")
    for field in ("repository", "adapterPath", "adapterName"):
        if text(source, field, path):
            yield from fields.uri((source, path), field, "adapter", "adapter", Grammar.HUB, traits=fields.HOT)
            return


def _bento(spelled: str, path: str, name: str) -> Iterator[Slot]:
    if spelled:
        yield Slot(name, "model", parse(f"bento://{spelled}"), path, fields.POD)


def bento_request(obj: Object, _: Context) -> Iterator[Slot]:
    """A bento to build and the models in it."""
    spec, path = at(obj, "spec")
    yield from _bento(text(spec, "bentoTag", path), f"{path}.bentoTag", "bento")
    for model, here in mappings(spec, "models", path):
        tag = text(model, "tag", here)
        label = f"model[{tag.partition(':')[0]}]"
        yield from _bento(tag, f"{here}.tag", label)
        yield from fields.uri((model, here), "downloadUrl", f"{label}.download")


def bento_deployment(obj: Object, _: Context) -> Iterator[Slot]:
    """A deployed bento."""
    spec, path = at(obj, "spec")
    yield from _bento(text(spec, "bento", path), f"{path}.bento", "bento")


def inference_model(obj: Object, _: Context) -> Iterator[Slot]:
    """Shares of traffic between models or adapters of one pool (Gateway API inference extension)."""
    spec, path = at(obj, "spec")
    yield from fields.value((spec, path), "modelName", "modelName", traits=fields.NAME)
    for target, here in mappings(spec, "targetModels", path):
        name = f"target[{text(target, 'name', here)}].weight"
        yield from fields.value((target, here), "weight", name, "traffic", fields.NONE)


def fluid_dataset(obj: Object, _: Context) -> Iterator[Slot]:
    """Mounts of a cached data set."""
    spec, path = at(obj, "spec")
    for mount, here in mappings(spec, "mounts", path):
        label = text(mount, "name", here) or text(mount, "path", here) or "unnamed"
        yield from fields.uri((mount, here), "mountPoint", f"mount[{label}]", "data")


def helm_release(obj: Object, context: Context) -> Iterator[Slot]:
    """Models in the values of serving charts, and the chart itself."""
    values, path = at(obj, "spec", "values")
    artifacts = (mapping(values, "modelArtifacts", path), f"{path}.modelArtifacts")
    # llm-d joins a claim and a hub id in one address.
    yield from fields.uri(artifacts, "uri", "modelArtifacts", traits=fields.NONE)
    yield from fields.value(artifacts, "name", "modelArtifacts.name", traits=frozenset({"api-name"}))
    yield from fields.value(artifacts, "size", "modelArtifacts.size", "scale", fields.NONE)
    yield from fields.secret(artifacts, "authSecretName", "modelArtifacts.secret", context.namespace)
    engine, here = mapping(values, "servingEngineSpec", path), f"{path}.servingEngineSpec"
    for model, inner in mappings(engine, "modelSpec", here):
        yield from _model_spec(model, inner, context)
    chart = at(obj, "spec", "chart", "spec")
    yield from fields.value(chart, "version", "chart.version", "runtime", fields.NONE)


def _model_spec(model: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    label = f"modelSpec[{text(model, 'name', path) or 'unnamed'}]"
    yield from fields.uri((model, path), "modelURL", f"{label}.model", grammar=Grammar.HUB, traits=fields.NONE)
    spelled = fields.joined(text(model, "repository", path), text(model, "tag", path))
    if spelled:
        yield Slot(f"{label}.image", "code-image", parse(spelled, Grammar.IMAGE), path)
    if isinstance(model.get("hf_token"), Mapping):  # as text it is the token itself, which is nobody's business
        token = (mapping(model, "hf_token", path), f"{path}.hf_token")
        yield from fields.secret(token, "secretName", f"{label}.secret", context.namespace)
    yield from fields.scale((model, path), "replicaCount", prefix=f"{label}.")
    config = (mapping(model, "vllmConfig", path), f"{path}.vllmConfig")
    yield from fields.values(config, ("dtype", "maxModelLen"), f"{label}.")
    yield from fields.value(config, "tensorParallelSize", f"{label}.tensorParallelSize", traits=fields.ACCELERATOR)


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (PRODUCTION_STACK, "VLLMRuntime"): vllm_runtime,
    (PRODUCTION_STACK, "LoraAdapter"): lora_adapter,
    ("resources.yatai.ai", "BentoRequest"): bento_request,
    ("serving.yatai.ai", "BentoDeployment"): bento_deployment,
    ("data.fluid.io", "Dataset"): fluid_dataset,
    ("inference.networking.x-k8s.io", "InferenceModel"): inference_model,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): helm_release,
}
