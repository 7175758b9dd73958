"""From what references mean now to what is new about them: the slots of a DataTrigger's status.

Level, not edge: a slot is compared with what was last dealt with, so that commits, floating references and changes that
happened while no agent ran all look the same, and nothing is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from agent.api.datatrigger import DataTriggerStatus, PendingData, SeenSource, TriggerSlot
from agent.core.models.ref import Ref
from agent.core.trigger.selection import Place, readable

SLOTS = 200
"""Slots that one trigger may watch: they stand in its status."""
SourcePlace = tuple[str, str, str]


class Sighting(NamedTuple):
    """What a source refers to at a revision. `whole`: all of it, so that what is missing is gone; else what changed."""

    source: str
    revision: str
    places: Sequence[Place]
    whole: bool = True


class TooManyError(ValueError):
    """The selector fits more references than a status can hold."""


def looked(
    status: DataTriggerStatus,
    sightings: Iterable[Sighting],
    present: Collection[str],
    now: datetime,
    *,
    run_first: bool = False,
) -> DataTriggerStatus:
    """The status after looking. Sources that are not `present` any more are forgotten, and what they referred to.

    With `run_first`, what a source refers to when it is seen first is new; otherwise it is only noted.
    """
    slots = {_place(slot): slot for slot in status.slots if slot.source in present}
    sources = {source.name: source for source in status.sources if source.name in present}
    for sighting in sightings:
        fresh, before = sighting.source in sources or run_first, dict(slots)
        kept = set()
        for place in sighting.places:
            mark = (sighting.source, place.object, place.slot)
            kept.add(mark)
            found = _slot(slots.get(mark), sighting, place, now, fresh=fresh)
            if found is None:
                slots.pop(mark, None)
            else:
                slots[mark] = found if found.sent == place.sent else replace(found, sent=place.sent)
        if sighting.whole:
            slots = {mark: slot for mark, slot in slots.items() if mark[0] != sighting.source or mark in kept}
        if not sighting.whole or slots != before or sighting.source not in sources:
            sources[sighting.source] = SeenSource(name=sighting.source, revision=sighting.revision)
    if len(slots) > SLOTS:
        raise TooManyError(
            f"spec.selector fits {len(slots)} references, and a trigger can watch {SLOTS}: narrow it, or use several"
        )
    ordered = tuple(slots[mark] for mark in sorted(slots))
    return replace(status, slots=ordered, sources=tuple(sources[name] for name in sorted(sources)))


def data_of(reference: str, digest: str | None) -> str:
    """What makes data the same: its digest, else its canonical form."""
    return digest or reference


def place_name(slot: TriggerSlot) -> str:
    """`Kind/namespace/name slot`, as runs name their places."""
    return f"{slot.object} {slot.slot}"


def _place(slot: TriggerSlot) -> SourcePlace:
    return slot.source, slot.object, slot.slot


def _slot(
    known: TriggerSlot | None, sighting: Sighting, place: Place, now: datetime, *, fresh: bool
) -> TriggerSlot | None:
    ref = place.ref
    if ref is None:
        return None
    if not readable(ref):
        return known
    if known is None or (place.sent and place.old != ref and _is_noted(known, ref)):
        known = _first(sighting, place, fresh=fresh or place.sent)
    if known.reference is not None and _same(known.reference, known.digest, known.validator, ref):
        return _settled(known, ref)
    pending = known.pending
    if pending is not None and _same(pending.reference, pending.digest, pending.validator, ref):
        since = pending.since
    else:
        since, pending = now.replace(microsecond=0), None
    if ref.digest is None and pending is not None and pending.reference == ref.canonical:
        return known  # a registry that is silent for a while takes nothing back
    return replace(known, pending=_pending(ref, sighting.revision if pending is None else pending.revision, since))


def _first(sighting: Sighting, place: Place, *, fresh: bool) -> TriggerSlot:
    """A slot that was not there before: its data is new, unless the whole source is."""
    base = place.old if fresh else place.ref
    slot = TriggerSlot(source=sighting.source, object=place.object, slot=place.slot)
    if base is None or not readable(base):
        return slot
    return replace(
        slot,
        reference=base.canonical,
        digest=_digest(base),
        validator=_validator(base),
        revision=sighting.revision if base is place.ref else None,
    )


def _is_noted(known: TriggerSlot, ref: Ref) -> bool:
    """Whether the content was dealt with by taking note of it."""
    return (
        known.reference is not None
        and known.run is None
        and known.pending is None
        and _same(known.reference, known.digest, known.validator, ref)
    )


def _settled(known: TriggerSlot, ref: Ref) -> TriggerSlot:
    """The content is what was dealt with. Its digest may have become known, its text may be another one."""
    slot = replace(known, pending=None, reference=ref.canonical)
    return replace(slot, digest=_digest(ref), validator=_validator(ref)) if ref.digest is not None else slot


def _pending(ref: Ref, revision: str | None, since: datetime) -> PendingData:
    return PendingData(
        reference=ref.canonical,
        digest=_digest(ref),
        validator=_validator(ref),
        spelling=ref.spelling if ref.spelling != ref.canonical else None,
        revision=revision,
        since=since,
    )


def _same(reference: str, digest: str | None, validator: str | None, ref: Ref) -> bool:
    """Whether it is the same content, as far as can be told. Digests of different making say nothing."""
    if digest is not None and ref.digest is not None and validator == _validator(ref):
        return digest == _digest(ref)
    return reference == ref.canonical


def _digest(ref: Ref) -> str | None:
    return str(ref.digest) if ref.digest is not None else None


def _validator(ref: Ref) -> str | None:
    return f"{ref.digest.scope}/{ref.digest.strength}" if ref.digest is not None else None


def pendings(status: DataTriggerStatus) -> Iterator[tuple[TriggerSlot, PendingData]]:
    """The slots with newer data, those that have waited longest first."""
    waiting = [(slot, slot.pending) for slot in status.slots if slot.pending is not None]
    yield from sorted(waiting, key=lambda pair: (pair[1].since, _place(pair[0])))
