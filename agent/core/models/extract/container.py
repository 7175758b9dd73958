"""Slots of one container: its image, what its server serves and the settings that change the answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.core.models.extract import argv as command_line
from agent.core.models.extract import document, servers
from agent.core.models.extract.argv import Environment, Flags, Hidden
from agent.core.models.extract.downloads import COPY
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.server import Server, Setting
from agent.core.models.extract.slot import Context, Slot, Trait, mapping, text
from agent.core.models.extract.written import Written
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.redact import HIDDEN
from agent.core.models.ref import Ref, literal, opaque

POD: frozenset[Trait] = frozenset({"pod-template"})
_SECRET_WORDS = re.compile(r"key|token|secret|passw|auth|cred|cert", re.IGNORECASE)


class Place(NamedTuple):
    """Where a container stands: the prefix of its slots, its JSONPath, and the volumes around it.

    *assumed* is the server that the resource starts when neither command nor image tells.
    """

    base: str
    path: str
    context: Context
    mounts: Mounts
    assumed: Server | None = None


class Seen(NamedTuple):
    """A container's place together with its environment and where its words are written."""

    place: Place
    env: Environment
    written: Written

    def hidden(self, value: str) -> Ref | None:
        """The stand-in for a value that is one variable whose content is not in the rendered text."""
        return command_line.hidden(value, self.env)

    def variable(self, names: Sequence[str]) -> str | Hidden | None:
        """The first of the variables *names* that is set."""
        return next((self.env[name] for name in names if self.env.get(name)), None)

    def plain(self, names: Sequence[str]) -> str | None:
        """The same, if its value is known."""
        found = self.variable(names)
        return found if isinstance(found, str) else None


class Model(NamedTuple):
    """What a command or a variable names, and the JSONPath of its text."""

    ref: Ref
    kind: Kind
    path: str


class Run(NamedTuple):
    """One command of a container together with the server it starts."""

    server: Server
    flags: Flags


def container_slots(container: Mapping[str, Any], place: Place) -> Iterator[Slot]:
    """Image, accelerators and server slots of a container."""
    image = text(container, "image", place.path)
    if image:
        ref = parse(image, Grammar.IMAGE)
        yield Slot(f"{place.base}.image", "code-image", ref, f"{place.path}.image", POD)
    yield from resource_slots(container, place)
    yield from server_slots(container, image, place)


def server_slots(container: Mapping[str, Any], image: str, place: Place, model: bool = True) -> Iterator[Slot]:
    """What the command line and environment say. *model* false: the model is named elsewhere, only settings count."""
    env = command_line.environment(container, place.path, place.context)
    seen = Seen(place, env, Written(container, place.path, env))
    runs = list(_runs(container, image, seen))
    models = list(_models(runs, seen)) if model else []
    if model and not models:
        models = list(_generic(container, seen))
    if model and all(found.ref.scheme == "file" for found in models):
        models = list(_delivered(seen)) or models
    yield from _named(models, place)
    yield from _caches(seen)
    for run in runs:
        yield from _settings(run, seen)
        yield from _adapters(run, seen)
        yield from _others(run, seen)
    if place.context.rules.containers:
        yield from _ruled(container, seen)


def _ruled(container: Mapping[str, Any], seen: Seen) -> Iterator[Slot]:
    """What the user's rules point at."""
    name = text(container, "name", seen.place.path)
    taken = [command_line.flags(argv) for argv in command_line.commands(container, seen.place.path, seen.env)]
    for rule in seen.place.context.rules.containers:
        if not fnmatchcase(name, rule.container):
            continue
        flag = rule.flag.lstrip("-").replace("_", "-")
        given = next((found for flags in taken if flag and (found := flags.first(flag))), None)
        value = given or (seen.env.get(rule.env) if rule.env else None)
        if value:
            ref = _from_value(value, rule.grammar, seen)
            path = seen.written.flag([flag], given) if given else seen.written.variable(rule.env)
            yield Slot(f"{seen.place.base}.{rule.slot}", rule.role, ref, path, POD)


