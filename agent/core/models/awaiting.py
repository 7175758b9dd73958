"""Content that moved with no commit and waits for a person's word: what the records say is still open."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context
from agent.core.models.record import ChangeRecord, ObjectId
from agent.core.models.rendered import RenderedSet
from agent.core.objects import ObjectKey

Place = tuple[ObjectKey, str]
"""An object and a slot of it."""


def awaiting(records: Iterable[ChangeRecord]) -> dict[Place, ChangeRecord]:
    """The last move of each slot that nobody has let through, from the records of one Kustomization, newest first.

    Content that is back to what was served before the first of these moves waits for nobody.
    """
    open_moves: dict[Place, list[ChangeRecord]] = {}
    closed: set[Place] = set()
    for record in records:
        place = _key(record.object), record.slot
        if record.op != "floated" or place in closed:
            continue
        if record.action == "gate":
            open_moves.setdefault(place, []).append(record)
        else:
            closed.add(place)
    return {place: moves[0] for place, moves in open_moves.items() if _content(moves[0].new) != _content(moves[-1].old)}


def referred(records: Iterable[ChangeRecord], rendered: RenderedSet) -> list[ChangeRecord]:
    """Those of the records whose reference is still in its slot."""
    found = []
    for record in records:
        entry = rendered.entries.get(_key(record.object))
        if entry is None or record.new is None:
            continue
        slot = extract(entry.object, Context(record.object.namespace, rendered)).slots.get(record.slot)
        if slot is not None and slot.ref.canonical == record.new.canonical:
            found.append(record)
    return found


def _key(target: ObjectId) -> ObjectKey:
    return ObjectKey(target.group, target.kind, target.namespace, target.name)


def _content(ref: object) -> str:
    return str(getattr(ref, "digest", None))
