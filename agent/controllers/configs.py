"""ConfigMaps and Secrets that Kustomizations read and that are marked to be watched: a change is a reason for a pass.

Only their names and versions are kept, never what is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from agent.api.kustomization import Kustomization
from agent.core.dependencies import in_order
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store

ConfigKind = Literal["ConfigMap", "Secret"]
Key = tuple[str, str]
_INDEX = "configs"


class ConfigKey(NamedTuple):
    """Kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`."""
        return f"{self.kind}/{self.namespace}/{self.name}"


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""


class ConfigVersion(msgspec.Struct, frozen=True):
    """That an object exists."""

    metadata: _Metadata


decode_config: Callable[[bytes], ConfigVersion] = msgspec.json.Decoder(ConfigVersion).decode


def configs_of(kustomization: Kustomization) -> frozenset[ConfigKey]:
    """The ConfigMaps and Secrets that a Kustomization names."""
    spec, found = kustomization.spec, set[tuple[str, str]]()
    if spec.post_build is not None:
        found |= {(reference.kind, reference.name) for reference in spec.post_build.substitute_from}
    if spec.decryption is not None and spec.decryption.secret_ref is not None:
        found.add(("Secret", spec.decryption.secret_ref.name))
    if spec.kube_config is not None:
        secret, config = spec.kube_config.secret_ref, spec.kube_config.config_map_ref
        found |= {("Secret", secret.name)} if secret is not None else set()
        found |= {("ConfigMap", config.name)} if config is not None else set()
    return frozenset(ConfigKey(kind, kustomization.namespace, name) for kind, name in found)


def watch_configs(
    kustomizations: Store[Kustomization],
    queue: WorkQueue[Key],
    *stores: tuple[ConfigKind, Store[ConfigVersion]],
    told: Callable[[Key, str], None],
) -> None:
    """Queue the Kustomizations that name an object of one of the stores whenever it changes.

    `told` hears first which one is queued for which object (`Kind/namespace/name`).
    """
    kustomizations.add_index(_INDEX, configs_of)

    def wake(config: ConfigKey) -> None:
        for kustomization in in_order(kustomizations.by_index(_INDEX, config)):
            key = (kustomization.namespace, kustomization.name)
            told(key, str(config))
            queue.add(key, Priority.REVISION)

    for kind, store in stores:
        store.subscribe(_waker(kind, store, wake))


def _waker(
    kind: ConfigKind, store: Store[ConfigVersion], wake: Callable[[ConfigKey], None]
) -> Callable[[ConfigVersion | None, ConfigVersion | None], None]:
    def changed(old: ConfigVersion | None, new: ConfigVersion | None) -> None:
        some = new or old
        if some is None or not store.synced.is_set():
            return  # the first listing is no change
        wake(ConfigKey(kind, some.metadata.namespace, some.metadata.name))

    return changed
