"""What the references of one object are known to mean, by what has been told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from msgspec.structs import replace

from agent.core.models.record import ChangeRecord
from agent.core.models.ref import Ref
from agent.core.objects import ObjectKey

Meanings: TypeAlias = Mapping[tuple[str, str], Ref]
"""References with a digest, by slot and canonical text."""
_SECOND: Final = timedelta(seconds=1)
"""Times in objects and references are cut to it."""


def meanings(records: Iterable[ChangeRecord], since: datetime | None = None) -> Meanings:
    """What the records of one object say.

    A text that has meant more than one content means none for certain: of a tag that has moved nobody can say here
    which one a pod was started with. Neither can anybody of a tag that pods may have been started with before it was
    looked at for the first time. They were not where a commit replaced other content by it while somebody watched, or
    where all of them are younger than that look: `since` is when the first of them can have been started.
    """
    found: dict[tuple[str, str], Ref | None] = {}
    sure: set[tuple[str, str]] = set()
    for record in records:
        for ref in (record.new, record.old):
            if ref is None or (ref.pinned is True and not _is_known(ref)):
                continue
            place = record.slot, ref.canonical
            other = found.setdefault(place, ref if _is_known(ref) else None)
            if other is not None and other.digest != ref.digest:
                found[place] = None
            if ref.pinned is True or (ref is record.new and _brings(record)) or _is_before(ref, since):
                sure.add(place)
    return {place: ref for place, ref in found.items() if ref is not None and place in sure}


def _is_known(ref: Ref) -> bool:
    return ref.digest is not None and not ref.unresolved


def _brings(record: ChangeRecord) -> bool:
    """Whether a commit has put another content into the slot of an object that was there, so that its pods went."""
    return record.op == "changed" and record.commit.old not in {None, record.commit.new}


def _is_before(ref: Ref, since: datetime | None) -> bool:
    """Whether it was looked up what a reference means before a time."""
    looked = ref.identity.resolved_at if ref.identity else None
    if since is None or looked is None:
        return False
    try:
        return datetime.fromisoformat(looked).astimezone(UTC) < since + _SECOND
    except ValueError:
        return False


class Known:
    """A `Resolve` that says of references what is known of them, but for those that say for themselves what they mean,
    as a declared digest does."""

    def __init__(self, known: Meanings) -> None:
        self._known = known

    def __call__(self, _side: Literal["old", "new"], _key: ObjectKey, slot: str, ref: Ref) -> Ref:
        known = self._known.get((slot, ref.canonical)) if ref.digest is None else None
        return ref if known is None else replace(known, spelling=ref.spelling)
