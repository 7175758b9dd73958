"""Which Kustomizations a file of a repository belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from agent.core.models.record import ChangeRecord


def by_folder(folders: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    """The names that each folder has, of names with their folders: clean paths, and nothing for the top one."""
    found: dict[str, set[str]] = {}
    for name, folder in folders:
        found.setdefault(folder, set()).add(name)
    return {folder: frozenset(names) for folder, names in found.items()}


def nearest(path: str, folders: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The names of the deepest folder above the path. Costs as many steps as the path has, however many folders."""
    while path:
        path = path.rpartition("/")[0]
        if path in folders:
            return folders[path]
    return frozenset()


def with_kustomizations(records: Iterable[ChangeRecord], of: Mapping[str, Sequence[str]]) -> list[ChangeRecord]:
    """Records of files name in their impact the Kustomizations (`namespace/name`) of their path, where *of* has any."""
    return [
        replace(record, impact=replace(record.impact, kustomizations=tuple(of[record.object.name])))
        if record.object.kind == "File" and record.object.name in of
        else record
        for record in records
    ]