def resource_slots(container: Mapping[str, Any], place: Place) -> Iterator[Slot]:
    """Requested accelerators (their kind and number decide numerics and capacity) and other resources."""
    path = f"{place.path}.resources"
    resources = mapping(container, "resources", place.path)
    merged = {**mapping(resources, "requests", path), **mapping(resources, "limits", path)}
    accelerators = {k: v for k, v in merged.items() if "/" in str(k) and not str(k).startswith("hugepages")}
    if accelerators:
        value = ",".join(f"{key}={accelerators[key]}" for key in sorted(accelerators))
        yield Slot(f"{place.base}.accelerators", "scale", literal(value), path, POD | {"accelerator"})
    others = [f"{half}.{key}={amount}" for half in ("requests", "limits")
              for key, amount in sorted(mapping(resources, half, path).items()) if key not in accelerators]  # fmt: skip
    if others:
        yield Slot(f"{place.base}.resources", "scale", literal(",".join(others)), path, POD)


def _runs(container: Mapping[str, Any], image: str, seen: Seen) -> Iterator[Run]:
    argvs = command_line.commands(container, seen.place.path, seen.env)
    program = None if container.get("command") else servers.started_by_image(image)
    started = [[program, *argv] if program else argv for argv in argvs]
    found = [known for argv in started if (known := servers.recognise(argv)) is not None]
    hooked = [known for argv in _hooks(container, seen) if (known := servers.recognise(argv)) is not None]
    for server, rest in (*found, *hooked):
        yield _configured(server, command_line.flags(rest, server.switches, server.lists), seen)
    likely = servers.recognise_image(image) or seen.place.assumed
    if found or likely is None:
        return
    own = [word for argv in argvs for word in argv] + _additional(likely, seen)
    flags = command_line.flags(own, likely.switches, likely.lists)
    if container.get("command"):
        # The words of somebody's own start script are no positional model.
        flags = flags._replace(positional=())
    elif flags.positional[:1] == ("serve",):
        flags = flags._replace(positional=flags.positional[1:])
    yield _configured(likely, flags, seen)


def _hooks(container: Mapping[str, Any], seen: Seen) -> Iterator[list[str]]:
    """Commands that run beside the container's own when it has started: an Ollama server is told there what to pull."""
    path = f"{seen.place.path}.lifecycle.postStart"
    lifecycle = mapping(container, "lifecycle", seen.place.path)
    hook = mapping(mapping(lifecycle, "postStart", f"{seen.place.path}.lifecycle"), "exec", path)
    yield from command_line.commands(hook, f"{path}.exec", seen.env)


def _additional(server: Server, seen: Seen) -> list[str]:
    """Arguments that KServe's templates hand to vLLM through a variable."""
    found = seen.plain(("VLLM_ADDITIONAL_ARGS",)) if server is servers.VLLM else None
    return found.split() if found else []


def _configured(server: Server, flags: Flags, seen: Seen) -> Run:
    """*flags* over the settings in the server's configuration file, if that comes from a rendered ConfigMap."""
    path = flags.first("config") if server.config_file else None
    written = seen.place.mounts.text(path) if path else None
    if written is None:
        return Run(server, flags)
    named: dict[str, tuple[str, ...]] = {}
    for key, value in document.load(written, str(path)).items():
        values = value if isinstance(value, list) else [value]
        named[str(key).replace("_", "-")] = tuple(_scalar(item) for item in values)
    return Run(server, flags._replace(named={**named, **flags.named}))


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else document.canonical(value, "config")


