"""Adapters that a server loads while it runs: which ones a workload asks for, and whether nothing else differs.

Known are vLLM and SGLang: `POST [/v1]/load_lora_adapter` and `/unload_lora_adapter`, and `GET /v1/models`, which lists
what is loaded. The words of the command line stay what is asked for; the ones that are applied are those that pods were
started with, as long as nothing else about the pods changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agent.core.digits import whole
from agent.core.models.extract import argv, servers
from agent.core.models.extract.server import Server
from agent.core.models.extract.settings import adapter_items
from agent.core.models.extract.slot import MalformedError
from agent.core.models.rendered import Object
from agent.core.objects import ObjectKey, content_hash

LOADED: Final = "weir.dev/adapters-loaded"
"""Annotation on a workload: the hash of the pod template whose adapters were loaded instead of applied."""
_KINDS: Final = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet")})
_PREFIX: Final[Mapping[str, str]] = {"vLLM": "/v1", "SGLang": ""}
_PORT: Final[Mapping[str, int]] = {"vLLM": 8000, "SGLang": 30000}
_TRUE: Final = frozenset({"1", "true"})


class HotServer(NamedTuple):
    """A container that can load adapters while it runs: where its words stand, and the adapters among them.

    *prefix* is that of the paths by which adapters are loaded; *bare* the pod template without its adapters.
    """

    container: str
    pointer: str
    port: int
    prefix: str
    adapters: Mapping[str, str]
    bare: str


class AdapterChange(NamedTuple):
    """All that differs between two pod templates: the *wanted* adapters by name, and names that are *gone*."""

    server: HotServer
    wanted: Mapping[str, str]
    gone: frozenset[str]


def hot_server(key: ObjectKey, obj: Object) -> HotServer | None:
    """The first container of a workload that can load adapters while it runs; None if there is none, or no telling."""
    if key[:2] not in _KINDS:
        return None
    template = _map(_map(obj.get("spec")).get("template"))
    containers = _map(template.get("spec")).get("containers")
    for index, container in enumerate(containers if isinstance(containers, list) else ()):
        found = _in(container, index, template) if isinstance(container, Mapping) else None
        if found is not None:
            return found
    return None


def adapter_change(key: ObjectKey, old: Object, new: Object) -> AdapterChange | None:
    """What is to be loaded and unloaded; None if pods have to be replaced, as for anything else that differs."""
    before, after = hot_server(key, old), hot_server(key, new)
    if before is None or after is None:
        return None
    if before.bare != after.bare or (before.container, before.pointer) != (after.container, after.pointer):
        return None
    return AdapterChange(after, after.adapters, frozenset(before.adapters.keys() - after.adapters.keys()))


def template_hash(obj: Object) -> str:
    """What tells the pod templates of an object apart."""
    return content_hash(_map(obj.get("spec")).get("template"))


def _in(container: Mapping[str, Any], index: int, template: Mapping[str, Any]) -> HotServer | None:
    server = _server(container)
    if server is None or server.name not in _PREFIX or not _allows(server, container):
        return None
    command, args = container.get("command"), container.get("args")
    field = "args" if isinstance(args, list) or not isinstance(command, list) else "command"
    words = container.get(field) or []
    if not all(isinstance(word, str) for word in words) or any(word.startswith("--ssl-") for word in words):
        return None
    rest, adapters = _apart(words, frozenset(server.adapters))
    if any("$(" in path for path in adapters.values()):
        return None  # only the kubelet knows what that will be
    bare = {**container, field: rest}
    containers = [bare if place == index else one for place, one in enumerate(_map(template["spec"])["containers"])]
    hashed = content_hash({**template, "spec": {**template["spec"], "containers": containers}})
    return HotServer(
        container=str(container.get("name")),
        pointer=f"/spec/template/spec/containers/{index}/{field}",
        port=_port(rest, container, _PORT[server.name]),
        prefix=_PREFIX[server.name],
        adapters=adapters,
        bare=hashed,
    )


def _server(container: Mapping[str, Any]) -> Server | None:
    try:
        found = [servers.recognise(line) for line in argv.commands(container, "$", {})]
    except MalformedError:
        return None
    named = next((one[0] for one in found if one is not None), None)
    return named or servers.recognise_image(str(container.get("image") or ""))


def _allows(server: Server, container: Mapping[str, Any]) -> bool:
    if not server.hot_adapters or not server.hot_env:
        return server.hot_adapters
    entries = container.get("env")
    listed = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    return any(one.get("name") == server.hot_env and str(one.get("value")).lower() in _TRUE for one in listed)


def _apart(words: Sequence[str], flags: frozenset[str]) -> tuple[list[str], dict[str, str]]:
    """The words without the adapters, and the adapters."""
    rest: list[str] = []
    values: list[str] = []
    inside = False
    for word in words:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            inside = name.replace("_", "-") in flags
            if not inside:
                rest.append(word)
            elif equals:
                values.append(value)
        else:
            (values if inside else rest).append(word)
    return rest, dict(_items(values))


def _items(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        yield from adapter_items(value)


def _port(words: Sequence[str], container: Mapping[str, Any], usual: int) -> int:
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        given = value if equals else next(iter(words[place + 1 : place + 2]), "")
        if name == "--port" and (port := whole(given)) is not None:
            return port
    ports = container.get("ports")
    first = ports[0] if isinstance(ports, list) and ports and isinstance(ports[0], Mapping) else {}
    number = first.get("containerPort")
    return number if isinstance(number, int) else usual


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
