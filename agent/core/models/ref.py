"""What a manifest, a command line or a file in Git says about a model or data set, as a value.

Three things are kept apart. The *spelling* is the text in Git (credentials taken out). The *canonical* form is one
text per meaning, so that two spellings of the same reference compare equal. The *identity* and the *digest* say what
the reference means now; text alone gives them only for references that are pinned.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from agent.core.models.redact import bounded, redact_within

Pinned = bool | Literal["soft", "opaque"]

OFFLINE = "offline"
"""Nobody asked the registry: the text is not enough to know the content."""
OPAQUE = "opaque"
"""No protocol tells the content: a volume, a folder of the node, a Secret."""
MALFORMED = "malformed"
"""The text does not follow the grammar of the resource that holds it."""
SECRET_KEYED = "secret-keyed"  # noqa: S105 - a reason, not a password
"""The effective address depends on the data of a Secret."""
NOT_RENDERED = "not-in-rendered-set"
"""The text comes from a ConfigMap that is not among the rendered objects."""


class Identity(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """What the spelling means now. ``unresolved`` holds the reason when that is not known."""

    revision: str | None = None
    version: str | None = None
    generation: str | None = None
    resolved_at: str | None = None
    unresolved: str | None = None


class Digest(msgspec.Struct, frozen=True, gc=False):
    """A hash over content. ``strength`` names the validator it was made from: compare like with like only."""

    alg: str
    value: str
    scope: Literal["files", "loaded", "manifest", "object", "listing"]
    strength: str

    def __str__(self) -> str:
        return f"{self.alg}:{self.value}"

    def is_like(self, other: Digest) -> bool:
        """Whether the two can be compared: made in the same way, over the same, from the same kind of validator."""
        return (self.alg, self.scope, self.strength) == (other.alg, other.scope, other.strength)


class Size(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Known extent: bytes, number of files, number of parameters."""

    bytes: int | None = None
    files: int | None = None
    params: int | None = None


class Provenance(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """What gates found out about the content."""

    signed: bool | None = None
    signer: str | None = None
    scanned: bool | None = None
    license: str | None = None
    eval_report: str | None = None


class Ref(msgspec.Struct, frozen=True, gc=False):
    """One reference. ``pinned`` is true, false, ``"soft"`` (fixed by convention) or ``"opaque"`` (cannot be known)."""

    spelling: str
    scheme: str
    canonical: str
    pinned: Pinned
    identity: Identity | None = None
    digest: Digest | None = None
    size: Size | None = None
    provenance: Provenance | None = None

    @property
    def unresolved(self) -> str | None:
        """The reason why the content is not known, or None."""
        return self.identity.unresolved if self.identity else None


_HUB = frozenset({"hf-model", "hf-dataset"})
_HUB_REVISION = re.compile(r"@(?:refs/[^/]+/[^/]+|[^/]*)")


def origin(ref: Ref) -> str:
    """The canonical form without revision, version or generation: stable while only those move."""
    # A revision of the hub stands before the file, and may have slashes of its own.
    canonical = _HUB_REVISION.sub("", ref.canonical, count=1) if ref.scheme in _HUB else ref.canonical
    head, _, name = canonical.rpartition("/")
    for separator in ("@", "#", "?"):
        name = name.partition(separator)[0]
    if ref.scheme in {"oci", "ollama", "ngc", "wandb"}:
        name = name.partition(":")[0]
    return f"{head}/{name}" if head else name


_OF_AN_ADDRESS = frozenset({"etag", "generation", "mtime"})
"""Validators that whoever has the content gives it. Two addresses may have given the same one to different content, as
files of one size and one time, which have equal ETags, or tables that are both at their fifth version."""


def have_equal_digests(one: Ref, other: Ref) -> bool:
    """Whether the digests of two references say that they are the same content."""
    first, second = one.digest, other.digest
    if first is None or second is None or not first.is_like(second) or first.value != second.value:
        return False
    if first.strength not in _OF_AN_ADDRESS or first.scope == "files" or one.canonical == other.canonical:
        return True
    return one.scheme != "http" and origin(one) == origin(other)  # what a query asks for may be another file


NOT_FOUND = "not-found"
"""Whoever should have the content said that it is not there."""


def is_absent(ref: Ref | None) -> bool:
    """Whether the text names the content, and the content is not where it should be."""
    return ref is not None and ref.pinned is True and ref.unresolved == NOT_FOUND


def literal(value: str, spelling: str | None = None) -> Ref:
    """A plain setting (a number format, a count): the text is the whole content. Long texts end in their hash."""
    value = bounded(redact_within(value))
    return Ref(value if spelling is None else bounded(redact_within(spelling)), "literal", value, True)


def unresolved(spelling: str, scheme: str, canonical: str, reason: str = OFFLINE, pinned: Pinned = False) -> Ref:
    """A reference whose content the text does not give, for *reason*."""
    return Ref(spelling, scheme, canonical, pinned, Identity(unresolved=reason))


def opaque(spelling: str, scheme: str, canonical: str) -> Ref:
    """A reference whose content no protocol gives."""
    return Ref(spelling, scheme, canonical, "opaque", Identity(unresolved=OPAQUE))
