"""What asking a registry came to."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from agent.core.models.redact import bounded
from agent.core.models.ref import Digest, Identity, Ref, Size

Reason = Literal[
    "auth", "gated", "not-found", "rate-limited", "timeout", "unreachable", "refused", "unreadable", "unsupported"
]
"""``refused``: the registry does what no honest one does, such as leading to private addresses. ``unsupported``:
nobody knows how to ask, or the answer has nothing that tells versions apart."""


_LARGEST: Final = 2**53
"""What is larger (9 PB) is no size: status fields could not hold it, nor clocks the time for so much."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The content that a reference means now. *partial*: more may be known of it when it is asked for again."""

    digest: Digest | None = None
    size: Size | None = None
    revision: str | None = None
    version: str | None = None
    generation: str | None = None
    partial: bool = False


class Missing(msgspec.Struct, frozen=True):
    """Why that is not known. *after*: seconds for which the registry wants to be left alone."""

    reason: Reason
    message: str
    after: float | None = None


Outcome = Found | Missing


def shortened(found: Found) -> Found:
    """The content with texts of registries only as long as those of references may be, and with sizes that may be."""
    digest, size = found.digest, found.size
    return replace(
        found,
        size=Size(_extent(size.bytes), _extent(size.files), _extent(size.params)) if size else None,
        digest=replace(digest, alg=bounded(digest.alg), value=bounded(digest.value)) if digest else None,
        revision=bounded(found.revision) if found.revision else None,
        version=bounded(found.version) if found.version else None,
        generation=bounded(found.generation) if found.generation else None,
    )


def _extent(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= _LARGEST else None


def completed(ref: Ref, outcome: Outcome, at: datetime, known: Found | None = None) -> Ref:
    """The reference with what is known about its content.

    A failure keeps what was *known* before and says in ``unresolved`` that it is not certain any more. A digest that
    the text itself gives is never replaced.
    """
    found = outcome if isinstance(outcome, Found) else known
    identity = ref.identity or Identity()
    if found is not None:
        identity = replace(
            identity,
            revision=found.revision or identity.revision,
            version=found.version or identity.version,
            generation=found.generation or identity.generation,
            resolved_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    if isinstance(outcome, Missing):
        certain = ref.pinned is True and not identity.unresolved and outcome.reason != "not-found"
        identity = replace(identity, unresolved=None if certain else outcome.reason)
    else:
        identity = replace(identity, unresolved=None)
    digest = ref.digest or (found.digest if found else None)
    return replace(ref, identity=identity, digest=digest, size=ref.size or (found.size if found else None))
