"""Weir's own annotations: references that a person declares because no field says them.

``weir.dev/model-ref.<slot>`` and ``weir.dev/data-ref.<slot>`` declare a reference, ``weir.dev/model-digest.<slot>``
vouches for the content of a slot, ``weir.dev/data-digest`` for the data of the whole object. ``<slot>`` is a slot
name with every run of characters that annotations do not allow written as ``-``.
``weir.dev/model-role`` says of what kind models of the object are, ``weir.dev/model-role.<slot>`` of what kind one slot
is. ``weir.dev/on-data-change`` chooses the action for other data, pipelines and features of the object.
``weir.dev/ignore-change`` ("true" or a comma-separated list of slots and kinds) asks for no action.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, cast, get_args

from agent.core.models.extract.slot import Context, MalformedError, Slot, at, text
from agent.core.models.grammar import parse
from agent.core.models.record import Action, Kind
from agent.core.models.ref import Digest, Identity, Ref, opaque
from agent.core.models.rendered import Object

PREFIX: Final = "weir.dev/"
_DIGEST: Final = re.compile(r"^(?:([a-z0-9]+):)?([0-9a-zA-Z._-]{6,256})$")
_REFERENCES: Final[tuple[tuple[str, Kind], ...]] = (
    ("model-ref.", "model"),
    ("data-ref.", "data"),
    ("adapter-ref.", "adapter"),
)
DATA_ACTIONS: Final[tuple[Action, ...]] = ("none", "alert", "job", "gate", "rollout")
"""What can be asked for when data changes."""
_DATA: Final[frozenset[Kind]] = frozenset({"data", "pipeline", "feature-store"})
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


class Notes(NamedTuple):
    """What annotations say of slots: *digests* by slug are (name, digest, JSONPath), *roles* by slug are kinds, the
    empty one that of all models; *ignored* are slots and kinds; *asked* is the action for other data."""

    digests: dict[str, tuple[str, Digest, str]]
    roles: dict[str, Kind]
    ignored: set[str]
    asked: Action | None


def annotate(obj: Object, slots: Iterable[Slot]) -> list[Slot]:
    """*slots* with declared digests on those that are not pinned, their kinds, and what to do as it is asked for.

    A digest for a slot that does not exist makes one.
    """
    notes, found = _notes(obj), list(slots)
    known = {slug(slot.name) for slot in found}
    for name, digest, path in (one for key, one in notes.digests.items() if key not in known):
        ref = with_digest(opaque(str(digest), "declared", f"declared:{name}"), digest)
        found.append(Slot(name, "model", ref, path))
    return [_annotated(slot, notes) for slot in found]


def _annotated(slot: Slot, notes: Notes) -> Slot:
    key = slug(slot.name)
    if key in notes.roles:
        slot = slot._replace(kind=notes.roles[key])
    elif slot.kind == "model" and "" in notes.roles:
        slot = slot._replace(kind=notes.roles[""])
    # A pin says itself what the content is: a digest that somebody forgot to edit must not hide that it moved.
    if key in notes.digests and slot.ref.pinned is not True:
        slot = slot._replace(ref=with_digest(slot.ref, notes.digests[key][1]))
    asked = notes.asked if slot.kind in _DATA else None
    if asked == "none" or notes.ignored & {"true", slot.kind, slot.name, key}:
        return slot._replace(traits=slot.traits | {"ignored"})
    return slot if asked is None else slot._replace(asked=asked)


def _notes(obj: Object) -> Notes:
    """What the annotations say; those of the pod template win."""
    found = Notes({}, {}, set(), None)
    for notes, path in _annotations(obj):
        for name in _named(notes, "model-digest."):
            field = f"{PREFIX}model-digest.{name}"
            where = f"{path}['{field}']"
            found.digests[slug(name)] = name, _digest(text(notes, field, path), where), where
        for key in (f"{PREFIX}model-role", *(f"{PREFIX}model-role.{name}" for name in _named(notes, "model-role."))):
            if role := _choice(notes, key, path, get_args(Kind)):
                found.roles[slug(key.removeprefix(f"{PREFIX}model-role"))] = cast("Kind", role)
        ignored = text(notes, f"{PREFIX}ignore-change", path).split(",")
        found.ignored.update(part.strip() for part in ignored if part.strip())
        if asked := _choice(notes, f"{PREFIX}on-data-change", path, DATA_ACTIONS):
            found = found._replace(asked=cast("Action", asked))
    return found


def _choice(notes: Mapping[str, object], field: str, path: str, known: Sequence[str]) -> str:
    """The value of an annotation, empty where there is none. Raises MalformedError if it is not *known*."""
    value = text(notes, field, path).strip()
    if value and value not in known:
        raise MalformedError(f"{path}['{field}']", f"is {value[:40]!r}: use one of {', '.join(known)}")
    return value


def without_digests(obj: Object) -> Object:
    """*obj* without the digests that its own metadata declare for slots: they are about one version of it, and none of
    another that has the same metadata. Those of the pod template belong to the version."""
    notes = obj["metadata"].get("annotations") or {}
    kept = {key: value for key, value in notes.items() if not str(key).startswith(f"{PREFIX}model-digest.")}
    return obj if len(kept) == len(notes) else {**obj, "metadata": {**obj["metadata"], "annotations": kept}}


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
