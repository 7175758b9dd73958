"""Files of the repository that stand for models and data. The caller reads the blobs; large ones are not needed."""

from __future__ import annotations

from typing import Final

import msgspec

from agent.core.models.extract import artifacts, document, dvc
from agent.core.models.extract.artifacts import Reader
from agent.core.models.extract.pointers import POINTER_LIMIT, SUBMODULE, SYMLINK, Blob, pointer
from agent.core.models.extract.slot import Slot


class FileChange(msgspec.Struct, frozen=True):
    """A path whose tree entry differs between two commits; a side is None where the path does not exist."""

    path: str
    old: Blob | None
    new: Blob | None


DOCUMENTS: Final[dict[str, Reader]] = {
    "dvc.lock": lambda data, where: dvc.dvc_lock(document.load(data, where)),
    "dvc.yaml": lambda data, where: dvc.dvc_yaml(document.load(data, where)),
    **artifacts.DOCUMENTS,
}
"""Readers by file name."""


def reader_of(path: str) -> Reader | None:
    """The reader of the file at *path*, by its name."""
    folder, _, name = path.rpartition("/")
    if name.endswith(".dvc") and name != ".dvc":
        return lambda data, where: dvc.dvc_file(document.load(data, where))
    return DOCUMENTS.get(name) or artifacts.reader_by_pattern(folder, name)


def wants(path: str, size: int, mode: int = 0o100644) -> bool:
    """True if the bytes at *path* are worth reading: everything else need not be fetched from the object store."""
    if mode in {SUBMODULE, SYMLINK}:
        return True
    return size < POINTER_LIMIT or (size <= document.SIZE_LIMIT and reader_of(path) is not None)


def file_slots(path: str, blob: Blob) -> list[Slot]:
    """What the file at *path* stands for; empty for ordinary files. Raises MalformedError."""
    # Any file may be a pointer: one with a known name too, when its folder is kept in Git LFS.
    found = pointer(path, blob)
    if found is not None:
        return [found]
    reader = reader_of(path)
    return list(reader(blob.data, path)) if reader is not None and blob.mode not in {SUBMODULE, SYMLINK} else []
