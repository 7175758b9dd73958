"""What changed inside a folder that DVC tracks: two of its listings, compared file by file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from agent.core.models.record import FOLDER, ChangeRecord, Reason

_LISTED: Final = 5
_LONGEST: Final = 80
Listing = Mapping[str, str]
"""Path in the folder -> hash of the file."""


def with_files(records: Iterable[ChangeRecord], listings: Mapping[str, Listing]) -> list[ChangeRecord]:
    """Records of folders say which files came, changed and went, where the listings of both sides are known.

    Listings are found by the canonical form of the folder.
    """
    return [_with_files(record, listings) for record in records]


def is_folder(record: ChangeRecord) -> bool:
    """Whether the record is about a folder of DVC that has another listing now."""
    sides = (record.old, record.new)
    return record.op == "changed" and all(ref is not None and ref.canonical.endswith(".dir") for ref in sides)


def _with_files(record: ChangeRecord, listings: Mapping[str, Listing]) -> ChangeRecord:
    if not is_folder(record) or record.old is None or record.new is None:
        return record
    old, new = listings.get(record.old.canonical), listings.get(record.new.canonical)
    if old is None or new is None:
        return record
    return replace(record, reason=Reason(FOLDER, _told(old, new)))


def _told(old: Listing, new: Listing) -> str:
    parts = (
        ("added", new.keys() - old.keys()),
        ("changed", {path for path in old.keys() & new.keys() if old[path] != new[path]}),
        ("removed", old.keys() - new.keys()),
    )
    return "; ".join(f"{len(paths)} {word}: {_listed(paths)}" for word, paths in parts if paths) or "the same files"


def _listed(paths: Iterable[str]) -> str:
    ordered = sorted(paths)
    shown = ", ".join(_short(path) for path in ordered[:_LISTED])
    return shown if len(ordered) <= _LISTED else f"{shown} and {len(ordered) - _LISTED} more"


def _short(path: str) -> str:
    """A path of bearable length, without what would leave its line."""
    printable = "".join(char if char.isprintable() else "?" for char in path)
    return printable if len(printable) <= _LONGEST else f"…{printable[1 - _LONGEST :]}"
