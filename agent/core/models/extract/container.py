"""Slots of one container: its image, what its server serves and the settings that change the answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.core.models.extract import argv as command_line
from agent.core.models.extract import document, servers
from agent.core.models.extract.argv import Flags
from agent.core.models.extract.downloads import COPY, HF_DOWNLOAD, STORAGE_INITIALIZER
from agent.core.models.extract.seen import POD, Place, Run, Seen, from_value, reference
from agent.core.models.extract.server import Server
from agent.core.models.extract.settings import settings
from agent.core.models.extract.slot import Slot, Trait, mapping, text
from agent.core.models.extract.written import Written
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.ref import Ref, literal, origin


class Model(NamedTuple):
    """What a command or a usual *variable* of servers names, and the JSONPath of its text."""

    ref: Ref
    kind: Kind
    path: str
    variable: str = ""


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
        yield from _beside(models, seen)
    if model and all(found.ref.scheme in {"file", "unknown"} for found in models):
        models = list(_delivered(seen)) or models
    yield from _named(models, place)
    yield from _caches(seen)
    for run in runs:
        yield from settings(run, seen)
    if place.context.rules.containers:
        yield from _ruled(container, seen)


def revision_flag(container: Mapping[str, Any], place: Place) -> str | None:
    """The revision that the command line asks for, of a model that is named elsewhere."""
    env = command_line.environment(container, place.path, place.context)
    runs = _runs(container, "", Seen(place, env, Written(container, place.path, env)))
    return next((found for server, flags in runs if (found := flags.first(*server.revision))), None)


def _ruled(container: Mapping[str, Any], seen: Seen) -> Iterator[Slot]:
    """What the user's rules point at."""
    name = text(container, "name", seen.place.path)
    taken = [
        command_line.flags(argv)
        for argv in command_line.commands(container, seen.place.path, seen.env, seen.place.mounts.text)
    ]
    for rule in seen.place.context.rules.containers:
        if not fnmatchcase(name, rule.container):
            continue
        flag = rule.flag.lstrip("-").replace("_", "-")
        given = next((found for flags in taken if flag and (found := flags.first(flag))), None)
        value = given or (seen.env.get(rule.env) if rule.env else None)
        if value:
            ref = from_value(value, rule.grammar, seen)
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
    argvs = command_line.commands(container, seen.place.path, seen.env, seen.place.mounts.text)
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
    """*flags*, by their long names, over the settings in the server's file, if that comes from a rendered ConfigMap."""
    if server.short.keys() & flags.named.keys():
        long: dict[str, tuple[str, ...]] = {}
        for name, given in flags.named.items():
            full = server.short.get(name, name)
            long[full] = (*long.get(full, ()), *given)
        flags = flags._replace(named=long)
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
            values = _sources(server, flags)
        kind: Kind = "data" if flags.first("repo-type") == "dataset" else "model"
        grammar = _hub(server, seen)
        for value in values:
            spelling = f"hf://datasets/{value}" if kind == "data" else _remote(value, server)
            path = seen.written.flag(server.names(*server.model), value) if flagged else seen.written.word(value)
            ref = reference(spelling, grammar, seen, revision)
            yield Model(_within(ref, _file(server, flags, seen)), kind, path)
        if not values and (found := seen.variable(server.model_env)) is not None:
            ref = _within(from_value(found, grammar, seen, revision), _file(server, flags, seen))
            yield Model(ref, kind, seen.written.variable(*server.model_env))


def _hub(server: Server, seen: Seen) -> Grammar:
    """Whose rules the names of models follow: variables have vLLM and SGLang ask another hub."""
    elsewhere = (seen.plain(servers.MODELSCOPE_ENV) or "").lower() in {"1", "true"}
    return Grammar.MODELSCOPE if elsewhere and server in (servers.VLLM, servers.SGLANG) else server.grammar


def _file(server: Server, flags: Flags, seen: Seen) -> str | None:
    """The file of the repository that is loaded, where the command or the environment names just one."""
    if server is HF_DOWNLOAD:
        return flags.positional[1] if len(flags.positional) == 2 else None
    return flags.first(*server.file) or (seen.plain((server.file_env,)) if server.file_env else None)


def _within(ref: Ref, file: str | None) -> Ref:
    if not file or ref.scheme not in {"hf-model", "hf-dataset"}:
        return ref
    return replace(ref, spelling=f"{ref.spelling} {file}", canonical=f"{ref.canonical.partition('#')[0]}/{file}")


