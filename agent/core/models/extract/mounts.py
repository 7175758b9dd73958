"""Which file of which ConfigMap a path in a container is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.core.models.extract.slot import Context, mapping, mappings, text
from agent.core.models.ref import Digest, Identity, Ref


class Mounted(NamedTuple):
    """A ConfigMap volume at a place in the container; *single* is the only key that is there, at the path itself."""

    path: str
    config_map: str
    single: str
    keys: Mapping[str, str]


class Mounts(NamedTuple):
    """The ConfigMap volumes that a container sees."""

    mounted: tuple[Mounted, ...]
    context: Context

    def find(self, path: str) -> tuple[str, str] | None:
        """(ConfigMap name, key) of the file at *path*, or None."""
        if not path.startswith("/"):
            return None
        for mount in self.mounted:
            if mount.single and path == mount.path:
                return mount.config_map, mount.single
            if not mount.single and path.startswith(f"{mount.path}/"):
                inner = path[len(mount.path) + 1 :]
                return mount.config_map, mount.keys.get(inner, inner)
        return None

    def text(self, path: str) -> str | None:
        """The text of the file at *path* if it comes from a rendered ConfigMap."""
        found = self.find(path)
        data = self.context.data("ConfigMap", found[0]) if found else None
        value = data.get(found[1]) if data is not None and found else None
        return value if isinstance(value, str) else None

    def content(self, path: str) -> Ref | None:
        """A reference with the digest of the file at *path* if that comes from a rendered ConfigMap."""
        content = self.text(path)
        found = self.find(path)
        if content is None or found is None:
            return None
        name, key = found
        value = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        canonical = f"configmap://{self.context.base('ConfigMap', name)}#{key}"
        digest = Digest("sha256", value, "object", "sha256")
        return Ref(path, "configmap", f"{canonical}@sha256:{value}", True, Identity(revision=f"sha256:{value}"), digest)


def mounts_of(
    container: Mapping[str, Any], path: str, pod: Mapping[str, Any], pod_path: str, context: Context
) -> Mounts:
    """The ConfigMap volumes of *pod* that *container* mounts, longest path first."""
    volumes: dict[str, tuple[str, Mapping[str, str]]] = {}
    for volume, here in mappings(pod, "volumes", pod_path):
        source = mapping(volume, "configMap", here)
        if source:
            keys: Mapping[str, str] = {
                text(i, "path", p): text(i, "key", p) for i, p in mappings(source, "items", f"{here}.configMap")
            }
            volumes[text(volume, "name", here)] = text(source, "name", f"{here}.configMap"), keys
    found = []
    for mount, here in mappings(container, "volumeMounts", path):
        name = text(mount, "name", here)
        if name in volumes:
            config_map, keys = volumes[name]
            inner = text(mount, "subPath", here).strip("/")
            target = text(mount, "mountPath", here).rstrip("/")
            found.append(Mounted(target, config_map, keys.get(inner, inner), keys))
    return Mounts(tuple(sorted(found, key=lambda mount: -len(mount.path))), context)
