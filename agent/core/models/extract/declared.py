"""Weir's own annotations: references that a person declares because no field says them.

``weir.dev/model-ref.<slot>`` and ``weir.dev/data-ref.<slot>`` declare a reference, ``weir.dev/model-digest.<slot>``
vouches for the content of a slot, ``weir.dev/data-digest`` for the data of the whole object. ``<slot>`` is a slot
name with every run of characters that annotations do not allow written as ``-``.
``weir.dev/ignore-change`` ("true" or a comma-separated list of slots and kinds) asks for no action.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from agent.core.models.extract.slot import Context, MalformedError, Slot, Trait, at, text
from agent.core.models.grammar import parse
from agent.core.models.record import Kind
from agent.core.models.ref import Digest, Identity, Ref, opaque
from agent.core.models.rendered import Object

PREFIX: Final = "weir.dev/"
_DIGEST: Final = re.compile(r"^(?:([a-z0-9]+):)?([0-9a-zA-Z._-]{6,256})$")
_REFERENCES: Final[tuple[tuple[str, Kind], ...]] = (
    ("model-ref.", "model"),
    ("data-ref.", "data"),
    ("adapter-ref.", "adapter"),
)
_STRENGTH: Final = {"sha512": "sha256", "sha256": "sha256", "md5": "md5"}


def slug(name: str) -> str:
    """*name* as it is written in an annotation key: ``container[vllm].model`` -> ``container-vllm-model``."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def declared(obj: Object, _: Context) -> Iterator[Slot]:
    """Slots that annotations declare on the object or on its pod template."""
    for notes, path in _annotations(obj):
        for key, kind in _REFERENCES:
            for name in _named(notes, key):
                field = f"{PREFIX}{key}{name}"
                yield Slot(name, kind, parse(text(notes, field, path)), f"{path}['{field}']")
        field = f"{PREFIX}data-digest"
        if field in notes:
            digest = _digest(text(notes, field, path), f"{path}['{field}']")
            ref = Ref(str(digest), "declared", f"declared:{digest}", True, Identity(revision=str(digest)), digest)
            yield Slot("data-digest", "data", ref, f"{path}['{field}']", frozenset({"declared-digest"}))


def override(slots: Iterable[Slot], declarations: Mapping[str, Slot]) -> Iterator[Slot]:
    """*slots* with the declared reference in the place of what their field says; declarations of no slot follow."""
    waiting = {slug(name): slot for name, slot in declarations.items()}
    used = set()
    for slot in slots:
        said = waiting.get(slug(slot.name))
        if said is not None:
            used.add(said.name)
        yield slot if said is None else slot._replace(ref=said.ref, path=said.path)
    yield from (slot for slot in declarations.values() if slot.name not in used)


def annotate(obj: Object, slots: Iterable[Slot]) -> list[Slot]:
    """*slots* with declared digests on those that are not pinned, and ignored ones marked.

    A digest for a slot that does not exist makes one.
    """
    digests: dict[str, tuple[str, Digest, str]] = {}
    ignored: set[str] = set()
    for notes, path in _annotations(obj):
        for name in _named(notes, "model-digest."):
            field = f"{PREFIX}model-digest.{name}"
            digests[slug(name)] = (name, _digest(text(notes, field, path), f"{path}['{field}']"), f"{path}['{field}']")
        ignored |= {part.strip() for part in text(notes, f"{PREFIX}ignore-change", path).split(",") if part.strip()}
    found = []
    for slot in slots:
        vouched = digests.pop(slug(slot.name), None)
        # A pin says itself what the content is: a digest that somebody forgot to edit must not hide that it moved.
        ref = slot.ref if vouched is None or slot.ref.pinned is True else with_digest(slot.ref, vouched[1])
        ignore = bool(ignored & {"true", slot.kind, slot.name, slug(slot.name)})
        traits: frozenset[Trait] = slot.traits | {"ignored"} if ignore else slot.traits
        found.append(slot._replace(ref=ref, traits=traits) if ignore or vouched else slot)
    for name, digest, path in digests.values():
        ref = with_digest(opaque(str(digest), "declared", f"declared:{name}"), digest)
        found.append(Slot(name, "model", ref, path))
    return found


def with_digest(ref: Ref, digest: Digest) -> Ref:
    """*ref* with *digest* as what its content is said to be."""
    identity = Identity(revision=ref.identity.revision if ref.identity else None)
    return Ref(ref.spelling, ref.scheme, ref.canonical, ref.pinned, identity, digest, ref.size, ref.provenance)


def any_declared(obj: Object) -> bool:
    """True if the object or its pod template has an annotation of ours."""
    return next(_annotations(obj), None) is not None


def _annotations(obj: Object) -> Iterator[tuple[Mapping[str, object], str]]:
    for fields in (("metadata", "annotations"), ("spec", "template", "metadata", "annotations")):
        try:
            notes, path = at(obj, *fields)
        except MalformedError:
            if fields[0] == "metadata":
                raise
            continue
        if any(str(key).startswith(PREFIX) for key in notes):
            yield notes, path


def _named(notes: Mapping[str, object], key: str) -> Iterator[str]:
    start = f"{PREFIX}{key}"
    return (name[len(start) :] for name in sorted(map(str, notes)) if name.startswith(start) and len(name) > len(start))


def _digest(value: str, path: str) -> Digest:
    found = _DIGEST.match(value.strip())
    if found is None:
        raise MalformedError(path, "is not a digest (algorithm:value)")
    algorithm = found.group(1) or "sha256"
    return Digest(algorithm, found.group(2), "files", _STRENGTH.get(algorithm, algorithm))
