"""ConfigMaps and Secrets that a pod uses: where they are named, and the same pod with their copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

CONFIG_MAP = "configmap"
SECRET = "secret"  # noqa: S105 - a kind of object
TRACKING = "flagger.app/config-tracking"
SECRET_TYPES = frozenset({"Opaque", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/tls"})
"""Types of Secrets that are copied; others (registry credentials, tokens) belong to the ServiceAccount."""


class ConfigRef(msgspec.Struct, frozen=True):
    """A ConfigMap or Secret by name. Without `required` it may be missing."""

    kind: str
    name: str
    required: bool = True

    @property
    def key(self) -> str:
        """The key in `status.trackedConfigs`."""
        return f"{self.kind}/{self.name}"


_Place = tuple[str, dict[str, Any], str]
"""Kind, the mapping that names it, and under which key."""


def config_refs(pod: Mapping[str, Any]) -> tuple[ConfigRef, ...]:
    """All that the pod spec refers to by volumes, projected volumes and environment, each once.

    One that is optional in one place and required in another is required.
    """
    found: dict[tuple[str, str], bool] = {}
    for kind, where, key in _places(pod):
        name = where.get(key)
        if name:
            found[kind, name] = found.get((kind, name), False) or not where.get("optional", False)
    return tuple(ConfigRef(kind, name, required) for (kind, name), required in found.items())


def with_copies(pod: dict[str, Any], copied: frozenset[str], rename: Callable[[str], str]) -> None:
    """Let the pod spec (changed in place) use the copies of those whose keys are in `copied`."""
    for kind, where, key in _places(pod):
        if f"{kind}/{where.get(key)}" in copied:
            where[key] = rename(where[key])


def is_tracked(kind: str, obj: Mapping[str, Any]) -> bool:
    """False for objects whose owner opted out, and for Secrets of types that are not copied."""
    annotations = obj.get("metadata", {}).get("annotations") or {}
    if str(annotations.get(TRACKING, "")).startswith("disable"):
        return False
    return kind != SECRET or obj.get("type", "Opaque") in SECRET_TYPES


def _places(pod: Mapping[str, Any]) -> Iterator[_Place]:
    for volume in pod.get("volumes") or ():
        yield from _of_volume(volume)
    for container in (*(pod.get("containers") or ()), *(pod.get("initContainers") or ())):
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            yield from _named(source, ("configMapKeyRef", CONFIG_MAP, "name"), ("secretKeyRef", SECRET, "name"))
        for source in container.get("envFrom") or ():
            yield from _named(source, ("configMapRef", CONFIG_MAP, "name"), ("secretRef", SECRET, "name"))


def _of_volume(volume: Mapping[str, Any]) -> Iterator[_Place]:
    yield from _named(volume, ("configMap", CONFIG_MAP, "name"), ("secret", SECRET, "secretName"))
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from _named(source, ("configMap", CONFIG_MAP, "name"), ("secret", SECRET, "name"))


def _named(source: Mapping[str, Any], *fields: tuple[str, str, str]) -> Iterator[_Place]:
    for field, kind, key in fields:
        where = source.get(field)
        if where:
            yield kind, where, key
