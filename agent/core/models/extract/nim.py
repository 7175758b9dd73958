"""NVIDIA NIM operator: caches, services and builds (apps.nvidia.com)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields, servers
from agent.core.models.extract.container import resource_slots, server_slots
from agent.core.models.extract.document import canonical
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, items, mapping, mappings, text, texts
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.ref import literal, opaque
from agent.core.models.rendered import Object

GROUP: Final = "apps.nvidia.com"


def cache(obj: Object, context: Context) -> Iterator[Slot]:
    """What is downloaded, from NGC, a data store or Hugging Face."""
    ngc = at(obj, "spec", "source", "ngc")
    yield from fields.image(ngc, "modelPuller", "source.modelPuller", "model", fields.IMMUTABLE)
    yield from fields.uri(ngc, "modelEndpoint", "source.model")
    yield from fields.secret(ngc, "authSecret", "source.secret", context.namespace)
    model = (mapping(ngc[0], "model", ngc[1]), f"{ngc[1]}.model")
    yield from fields.value(model, "precision", "source.precision", "quantization")
    yield from fields.values(model, ("engine", "lora", "buildable"), "source.")
    yield from fields.values(model, ("tensorParallelism", "qosProfile"), "source.", traits=fields.ACCELERATOR)
    for number, (gpu, here) in enumerate(mappings(model[0], "gpus", model[1])):
        name = text(gpu, "product", here) or ",".join(texts(gpu, "ids", here)) or str(number)
        shown = canonical(dict(gpu), here)
        yield Slot(f"source.gpu[{name}]", "config", literal(shown), here, fields.ACCELERATOR)
    profiles = sorted(str(item) for item in items(model[0], "profiles", model[1]))
    if profiles:
        yield Slot("source.profiles", "config", literal(",".join(profiles)), f"{model[1]}.profiles", fields.OUTPUT)
    for store in ("hf", "dataStore"):
        yield from _repository(*at(obj, "spec", "source", store))
    yield from fields.claim(at(obj, "spec", "storage", "pvc"), "name", "storage")


def _repository(source: Mapping[str, Any], path: str) -> Iterator[Slot]:
    """A Hugging Face repository, or one of a server that speaks its protocol."""
    parent = (source, path)
    yield from fields.image(parent, "modelPuller", "source.modelPuller", "code-image", fields.IMMUTABLE)
    yield from fields.value(parent, "endpoint", "source.endpoint")
    owner, revision = text(source, "namespace", path), text(source, "revision", path)
    for field, kind, start in (("modelName", "model", ""), ("datasetName", "data", "datasets/")):
        name = text(source, field, path)
        if name:
            spelled = f"hf://{start}{f'{owner}/' if owner and '/' not in name else ''}{name}"
            found: Kind = "data" if kind == "data" else "model"
            ref = parse(spelled, Grammar.DYNAMO, revision=revision)
            yield Slot(f"source.{kind}", found, ref, f"{path}.{field}", fields.POD)


def service(obj: Object, context: Context) -> Iterator[Slot]:
    """Image (the model list is part of it), cache, profile, storage and the variables that name models."""
    spec = at(obj, "spec")
    yield from fields.image(spec, "image", "image")
    cached = at(obj, "spec", "storage", "nimCache")
    yield from fields.named(cached, "name", "nimCache", "nimcache", "model")
    yield from fields.value(cached, "profile", "nimCache.profile")
    claimed = at(obj, "spec", "storage", "pvc")
    yield from fields.claim(claimed, "name", "storage")
    yield from fields.value(claimed, "subPath", "storage.path", "model", fields.POD)
    storage, path = at(obj, "spec", "storage")
    folder = text(storage, "hostPath", path)
    if folder:
        yield Slot(
            "storage", "model", opaque(folder, "hostPath", f"hostPath://{folder}"), f"{path}.hostPath", fields.POD
        )
    place = Place("nim", spec[1], context, Mounts((), context), servers.NIM)
    yield from server_slots(spec[0], "", place)
    yield from resource_slots(spec[0], place)
    yield from fields.scale(spec, "replicas")


def build(obj: Object, _: Context) -> Iterator[Slot]:
    """An engine built from a cached model."""
    spec = at(obj, "spec")
    yield from fields.image(spec, "image", "image")
    yield from fields.value(spec, "modelName", "modelName", traits=fields.NAME)
    cached = at(obj, "spec", "nimCache")
    yield from fields.named(cached, "name", "nimCache", "nimcache", "model")
    yield from fields.value(cached, "profile", "nimCache.profile")


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "NIMCache"): cache,
    (GROUP, "NIMService"): service,
    (GROUP, "NIMBuild"): build,
}