def _sources(server: Server, flags: Flags) -> tuple[str, ...]:
    """What a command takes from somewhere: the storage initializer has pairs of a source and a folder."""
    if server is STORAGE_INITIALIZER:
        return flags.positional[::2]
    found = flags.positional[:1]
    # From a folder to a store: nothing is fetched.
    return () if server is COPY and found and found[0].startswith(("/", ".")) else found


def _delivered(seen: Seen) -> Iterator[Model]:
    """What somebody else puts into the folder that a server loads from: KServe and its like read these variables."""
    found = seen.variable(servers.DELIVERED_ENV)
    if found is not None:
        grammar = Grammar.KSERVE if seen.env.get("STORAGE_URI") == found else Grammar.GENERIC
        ref = from_value(found, grammar, seen, seen.plain(servers.GENERIC_REVISION_ENV))
        name = next(name for name in servers.DELIVERED_ENV if seen.env.get(name))
        yield Model(ref, "model", seen.written.variable(name), name)


def _caches(seen: Seen) -> Iterator[Slot]:
    """Folders with what was downloaded before: a server without network serves what it finds there."""
    for name in servers.CACHE_ENV:
        if found := seen.env.get(name):
            ref = from_value(found, Grammar.HUB, seen)
            path = seen.written.variable(name)
            yield Slot(f"{seen.place.base}.cache[{name}]", "config", ref, path, POD | {"output"})


def _remote(value: str, server: Server) -> str:
    """rclone writes ``remote:bucket/path``; what kind of store the remote is stands in its configuration."""
    head, colon, tail = value.partition(":")
    if server is COPY and colon and not tail.startswith("//") and "/" not in head:
        return f"{head}://{tail}" if head in {"s3", "gs", "gcs"} else f"rclone-{head}://{tail}"
    return value


def _generic(container: Mapping[str, Any], seen: Seen) -> Iterator[Model]:
    """The usual flags and variables of servers that are not in the table."""
    argvs = command_line.commands(container, seen.place.path, seen.env, seen.place.mounts.text)
    taken = [command_line.flags(argv) for argv in argvs]
    flag = next((value for flags in taken if (value := flags.first(*servers.GENERIC_FLAGS))), None)
    revision = next((value for flags in taken if (value := flags.first(*servers.GENERIC_REVISION_FLAGS))), None)
    revision = revision or seen.plain(servers.GENERIC_REVISION_ENV)
    if flag and flag != "true":
        path = seen.written.flag(servers.GENERIC_FLAGS, flag)
        yield Model(reference(flag, Grammar.GENERIC, seen, revision), "model", path)
        return
    delivered = list(_delivered(seen))
    yield from delivered
    chosen = next((name for name in servers.GENERIC_ENV if seen.env.get(name)), None)
    if chosen is not None and not delivered:
        ref = from_value(seen.env[chosen], Grammar.GENERIC, seen, revision)
        yield Model(ref, "model", seen.written.variable(chosen), chosen)


def _beside(models: Sequence[Model], seen: Seen) -> Iterator[Slot]:
    """The usual variables beside the one that names the model: what they mean only the server knows."""
    if not any(found.variable for found in models):
        return  # nothing names a model, or a flag does and wins
    for name in servers.GENERIC_ENV:
        value = seen.env.get(name)
        if not value or any(found.variable == name for found in models):
            continue
        ref = from_value(value, Grammar.GENERIC, seen)
        told = name in servers.NAME_ENV
        kind: Kind = "config" if told else "model"
        traits: frozenset[Trait] = POD | {"api-name"} if told else POD
        if told and isinstance(value, str):
            ref = literal(value)
        yield Slot(f"{seen.place.base}.env[{name}]", kind, ref, seen.written.variable(name), traits)


def _named(models: list[Model], place: Place) -> Iterator[Slot]:
    """One model is ``.model``; of several each is keyed by where it comes from, without its revision."""
    sources: dict[Kind, set[str]] = {}
    for found in models:
        sources.setdefault(found.kind, set()).add(found.ref.canonical)
    for found in models:
        name = f"{place.base}.{found.kind}"
        if len(sources[found.kind]) > 1:
            name += f"[{origin(found.ref)}]"
        yield Slot(name, found.kind, found.ref, found.path, POD)
