"""AIBrix adapters and claims (model.aibrix.ai)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.core.models.extract import fields, servers
from agent.core.models.extract.engine import engine_slots
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, text
from agent.core.models.extract.written import keyed
from agent.core.models.grammar import Grammar
from agent.core.models.rendered import Object

GROUP: Final = "model.aibrix.ai"
_ENGINES: Final = {"vllm": servers.VLLM, "sglang": servers.SGLANG}


def adapter(obj: Object, context: Context) -> Iterator[Slot]:
    """A LoRA adapter that is loaded into running pods."""
    spec = at(obj, "spec")
    yield from fields.uri(spec, "artifactURL", "adapter", "adapter", Grammar.AIBRIX, traits=fields.HOT)
    yield from fields.named(spec, "baseModel", "baseModel", "model")
    secret = at(obj, "spec", "credentialsSecretRef")
    yield from fields.secret(secret, "name", "credentials", context.namespace)
    extra, path = at(obj, "spec", "additionalConfig")
    for key in sorted(extra, key=str):
        if not any(word in str(key).lower() for word in ("key", "token", "secret", "password")):
            yield from fields.value((extra, path), str(key), f"additionalConfig[{key}]", traits=fields.HOT)
    yield from fields.scale(spec, "replicas")


def claim(obj: Object, context: Context) -> Iterator[Slot]:
    """A model that is placed into pods of a pool."""
    spec = at(obj, "spec")
    named = fields.uri(spec, "artifactURL", "model", "model", Grammar.AIBRIX)
    yield from fields.value(spec, "modelName", "modelName", traits=fields.NAME)
    yield from fields.value(spec, "engine", "engine", "runtime", fields.POD)
    engine, path = at(obj, "spec", "engineConfig")
    arguments = mapping(engine, "args", path)
    given = {"args": [f"--{str(key).lstrip('-')}={text(arguments, key, f'{path}.args')}" for key in arguments]}
    server = _ENGINES.get(text(spec[0], "engine", spec[1]).lower())
    place = Place("engine", path, context, Mounts((), context), server)
    for slot in engine_slots(named, Grammar.AIBRIX, given, place):
        yield slot._replace(path=keyed(slot.path, f"{path}.args", [*arguments]))
    yield from fields.scale(spec, "replicas")


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (GROUP, "ModelAdapter"): adapter,
    (GROUP, "ModelClaim"): claim,
}
