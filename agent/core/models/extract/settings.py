"""What the command of a server says beside its model: settings, adapters, further models, other flags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from agent.core.models.extract.argv import Hidden
from agent.core.models.extract.seen import POD, Run, Seen, reference
from agent.core.models.extract.server import Server, Setting
from agent.core.models.extract.slot import MalformedError, Slot, Trait
from agent.core.models.grammar import Grammar
from agent.core.models.redact import HIDDEN, SECRET_WORDS
from agent.core.models.ref import Ref, literal, opaque, origin

_PLAIN: Final = Setting("config", frozenset())


def settings(run: Run, seen: Seen) -> Iterator[Slot]:
    """All slots of one command but that of its model."""
    yield from _known(run, seen)
    yield from _adapters(run, seen)
    yield from _others(run, seen)


def _known(run: Run, seen: Seen) -> Iterator[Slot]:
    given, env = run.flags.named, seen.env
    for flag, setting in run.server.settings.items():
        values = given.get(flag)
        value: str | Hidden | None = ",".join(values) if values else env.get(setting.env) if setting.env else None
        revision = run.flags.first(setting.revision) if setting.revision in given else None
        if value is None and revision is not None:
            # The revision of the tokenizer alone: the tokenizer is the model's own.
            value = run.flags.first(*run.server.model) or next(iter(run.flags.positional), None)
        if value:
            ref = value.ref if isinstance(value, Hidden) else _setting_ref(value, setting, run.server, seen, revision)
            names = [flag, *([setting.revision] if flag not in given else [])]
            path = (
                seen.written.flag(run.server.names(*names))
                if values or revision
                else seen.written.variable(setting.env)
            )
            yield Slot(f"{seen.place.base}.--{flag}", setting.kind, ref, path, setting.traits | POD)


def _others(run: Run, seen: Seen) -> Iterator[Slot]:
    """Flags without a meaning here: reported by name, their values only where no name hints at a credential."""
    server = run.server
    known = {*server.model, *server.revision, *server.file, *server.models, *server.adapters, *server.settings}
    known |= {setting.revision for setting in server.settings.values()}
    for flag, values in run.flags.named.items():
        if flag in known or not server.settings:
            continue
        value, path = ",".join(values), seen.written.flag([flag])
        if SECRET_WORDS.search(flag):
            ref = opaque(HIDDEN, "argument", f"argument:{flag}")
            yield Slot(f"{seen.place.base}.--{flag}", "credential", ref, path, POD, _sha256(value))
        else:
            ref = seen.hidden(value) or literal(canonical_json(value), value)
            # A part of a setting that is a document may be given in a flag of its own, after a dot.
            whole = server.settings.get(flag.partition(".")[0], _PLAIN)
            yield Slot(f"{seen.place.base}.--{flag}", whole.kind, ref, path, whole.traits | POD)


def _setting_ref(value: str, setting: Setting, server: Server, seen: Seen, revision: str | None) -> Ref:
    if not setting.reference or value in setting.words:
        return seen.hidden(value) or literal(canonical_json(value), value)
    if setting.kind == "chat-template" and ("{" in value or not ("/" in value or "." in value)):
        # A template may be given by its text or by the name of a built-in one.
        return seen.hidden(value) or literal(value if len(value) < 200 else f"sha256:{_sha256(value)}")
    grammar = Grammar.HUB if server.grammar is Grammar.LLAMA_CPP else server.grammar
    return reference(value, grammar, seen, revision)


def canonical_json(value: str) -> str:
    """*value* with sorted keys and no spaces if it is a JSON object or list, else as it is."""
    if value[:1] in {"{", "["}:
        try:
            return json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        except (ValueError, RecursionError):
            return value
    return value


def _adapters(run: Run, seen: Seen) -> Iterator[Slot]:
    server, written = run.server, seen.written
    given = [(value, written.flag(server.adapters, value)) for value in run.flags.every(*server.adapters)]
    if not given and server.adapters_env and (listed := seen.plain((server.adapters_env,))):
        given = [(listed, written.variable(server.adapters_env))]
    for value in run.flags.every(*server.models):
        for name, target in adapter_items(value):
            ref = reference(target, Grammar.GENERIC, seen)
            yield Slot(f"{seen.place.base}.model[{name}]", "model", ref, written.flag(server.models, value), POD)
    traits: frozenset[Trait] = POD | {"hot-reload"} if _loads_while_it_runs(server, seen) else POD
    for value, path in given:
        found = list(adapter_items(value))
        if value and not found:
            raise MalformedError(path, "names no adapter")
        foreign = _of_other_bases(value, run, seen)
        for name, target in found:
            ref = reference(target, Grammar.HUB, seen)
            told: frozenset[Trait] = traits | {"other-base"} if name in foreign else traits
            yield Slot(f"{seen.place.base}.adapter[{name}]", "adapter", ref, path, told)


def _of_other_bases(value: str, run: Run, seen: Seen) -> frozenset[str]:
    """The adapters whose declared base is neither the served model nor one of the names that it is served by.

    Of a model in a folder nobody knows here which one of a hub it is.
    """
    bases = {name: base for name, base in _declared_bases(value) if base}
    model = run.flags.first(*run.server.model) or next(iter(run.flags.positional), None)
    model = model or seen.plain(run.server.model_env)
    served = reference(model, run.server.grammar, seen) if bases and model else None
    if model is None or served is None or served.scheme != "hf-model":
        return frozenset()
    flags = [flag for flag, setting in run.server.settings.items() if "api-name" in setting.traits]
    names = {model, *(word for given in run.flags.every(*flags) for word in given.replace(",", " ").split())}
    return frozenset(
        name
        for name, base in bases.items()
        if base not in names and origin(reference(base, run.server.grammar, seen)) != origin(served)
    )


def _declared_bases(value: str) -> Iterator[tuple[str, str]]:
    """(adapter, base) of what adapters in JSON say, as vLLM reads it."""
    for item in _objects(value):
        if isinstance(item.get("name"), str) and isinstance(item.get("base_model_name"), str):
            yield item["name"], item["base_model_name"]


def _loads_while_it_runs(server: Server, seen: Seen) -> bool:
    if not server.hot_adapters or not server.hot_env:
        return server.hot_adapters
    return (seen.plain((server.hot_env,)) or "").lower() in {"1", "true"}


def adapter_items(value: str) -> Iterator[tuple[str, str]]:
    """(name, target) pairs of ``name=target``, a JSON object or list of objects, or a comma-separated list."""
    if value[:1] in {"{", "["}:
        for item in _objects(value):
            # vLLM's names of the fields, and SGLang's.
            target = item.get("path") or item.get("lora_path")
            if isinstance(target, str):
                yield str(item.get("name") or item.get("lora_name") or target), target
        return
    for word in value.split(","):
        name, equals, target = word.strip().partition("=")
        if name:
            yield (name, target) if equals else (name.partition("@")[0], name)


def _objects(value: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, or the only one; none where it is neither."""
    if value[:1] not in {"{", "["}:
        return
    try:
        loaded = json.loads(value)
    except (ValueError, RecursionError):
        return
    yield from (item for item in (loaded if isinstance(loaded, list) else [loaded]) if isinstance(item, dict))


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