def _models(runs: Iterable[Run], seen: Seen) -> Iterator[Model]:
    for server, flags in runs:
        revision = flags.first(*server.revision) or seen.plain(server.revision_env)
        first = flags.first(*server.model)
        values = flags.every(*server.model) if server is servers.TRITON else (first,) if first is not None else ()
        flagged = bool(values)
        if not values and server.positional:
            values = flags.positional[:1]
        kind: Kind = "data" if flags.first("repo-type") == "dataset" else "model"
        for value in values:
            spelling = f"hf://datasets/{value}" if kind == "data" else _remote(value, server)
            path = seen.written.flag(server.model, value) if flagged else seen.written.word(value)
            yield Model(_reference(spelling, server.grammar, seen, revision), kind, path)
        if not values and (found := seen.variable(server.model_env)) is not None:
            ref = _from_value(found, server.grammar, seen, revision)
            yield Model(ref, kind, seen.written.variable(*server.model_env))


def _delivered(seen: Seen) -> Iterator[Model]:
    """What somebody else puts into the folder that a server loads from: KServe and its like read these variables."""
    found = seen.variable(servers.DELIVERED_ENV)
    if found is not None:
        grammar = Grammar.KSERVE if seen.env.get("STORAGE_URI") == found else Grammar.GENERIC
        ref = _from_value(found, grammar, seen, seen.plain(servers.GENERIC_REVISION_ENV))
        yield Model(ref, "model", seen.written.variable(*servers.DELIVERED_ENV))


def _caches(seen: Seen) -> Iterator[Slot]:
    """Folders with what was downloaded before: a server without network serves what it finds there."""
    for name in servers.CACHE_ENV:
        if found := seen.env.get(name):
            ref = _from_value(found, Grammar.HUB, seen)
            path = seen.written.variable(name)
            yield Slot(f"{seen.place.base}.cache[{name}]", "config", ref, path, POD | {"output"})


def _reference(value: str, grammar: Grammar, seen: Seen, revision: str | None = None) -> Ref:
    stand_in = seen.hidden(value) or seen.place.mounts.content(value)
    return parse(value, grammar, revision=revision) if stand_in is None else _revised(stand_in, revision)


def _from_value(found: str | Hidden, grammar: Grammar, seen: Seen, revision: str | None = None) -> Ref:
    if isinstance(found, Hidden):
        return _revised(found.ref, revision)
    return _reference(found, grammar, seen, revision)


def _revised(ref: Ref, revision: str | None) -> Ref:
    """*ref*, whose text is not known, at the *revision* that is."""
    if not revision:
        return ref
    return replace(ref, spelling=f"{ref.spelling}@{revision}", canonical=f"{ref.canonical}@{revision}")


def _remote(value: str, server: Server) -> str:
    """rclone writes ``remote:bucket/path``; what kind of store the remote is stands in its configuration."""
    head, colon, tail = value.partition(":")
    if server is COPY and colon and not tail.startswith("//") and "/" not in head:
        return f"{head}://{tail}" if head in {"s3", "gs", "gcs"} else f"rclone-{head}://{tail}"
    return value


def _generic(container: Mapping[str, Any], seen: Seen) -> Iterator[Model]:
    """The usual flags and variables of servers that are not in the table."""
    argvs = command_line.commands(container, seen.place.path, seen.env)
    taken = [command_line.flags(argv) for argv in argvs]
    flag = next((value for flags in taken if (value := flags.first(*servers.GENERIC_FLAGS))), None)
    revision = next((value for flags in taken if (value := flags.first(*servers.GENERIC_REVISION_FLAGS))), None)
    revision = revision or seen.plain(servers.GENERIC_REVISION_ENV)
    if flag and flag != "true":
        path = seen.written.flag(servers.GENERIC_FLAGS, flag)
        yield Model(_reference(flag, Grammar.GENERIC, seen, revision), "model", path)
        return
    found = seen.variable(servers.GENERIC_ENV)
    if found is not None:
        path = seen.written.variable(*servers.GENERIC_ENV)
        yield Model(_from_value(found, Grammar.GENERIC, seen, revision), "model", path)


