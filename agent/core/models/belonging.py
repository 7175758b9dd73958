"""Which Kustomizations a file of a repository belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from agent.core.models.record import ChangeRecord


def nearest(path: str, folders: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Of names with their folders, clean paths, those whose folder is the deepest one above the path."""
    above = [(name, folder) for name, folder in folders if not folder or path.startswith(f"{folder}/")]
    deepest = max((len(folder) for _, folder in above), default=0)
    return frozenset(name for name, folder in above if len(folder) == deepest)


def with_kustomizations(records: Iterable[ChangeRecord], of: Mapping[str, Sequence[str]]) -> list[ChangeRecord]:
    """Records of files name in their impact the Kustomizations (`namespace/name`) of their path, where *of* has any."""
    return [
        replace(record, impact=replace(record.impact, kustomizations=tuple(of[record.object.name])))
        if record.object.kind == "File" and record.object.name in of
        else record
        for record in records
    ]
