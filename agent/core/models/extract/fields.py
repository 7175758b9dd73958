"""One field, one slot: the shapes that most serving resources are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.core.models.extract.slot import Slot, Trait, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.redact import HIDDEN
from agent.core.models.ref import literal, opaque, unresolved

POD: Final[frozenset[Trait]] = frozenset({"pod-template"})
HOT: Final[frozenset[Trait]] = frozenset({"hot-reload"})
OUTPUT: Final[frozenset[Trait]] = frozenset({"pod-template", "output"})
NAME: Final[frozenset[Trait]] = frozenset({"pod-template", "api-name"})
ACCELERATOR: Final[frozenset[Trait]] = frozenset({"pod-template", "accelerator"})
IMMUTABLE: Final[frozenset[Trait]] = frozenset({"pod-template", "immutable"})
NONE: Final[frozenset[Trait]] = frozenset()

Parent = tuple[Mapping[str, Any], str]
"""A mapping and its JSONPath."""


def uri(
    parent: Parent,
    field: str,
    name: str,
    kind: Kind = "model",
    grammar: Grammar = Grammar.GENERIC,
    *,
    revision: str = "",
    traits: frozenset[Trait] = POD,
) -> Iterator[Slot]:
    """A reference in *field*; *revision* names the field beside it that holds its revision."""
    fields, path = parent
    value = text(fields, field, path)
    if value:
        found = text(fields, revision, path) if revision else ""
        yield Slot(name, kind, parse(value, grammar, revision=found), f"{path}.{field}", traits)


def value(
    parent: Parent, field: str, name: str, kind: Kind = "config", traits: frozenset[Trait] = OUTPUT
) -> Iterator[Slot]:
    """A plain setting in *field*."""
    fields, path = parent
    found = text(fields, field, path)
    if found:
        yield Slot(name, kind, literal(found), f"{path}.{field}", traits)


def values(
    parent: Parent, names: Sequence[str], prefix: str = "", kind: Kind = "config", traits: frozenset[Trait] = OUTPUT
) -> Iterator[Slot]:
    """Plain settings that keep the names of their fields, after *prefix*."""
    for field in names:
        yield from value(parent, field, f"{prefix}{field}", kind, traits)


def named(
    parent: Parent, field: str, name: str, target: str, kind: Kind = "runtime", *, traits: frozenset[Trait] = POD
) -> Iterator[Slot]:
    """The name of another object of kind *target* (lower case)."""
    fields, path = parent
    found = text(fields, field, path)
    if found:
        ref = unresolved(found, "object", f"{target}:{found}")
        yield Slot(name, kind, ref, f"{path}.{field}", traits)


def claim(parent: Parent, field: str, name: str, kind: Kind = "model") -> Iterator[Slot]:
    """The name of a volume claim."""
    fields, path = parent
    found = text(fields, field, path)
    if found:
        yield Slot(name, kind, opaque(found, "pvc", f"pvc://{found}"), f"{path}.{field}", POD)


def secret(parent: Parent, field: str, name: str, namespace: str) -> Iterator[Slot]:
    """The name of a Secret."""
    fields, path = parent
    found = text(fields, field, path)
    if found:
        canonical = f"secret://{namespace}/{found}"
        yield Slot(name, "credential", opaque(canonical, "secret", canonical), f"{path}.{field}", POD)


def concealed(parent: Parent, field: str, name: str) -> Iterator[Slot]:
    """A credential that is written out: that it is another one is told, and never what it is."""
    fields, path = parent
    found = text(fields, field, path)
    if found:
        fingerprint = hashlib.sha256(found.encode("utf-8", "surrogatepass")).hexdigest()
        ref = opaque(HIDDEN, "argument", f"argument:{field}")
        yield Slot(name, "credential", ref, f"{path}.{field}", POD, fingerprint)


def scale(parent: Parent, *names: str, prefix: str = "") -> Iterator[Slot]:
    """Replica counts; zero counts too."""
    fields, path = parent
    for field in names:
        if field in fields:
            yield Slot(f"{prefix}{field}", "scale", literal(text(fields, field, path)), f"{path}.{field}")


def image(
    parent: Parent, field: str, name: str, kind: Kind = "code-image", traits: frozenset[Trait] = POD
) -> Iterator[Slot]:
    """A container image, as text or in the parts repository, tag and digest, of which the last one is pointed at."""
    fields, path = parent
    found, where = fields.get(field), f"{path}.{field}"
    if isinstance(found, Mapping):
        here = where
        repository, tag = text(found, "repository", here), text(found, "tag", here)
        digest = text(found, "digest", here)
        spelled = joined(repository, tag) + (f"@{digest}" if digest else "")
        where = f"{here}.{'digest' if digest else 'tag' if tag else 'repository'}"
    else:
        spelled = text(fields, field, path)
    if spelled:
        yield Slot(name, kind, parse(spelled, Grammar.IMAGE), where, traits)


def joined(repository: str, tag: str) -> str:
    """``repository`` with a tag; where the tag field is the only place for a digest it may hold one."""
    if not repository or not tag:
        return repository
    if tag.startswith("@"):
        return repository + tag
    return f"{repository}@{tag}" if tag.startswith(("sha256:", "sha512:")) else f"{repository}:{tag}"
