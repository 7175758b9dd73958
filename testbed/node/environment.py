"""A container's environment, command line and working folder, resolved as the kubelet resolves them."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from testbed.node.images import Image
from testbed.node.kubeapi import Obj
from testbed.node.mounts import MountMap
from testbed.node.podfields import FieldError, field_value, resource_value
from testbed.node.ports import listen_locally

SourceKind = Literal["configmaps", "secrets"]
Lookup = Callable[[SourceKind, str], Awaitable[Obj | None]]
"""Reads a ConfigMap or Secret of the Pod's namespace by name; None when it does not exist."""

_REFERENCE = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")
_SINGULAR: dict[SourceKind, str] = {"configmaps": "configmap", "secrets": "secret"}


class ConfigError(Exception):
    """The container's configuration names something that does not exist (CreateContainerConfigError)."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What to execute: argument vector, whole environment, working folder (None: the Pod's own folder)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    mounts: MountMap

    def instead(self, argv: tuple[str, ...]) -> "CommandLine":
        """Another command in the same container, as exec probes and hooks run one."""
        return replace(self, argv=tuple(self.mounts.rewrite(part) for part in argv))


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value; unknown names stay, ``$$`` is one dollar sign (Kubernetes expansion)."""

    def value_of(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        return env.get(name, match.group())

    return _REFERENCE.sub(value_of, text)


def entries_of(source: Obj) -> dict[str, bytes]:
    """All entries of a ConfigMap or Secret as bytes."""
    encoded = {**(source.get("binaryData") or {})}
    plain: dict[str, str] = {}
    if "kind" in source and source["kind"] == "Secret":
        encoded |= source.get("data") or {}
    else:
        plain = source.get("data") or {}
    return {key: base64.b64decode(value) for key, value in encoded.items()} | {
        key: value.encode() for key, value in plain.items()
    }


async def resolve_environment(
    pod: Obj, container: Obj, base: Mapping[str, str], lookup: Lookup, allocatable: dict[str, str]
) -> dict[str, str]:
    """``base``, then envFrom, then env in order, each seeing the ones before; ConfigError for what is missing."""
    env = dict(base)
    for entry in container.get("envFrom") or []:
        env |= await _env_from(entry, lookup)
    for entry in container.get("env") or []:
        if "valueFrom" not in entry:
            env[entry["name"]] = expand(entry.get("value", ""), env)
            continue
        value = await _value_from(pod, container, entry["valueFrom"], lookup, allocatable)
        if value is not None:
            env[entry["name"]] = value
    return env


def listening_locally(command: CommandLine, ports: Mapping[int, int]) -> CommandLine:
    """The command line with the addresses it listens on moved to the local ports."""
    return replace(
        command,
        argv=tuple(listen_locally(part, ports) for part in command.argv),
        env={key: listen_locally(value, ports) for key, value in command.env.items()},
    )


def command_line(
    container: Obj, image: Image, env: Mapping[str, str], mounts: MountMap, own: Mapping[str, str] | None = None
) -> CommandLine:
    """The final command line: command replaces entrypoint and cmd, args replaces cmd; mount paths rewritten.

    The image's entrypoint and what is still as in `own` are paths of this machine, which a mount must not hide:
    a Pod may mount something at /tmp while the node's own folder is below it.
    """
    command, args = container.get("command"), container.get("args")
    head = tuple(mounts.rewrite(expand(part, env)) for part in command) if command else image.entrypoint
    tail = args if args is not None else (() if command else image.cmd)
    argv = (*head, *(mounts.rewrite(expand(part, env)) for part in tail))
    if not argv:
        raise ConfigError("no command specified")
    cwd = container.get("workingDir")
    return CommandLine(
        argv=argv,
        env={key: value if (own or {}).get(key) == value else mounts.rewrite(value) for key, value in env.items()},
        cwd=mounts.rewrite(cwd) if cwd else None,
        mounts=mounts,
    )


async def _env_from(entry: Obj, lookup: Lookup) -> dict[str, str]:
    prefix = entry.get("prefix", "")
    kind: SourceKind = "configmaps" if "configMapRef" in entry else "secrets"
    selector = entry["configMapRef"] if kind == "configmaps" else entry["secretRef"]
    source = await lookup(kind, selector["name"])
    if source is None:
        if selector.get("optional"):
            return {}
        raise ConfigError(f'{_SINGULAR[kind]} "{selector["name"]}" not found')
    return {prefix + key: value.decode(errors="replace") for key, value in entries_of(source).items()}


async def _value_from(
    pod: Obj, container: Obj, value_from: Obj, lookup: Lookup, allocatable: dict[str, str]
) -> str | None:
    try:
        if "fieldRef" in value_from:
            return field_value(pod, value_from["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in value_from:
            return resource_value(container, value_from["resourceFieldRef"], allocatable)
    except FieldError as error:
        raise ConfigError(str(error)) from error
    kind: SourceKind = "configmaps" if "configMapKeyRef" in value_from else "secrets"
    selector = value_from["configMapKeyRef" if kind == "configmaps" else "secretKeyRef"]
    source = await lookup(kind, selector["name"])
    entries = {} if source is None else entries_of(source)
    if selector["key"] in entries:
        return entries[selector["key"]].decode(errors="replace")
    if selector.get("optional"):
        return None
    if source is None:
        raise ConfigError(f'{_SINGULAR[kind]} "{selector["name"]}" not found')
    namespace = pod["metadata"]["namespace"]
    raise ConfigError(f"couldn't find key {selector['key']} in {_SINGULAR[kind]} {namespace}/{selector['name']}")
