"""KubeAI Model (kubeai.org)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from agent.core.models.extract import fields, servers
from agent.core.models.extract.engine import engine_slots
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, items, mapping, mappings, text
from agent.core.models.extract.written import keyed
from agent.core.models.grammar import Grammar
from agent.core.models.record import Kind
from agent.core.models.ref import Digest, Identity, Ref
from agent.core.models.rendered import Object

GROUP: Final = "kubeai.org"
_ENGINES: Final = {"VLLM": servers.VLLM}


def model(obj: Object, context: Context) -> Iterator[Slot]:
    """Model, adapters, engine with its settings, files (chat templates live there) and scale."""
    spec = at(obj, "spec")
    values, path = spec
    # A cached model has been copied under its address: the API refuses another one.
    cached = fields.IMMUTABLE if text(values, "cacheProfile", path) else fields.POD
    named = fields.uri(spec, "url", "model", grammar=Grammar.KUBEAI, traits=cached)
    for adapter, here in mappings(values, "adapters", path):
        name = f"adapter[{text(adapter, 'name', here)}]"
        yield from fields.uri((adapter, here), "url", name, "adapter", Grammar.KUBEAI, traits=fields.POD | fields.HOT)
    yield from fields.value(spec, "engine", "engine", "runtime", fields.POD)
    yield from fields.image(spec, "image", "image")
    yield from fields.value(spec, "resourceProfile", "resourceProfile", "scale", fields.ACCELERATOR)
    yield from fields.value(spec, "cacheProfile", "cacheProfile", "config", fields.IMMUTABLE)
    yield from fields.scale(spec, "replicas", "minReplicas", "maxReplicas")
    environment = mapping(values, "env", path)
    container = {
        "args": items(values, "args", path),
        "env": [{"name": str(name), "value": text(environment, name, f"{path}.env")} for name in environment],
    }
    place = Place("engine", path, context, Mounts((), context), _ENGINES.get(text(values, "engine", path)))
    for slot in engine_slots(named, Grammar.KUBEAI, container, place):
        yield slot._replace(path=keyed(slot.path, f"{path}.env", [*environment]))
    yield from _files(values, path)


def _files(spec: Mapping[str, object], path: str) -> Iterator[Slot]:
    for file, here in mappings(spec, "files", path):
        name, content = text(file, "path", here), text(file, "content", here)
        kind: Kind = "chat-template" if name.endswith((".jinja", ".jinja2")) or "template" in name else "config"
        value = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        digest = Digest("sha256", value, "object", "sha256")
        ref = Ref(name, "inline", f"inline:{name}@sha256:{value}", True, Identity(revision=f"sha256:{value}"), digest)
        yield Slot(f"file[{name}]", kind, ref, f"{here}.content", fields.OUTPUT)


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {(GROUP, "Model"): model}
