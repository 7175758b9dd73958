"""What the references of one object are known to mean, by what has been told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from msgspec.structs import replace

from agent.core.models.record import ChangeRecord
from agent.core.models.ref import Ref
from agent.core.objects import ObjectKey

Meanings: TypeAlias = Mapping[tuple[str, str], Ref]
"""References with a digest, by slot and canonical text."""


def meanings(records: Iterable[ChangeRecord]) -> Meanings:
    """What the records of one object say. A text that has meant more than one content means none for certain: of a tag
    that has moved nobody can say here which one a pod was started with."""
    found: dict[tuple[str, str], Ref | None] = {}
    for record in records:
        for ref in (record.new, record.old):
            if ref is None or ref.digest is None or ref.unresolved:
                continue
            place = record.slot, ref.canonical
            other = found.setdefault(place, ref)
            if other is not None and other.digest != ref.digest:
                found[place] = None
    return {place: ref for place, ref in found.items() if ref is not None}


class Known:
    """A `Resolve` that says of references what is known of them."""

    def __init__(self, known: Meanings) -> None:
        self._known = known

    def __call__(self, _side: Literal["old", "new"], _key: ObjectKey, slot: str, ref: Ref) -> Ref:
        known = self._known.get((slot, ref.canonical))
        return ref if known is None else replace(known, spelling=ref.spelling)
