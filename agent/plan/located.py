"""The line of a file in which a changed reference stands."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import replace

from agent.core.models import ChangeRecord
from agent.core.plan.listing import Listing

_LARGEST = 1 << 20
_SHORTEST = 3
"""Characters: anything shorter stands in too many lines by chance."""


def with_lines(records: Iterable[ChangeRecord], old: Listing, new: Listing) -> list[ChangeRecord]:
    """Records with `location.line` where exactly one line of the file has the spelling."""

    @lru_cache(maxsize=64)
    def lines(path: str, *, removed: bool) -> tuple[str, ...]:
        listing = old if removed else new
        if not listing.is_file(path):
            return ()
        data = listing.content(path).data
        return tuple(data.decode(errors="replace").splitlines()) if len(data) <= _LARGEST else ()

    def located(record: ChangeRecord) -> ChangeRecord:
        ref = record.new or record.old
        if ref is None or record.location.file is None or len(ref.spelling) < _SHORTEST:
            return record
        text = lines(record.location.file, removed=record.new is None)
        # A revision that stands apart, in a flag of its own, is joined to the spelling with an "@".
        for written in (ref.spelling, ref.spelling.rpartition("@")[0]):
            found = [number for number, line in enumerate(text, start=1) if written in line] if written else []
            if len(found) == 1:
                return replace(record, location=replace(record.location, line=found[0]))
        return record

    return [located(record) for record in records]
