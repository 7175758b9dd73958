"""Smaller families: vLLM production stack, BentoML on Kubernetes, Fluid data sets, Helm values of serving charts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields, servers
from agent.core.models.extract.engine import engine_slots
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, items, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import unresolved
from agent.core.models.rendered import Object

PRODUCTION_STACK: Final = "production-stack.vllm.ai"


def vllm_runtime(obj: Object, context: Context) -> Iterator[Slot]:
    """A vLLM runtime of the production stack: model, settings, further arguments, image and scale."""
    model, engine, deployed = (at(obj, "spec", field) for field in ("model", "vllmConfig", "deploymentConfig"))
    named = fields.uri(model, "modelURL", "model", grammar=Grammar.HUB)
    yield from _served(named, engine, "engine", context)
    yield from fields.values(model, ("dtype", "maxModelLen", "toolCallParser"))
    yield from fields.value(model, "chatTemplate", "chatTemplate", "chat-template")
    yield from fields.secret(
        at(obj, "spec", "model", "hfTokenSecret"), "hfTokenSecretName", "secret", context.namespace
    )
    yield from fields.value(engine, "tensorParallelSize", "tensorParallelSize", traits=fields.ACCELERATOR)
    image, path = at(obj, "spec", "deploymentConfig", "image")
    name = "/".join(part for field in ("registry", "name") if (part := text(image, field, path)))
    if name:
        yield Slot("image", "code-image", parse(name, Grammar.IMAGE), f"{path}.name", fields.POD)
    resources = at(obj, "spec", "deploymentConfig", "resources")
    yield from fields.value(resources, "gpu", "accelerators", "scale", fields.ACCELERATOR)
    yield from fields.scale(deployed, "replicas")


def _served(named: Iterable[Slot], config: fields.Parent, label: str, context: Context) -> Iterator[Slot]:
    """The model of a vLLM engine and what *config* passes on to it."""
    values, path = config
    place = Place(label, path, context, Mounts((), context), servers.VLLM)
    for slot in engine_slots(named, Grammar.HUB, {"args": items(values, "extraArgs", path)}, place):
        yield slot._replace(path=slot.path.replace(f"{path}.args[", f"{path}.extraArgs["))


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
        yield from fields.value((mount, here), "path", f"mount[{label}].path", traits=fields.POD)


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
    for role in ("decode", "prefill") if artifacts[0] else ():  # llm-d: the pods of the two halves of a server
        pod = mapping(values, role, path)
        yield from pod_slots(pod, f"{path}.{role}", context, f"{role}.")
        yield from fields.scale((pod, f"{path}.{role}"), "replicas", prefix=f"{role}.")
    chart = at(obj, "spec", "chart", "spec")
    yield from fields.value(chart, "version", "chart.version", "runtime", fields.NONE)


def _model_spec(model: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    label = f"modelSpec[{text(model, 'name', path) or 'unnamed'}]"
    config = (mapping(model, "vllmConfig", path), f"{path}.vllmConfig")
    named = fields.uri((model, path), "modelURL", f"{label}.model", grammar=Grammar.HUB, traits=fields.NONE)
    yield from _served(named, config, label, context)
    repository, tag = text(model, "repository", path), text(model, "tag", path)
    if repository:
        spelled = parse(fields.joined(repository, tag), Grammar.IMAGE)
        yield Slot(f"{label}.image", "code-image", spelled, f"{path}.{'tag' if tag else 'repository'}")
    if isinstance(model.get("hf_token"), Mapping):
        token = (mapping(model, "hf_token", path), f"{path}.hf_token")
        yield from fields.secret(token, "secretName", f"{label}.secret", context.namespace)
    else:
        yield from fields.concealed((model, path), "hf_token", f"{label}.secret")
    yield from fields.value((model, path), "chatTemplate", f"{label}.chatTemplate", "chat-template", fields.OUTPUT)
    yield from fields.scale((model, path), "replicaCount", prefix=f"{label}.")
    yield from fields.values(config, ("dtype", "maxModelLen"), f"{label}.")
    yield from fields.value(config, "tensorParallelSize", f"{label}.tensorParallelSize", traits=fields.ACCELERATOR)


def oci_repository(obj: Object, _: Context) -> Iterator[Slot]:
    """An artifact of manifests or settings that Flux fetches: its digest, tag, or range of versions."""
    spec, path = at(obj, "spec")
    url, (chosen, here) = text(spec, "url", path), at(obj, "spec", "ref")
    digest, wanted = text(chosen, "digest", here), text(chosen, "semver", here)
    if url and wanted and not digest:
        ref = unresolved(f"{url}:{wanted}", "oci", f"{url}:{wanted}")
        yield Slot("artifact", "config", ref, f"{here}.semver")
    elif url:
        spelled = fields.joined(url, text(chosen, "tag", here)) + (f"@{digest}" if digest else "")
        yield Slot("artifact", "config", parse(spelled, Grammar.IMAGE), here if chosen else f"{path}.url")


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (PRODUCTION_STACK, "VLLMRuntime"): vllm_runtime,
    (PRODUCTION_STACK, "LoraAdapter"): lora_adapter,
    ("resources.yatai.ai", "BentoRequest"): bento_request,
    ("serving.yatai.ai", "BentoDeployment"): bento_deployment,
    ("data.fluid.io", "Dataset"): fluid_dataset,
    ("inference.networking.x-k8s.io", "InferenceModel"): inference_model,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): helm_release,
    ("source.toolkit.fluxcd.io", "OCIRepository"): oci_repository,
}
