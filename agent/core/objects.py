"""Names of Kubernetes objects and the few facts about an object that every other part needs.

An object in flight is a plain JSON mapping (`Manifest`); what identifies it is an `ObjectKey`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

Manifest = dict[str, Any]


class ObjectKey(NamedTuple):
    """Identity of an object whatever its API version: two versions of one kind are the same object."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`, or `Kind/name` at cluster scope: the form that Flux uses in messages."""
        if self.namespace:
            return f"{self.kind}/{self.namespace}/{self.name}"
        return f"{self.kind}/{self.name}"


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` -> (`apps`, `v1`); `v1` -> (``, `v1`)."""
    group, _, version = api_version.rpartition("/")
    return group, version


def key_of(manifest: Mapping[str, Any]) -> ObjectKey:
    """The key of a manifest that has apiVersion, kind and metadata.name (the renderer guarantees them)."""
    metadata = manifest["metadata"]
    group, _ = split_api_version(manifest["apiVersion"])
    return ObjectKey(group, manifest["kind"], metadata.get("namespace") or "", metadata["name"])


def without_namespace(manifest: Manifest) -> Manifest:
    """A cluster-wide object as the API server stores it, which is also how its watch names it."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "namespace"}
    return {**manifest, "metadata": metadata}


def labels_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels, empty if there are none."""
    return manifest.get("metadata", {}).get("labels") or {}


def annotations_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The annotations, empty if there are none."""
    return manifest.get("metadata", {}).get("annotations") or {}


def marked(manifest: Mapping[str, Any] | None, key: str, value: str) -> bool:
    """True if a label or an annotation `key` has `value`; compared without regard to case, as Flux does."""
    if manifest is None:
        return False
    wanted = value.lower()
    return any(str(where.get(key, "")).lower() == wanted for where in (labels_of(manifest), annotations_of(manifest)))


def is_older(version: str, other: str) -> bool:
    """Whether a resource version came before another one of the same kind.

    They are ordered numbers, as Kubernetes says since 1.35; of anything else nothing is known, so it is not older.
    """
    return version.isdigit() and other.isdigit() and int(version) < int(other)


_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no white space: equal values give equal bytes."""
    return _ENCODER.encode(value)


def content_hash(value: object) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()
