"""The objects of one build, indexed for comparison.

Every object has a hash over its canonical JSON, so that two builds can be compared without looking into the objects
that are equal. ConfigMaps and Secrets that kustomize named after their content are paired by their base name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agent.core.objects import ObjectKey, split_api_version

# kustomize writes ten characters of a SHA-256 in an alphabet without vowels and look-alikes.
_SUFFIX: Final = re.compile(r"-[2456789bcdfghkmt]{10}$")
_GENERATED: Final = frozenset({"ConfigMap", "Secret"})
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")

Object = Mapping[str, Any]


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str | None = None


class _Head(msgspec.Struct, rename={"api_version": "apiVersion"}):
    """As much of an object as its key needs."""

    api_version: str = ""
    kind: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_HEAD: Final = msgspec.json.Decoder(_Head)


class Entry:
    """An object, its name as rendered and a hash of its JSON (empty when it has none). Decoded when first looked at."""

    __slots__ = ("_encoded", "_object", "hash", "name")

    def __init__(self, name: str, obj: Object | None = None, encoded: bytes | None = None) -> None:
        """Takes the object, or its JSON."""
        self.name = name
        self._object = obj
        self._encoded = encoded
        self.hash = hashlib.sha256(encoded).hexdigest() if encoded is not None else _hash(obj)

    @property
    def object(self) -> Object:
        """The object as a mapping."""
        if self._object is None:
            self._object = msgspec.json.decode(self._encoded or b"{}")
        return self._object or {}

    def mentions(self, names: Iterable[str]) -> bool:
        """True if any of *names* stands in the object as a whole string."""
        try:
            encoded = self._encoded if self._encoded is not None else _ENCODER.encode(self._object)
        except (TypeError, ValueError, RecursionError):
            return True
        return any(_ENCODER.encode(name) in encoded for name in names)


class RenderedSet:
    """An immutable set of rendered objects.

    ``entries`` maps keys (generated names without their hash) to entries. ``unreadable`` lists what is no Kubernetes
    object, as (description, message).
    """

    __slots__ = ("_bases", "_hidden", "entries", "unreadable")

    def __init__(self, objects: Iterable[Any]) -> None:
        """Index *objects*; lists of kind ``List`` are opened. Objects must not be modified afterwards."""
        self._index((), objects)

    @classmethod
    def from_json(cls, documents: Iterable[bytes]) -> RenderedSet:
        """The same from one JSON document per object, as a renderer hands them out.

        Objects are decoded when they are looked at: an object whose bytes are equal on both sides never is.
        """
        found: list[tuple[ObjectKey, Entry]] = []
        rest: list[Any] = []
        for document in documents:
            key = _head_key(document)
            if key is None:
                rest.append(_decoded(document))
            else:
                found.append((key, Entry(key.name, encoded=document)))
        made = cls(())
        made._index(found, rest)
        return made

    def _index(self, found: Iterable[tuple[ObjectKey, Entry]], objects: Iterable[Any]) -> None:
        self.unreadable: list[tuple[str, str]] = []
        self._hidden: list[tuple[str, str]] = []
        every = [*found]
        every += [(key, Entry(key.name, obj)) for obj in _flattened(objects) if (key := self._key(obj)) is not None]
        self._bases = _base_names(key for key, _ in every)
        self.entries: dict[ObjectKey, Entry] = {self.paired(key): entry for key, entry in every}

    @staticmethod
    def key_of(document: bytes) -> ObjectKey | None:
        """The key of one JSON document as it is written; None for lists and for what is no object."""
        return _head_key(document)

    def __len__(self) -> int:
        return len(self.entries)

    def may_hide(self, key: ObjectKey) -> bool:
        """True if an object that could not be read may have been *key*: its kind or name agree, or are not known."""
        return any(kind in {"", key.kind} and name in {"", key.name} for kind, name in self._hidden)

    def paired(self, key: ObjectKey) -> ObjectKey:
        """*key* with the generated name replaced by its base name."""
        return self._bases.get(key, key)

    def base_name(self, kind: str, namespace: str, name: str) -> str:
        """The name under which a ConfigMap or Secret is paired with its other versions."""
        return self.paired(ObjectKey("", kind, namespace, name)).name

    def get(self, group: str, kind: str, namespace: str, name: str) -> Object | None:
        """The object with that name as rendered, or None."""
        entry = self.entries.get(self.paired(ObjectKey(group, kind, namespace, name)))
        return entry.object if entry is not None and entry.name == name else None

    def of_kind(self, group: str, kind: str) -> Iterator[tuple[ObjectKey, Object]]:
        """All objects of one kind."""
        return ((key, entry.object) for key, entry in self.entries.items() if key[:2] == (group, kind))

    def _key(self, obj: Any) -> ObjectKey | None:
        problem = _problem(obj)
        if problem:
            self.unreadable.append(problem)
            self._hidden.append(_partial_name(obj))
            return None
        metadata = obj["metadata"]
        group, _ = split_api_version(obj["apiVersion"])
        return ObjectKey(group, obj["kind"], metadata.get("namespace") or "", metadata["name"])


def _head_key(document: bytes) -> ObjectKey | None:
    """The key of an encoded object; None for lists and for what is no object."""
    try:
        head = _HEAD.decode(document)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not (head.api_version and head.kind and head.metadata.name) or head.kind.endswith("List"):
        return None
    group, _ = split_api_version(head.api_version)
    return ObjectKey(group, head.kind, head.metadata.namespace or "", head.metadata.name)


def _decoded(document: bytes) -> Any:
    """The value of a document; one that is no JSON becomes a value that is no object."""
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError):
        return document


def _flattened(objects: Iterable[Any]) -> Iterator[Any]:
    for obj in objects:
        if obj is None:
            continue
        if (
            isinstance(obj, Mapping)
            and str(obj.get("kind", "")).endswith("List")
            and isinstance(obj.get("items"), list)
        ):
            yield from obj["items"]
        else:
            yield obj


def _partial_name(obj: Any) -> tuple[str, str]:
    """(kind, name) as far as they can be read; an object that is no mapping was never one of ours."""
    if not isinstance(obj, Mapping):
        return "?", "?"
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = obj.get("kind")
    return kind if isinstance(kind, str) else "", name if isinstance(name, str) else ""


def _problem(obj: Any) -> tuple[str, str] | None:
    if not isinstance(obj, Mapping):
        return type(obj).__name__, "is not a mapping"
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    shown = f"{obj.get('kind', 'object')}/{name or 'without a name'}"[:200]
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            return shown, f"has no {field}"
    if not isinstance(metadata, Mapping) or not isinstance(name, str) or not name:
        return shown, "has no metadata.name"
    if not isinstance(metadata.get("namespace") or "", str):
        return shown, "metadata.namespace is not text"
    return None


def _base_names(keys: Iterable[ObjectKey]) -> dict[ObjectKey, ObjectKey]:
    """Generated key -> base key, where the base name is not taken by another object of the set."""
    keys = list(keys)
    taken: dict[ObjectKey, int] = {}
    bases: dict[ObjectKey, ObjectKey] = {}
    for key in keys:
        base = key
        if key.group == "" and key.kind in _GENERATED and _SUFFIX.search(key.name):
            base = bases[key] = key._replace(name=_SUFFIX.sub("", key.name))
        taken[base] = taken.get(base, 0) + 1
    return {key: base for key, base in bases.items() if taken[base] == 1}


def _hash(obj: Object | None) -> str:
    try:
        return hashlib.sha256(_ENCODER.encode(obj)).hexdigest()
    except (TypeError, ValueError, RecursionError):
        # Not JSON (a key that is no text, a cycle): such an object never counts as unchanged.
        return ""
