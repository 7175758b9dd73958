"""What the references of one object are known to mean, by what has been told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from agent.core.models.record import ChangeRecord
from agent.core.models.ref import Ref
from agent.core.objects import ObjectKey

Meanings: TypeAlias = Mapping[tuple[str, str], Ref]
"""References with a digest, by slot and canonical text."""
_SECOND: Final = timedelta(seconds=1)
"""Times in objects and references are cut to it."""


class Pods(NamedTuple):
    """When the first and the last of the pods in question can have been started; None where that is not known."""

    first: datetime | None = None
    last: datetime | None = None


def meanings(told: Iterable[tuple[ChangeRecord, datetime]], pods: Pods) -> Meanings:
    """What the records of one object, and when they were seen, say.

    A text that has meant more than one content means none for certain: of a tag that has moved nobody can say here
    which one a pod was started with. Neither can anybody of a tag that pods may have been started with before it was
    looked at for the first time. They were not where a commit replaced other content by it while somebody watched, or
    where all of them are younger than that look. Once a commit has taken a tag away, nobody looks any more where it
    goes: it says nothing of *pods* that were started later.
    """
    found: dict[tuple[str, str], Ref | None] = {}
    sure: set[tuple[str, str]] = set()
    for record, at in told:
        if (gone := _taken(record)) and pods.last is not None and at < pods.last:
            found[gone] = None
        for ref in (record.new, record.old):
            if ref is None or (ref.pinned is True and not _is_known(ref)):
                continue
            place = record.slot, ref.canonical
            other = found.setdefault(place, ref if _is_known(ref) else None)
            if other is not None and other.digest != ref.digest:
                found[place] = None
            if ref.pinned is True or (ref is record.new and _brings(record)) or _is_before(ref, pods.first):
                sure.add(place)
    return {place: ref for place, ref in found.items() if ref is not None and place in sure}


def _is_known(ref: Ref) -> bool:
    return ref.digest is not None and not ref.unresolved


def _brings(record: ChangeRecord) -> bool:
    """Whether a commit has put another content into the slot of an object that was there, so that its pods went."""
    return record.op == "changed" and record.commit.old not in {None, record.commit.new}


def _taken(record: ChangeRecord) -> tuple[str, str] | None:
    """The place of a tag that a commit has replaced."""
    old, new = record.old, record.new
    stays = old is None or old.pinned is True or (new is not None and new.canonical == old.canonical)
    if old is None or stays or record.commit.old == record.commit.new:
        return None
    return record.slot, old.canonical


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
