"""KServe LLMInferenceService and its configs (group serving.kserve.io)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract.kserve import confidential
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.seen import POD
from agent.core.models.extract.servers import VLLM
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import literal, unresolved
from agent.core.models.rendered import Object

GROUP: Final = "serving.kserve.io"

_PODS: Final = (
    ("", ("template",)),
    ("worker.", ("worker",)),
    ("prefill.", ("prefill", "template")),
    ("prefill.worker.", ("prefill", "worker")),
    ("scheduler.", ("router", "scheduler", "template")),
    ("tokenizer.", ("router", "scheduler", "tokenizer", "template")),
)


def llm_inference_service(obj: Object, context: Context) -> Iterator[Slot]:
    """Base model, adapters, base configs, pods, sharding, replicas and traffic group."""
    spec, path = at(obj, "spec")
    yield from _model(mapping(spec, "model", path), f"{path}.model")
    names: list[str] = []
    for reference, here in mappings(spec, "baseRefs", path):
        name = text(reference, "name", here)
        ref = unresolved(name, "object", f"llminferenceserviceconfig:{name}")
        yield Slot(f"baseRef[{name}]", "runtime", ref, f"{here}.name", POD)
        names.append(name)
    if len(names) > 1:
        # The configs are merged in this order: the last word wins.
        yield Slot("baseRefs", "runtime", literal(",".join(names)), f"{path}.baseRefs", POD)
    for prefix, fields in _PODS:
        pod, here = at(obj, "spec", *fields)
        if pod:
            # The well-known configs start vLLM in the container "main".
            yield from pod_slots(pod, here, context, prefix, VLLM)
    yield from _capacity(spec, path, "")
    yield from _capacity(*at(obj, "spec", "prefill"), "prefill.")
    route, here = at(obj, "spec", "router", "route")
    for field in ("group", "weight"):
        if field in route:
            yield Slot(f"router.{field}", "traffic", literal(text(route, field, here)), f"{here}.{field}")


def _model(model: Mapping[str, Any], path: str) -> Iterator[Slot]:
    uri = text(model, "uri", path)
    if uri:
        yield Slot("model", "model", parse(uri, Grammar.KSERVE), f"{path}.uri", POD)
    name = text(model, "name", path)
    if name:
        yield Slot("model.name", "config", literal(name), f"{path}.name", POD | {"api-name"})
    yield from confidential(model, path, "model.confidential")
    lora = mapping(model, "lora", path)
    for adapter, here in mappings(lora, "adapters", f"{path}.lora"):
        uri = text(adapter, "uri", here)
        if uri:
            label = text(adapter, "name", here) or uri
            yield Slot(f"adapter[{label}]", "adapter", parse(uri, Grammar.KSERVE), f"{here}.uri",
                       POD | {"hot-reload"})  # fmt: skip
    for field in ("maxRank", "maxAdapters", "maxCpuAdapters"):
        if field in lora:
            yield Slot(
                f"lora.{field}", "config", literal(text(lora, field, f"{path}.lora")), f"{path}.lora.{field}", POD
            )


def _capacity(spec: Mapping[str, Any], path: str, prefix: str) -> Iterator[Slot]:
    if "replicas" in spec:
        yield Slot(f"{prefix}replicas", "scale", literal(text(spec, "replicas", path)), f"{path}.replicas")
    parallelism = mapping(spec, "parallelism", path)
    if parallelism:
        shape = ",".join(f"{key}={parallelism[key]}" for key in sorted(parallelism, key=str))
        yield Slot(f"{prefix}parallelism", "config", literal(shape), f"{path}.parallelism", POD | {"accelerator"})


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "LLMInferenceService"): llm_inference_service,
    (GROUP, "LLMInferenceServiceConfig"): llm_inference_service,
}