def _named(models: list[Model], place: Place) -> Iterator[Slot]:
    """One model is ``.model``; of several each is keyed by where it comes from, without its revision."""
    sources: dict[Kind, set[str]] = {}
    for ref, kind, _ in models:
        sources.setdefault(kind, set()).add(ref.canonical)
    for ref, kind, path in models:
        name = f"{place.base}.{kind}"
        if len(sources[kind]) > 1:
            name += f"[{origin(ref)}]"
        yield Slot(name, kind, ref, path, POD)


def origin(ref: Ref) -> str:
    """The canonical form without revision, version or generation: stable while only those move."""
    head, _, name = ref.canonical.rpartition("/")
    for separator in ("@", "#", "?"):
        name = name.partition(separator)[0]
    if ref.scheme in {"oci", "ollama", "ngc", "wandb"}:
        name = name.partition(":")[0]
    return f"{head}/{name}" if head else name


def _settings(run: Run, seen: Seen) -> Iterator[Slot]:
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
            path = seen.written.flag(names) if values or revision else seen.written.variable(setting.env)
            yield Slot(f"{seen.place.base}.--{flag}", setting.kind, ref, path, setting.traits | POD)


def _others(run: Run, seen: Seen) -> Iterator[Slot]:
    """Flags without a meaning here: reported by name, their values only where no name hints at a credential."""
    server = run.server
    known = {*server.model, *server.revision, *server.adapters, *server.settings}
    known |= {setting.revision for setting in server.settings.values()}
    for flag, values in run.flags.named.items():
        if flag in known or not server.settings:
            continue
        value, path = ",".join(values), seen.written.flag([flag])
        if _SECRET_WORDS.search(flag):
            ref = opaque(HIDDEN, "argument", f"argument:{flag}")
            yield Slot(f"{seen.place.base}.--{flag}", "credential", ref, path, POD, _sha256(value))
        else:
            ref = seen.hidden(value) or literal(canonical_json(value), value)
            yield Slot(f"{seen.place.base}.--{flag}", "config", ref, path, POD)


def _setting_ref(value: str, setting: Setting, server: Server, seen: Seen, revision: str | None) -> Ref:
    if not setting.reference:
        return seen.hidden(value) or literal(canonical_json(value), value)
    if setting.kind == "chat-template" and ("{" in value or not ("/" in value or "." in value)):
        # A template may be given by its text or by the name of a built-in one.
        return seen.hidden(value) or literal(value if len(value) < 200 else f"sha256:{_sha256(value)}")
    grammar = Grammar.HUB if server.grammar is Grammar.LLAMA_CPP else server.grammar
    return _reference(value, grammar, seen, revision)


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
    if not given and server.adapters_env and (found := seen.plain((server.adapters_env,))):
        given = [(found, written.variable(server.adapters_env))]
    traits: frozenset[Trait] = POD | {"hot-reload"} if _loads_while_it_runs(server, seen) else POD
    for value, path in given:
        for name, target in adapter_items(value):
            ref = _reference(target, Grammar.HUB, seen)
            yield Slot(f"{seen.place.base}.adapter[{name}]", "adapter", ref, path, traits)


def _loads_while_it_runs(server: Server, seen: Seen) -> bool:
    if not server.hot_adapters or not server.hot_env:
        return server.hot_adapters
    return (seen.plain((server.hot_env,)) or "").lower() in {"1", "true"}


def adapter_items(value: str) -> Iterator[tuple[str, str]]:
    """(name, target) pairs of ``name=target``, a JSON object or list of objects, or a comma-separated list."""
    if value[:1] in {"{", "["}:
        try:
            loaded = json.loads(value)
        except (ValueError, RecursionError):
            loaded = None
        for item in loaded if isinstance(loaded, list) else [loaded]:
            if isinstance(item, dict) and item.get("path"):
                target = str(item["path"])
                yield str(item.get("name") or target), target
        return
    for item in value.split(","):
        name, equals, target = item.strip().partition("=")
        if name:
            yield (name, target) if equals else (name.partition("@")[0], name)


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
