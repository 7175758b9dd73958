"""The files of a revision by path, with the folders that they make."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

KUSTOMIZATION_NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""What kustomize looks for in a folder, the first one counts."""
_LINK: Final = 0o120000
_SUBMODULE: Final = 0o160000


class File(Protocol):
    """An entry of a tree: its Git mode and the id of its content."""

    @property
    def mode(self) -> int: ...

    @property
    def oid(self) -> str: ...


class Content(NamedTuple):
    """What a file holds, or why that cannot be told."""

    data: bytes
    problem: str = ""


Read = Callable[[str], Content]
"""The content behind an id."""


class Listing:
    """All paths of a revision. Links and submodules are no files of a build.

    What files hold that are *damaged* is not told, but why not: by path.
    """

    def __init__(self, files: Mapping[str, File], read: Read, damaged: Mapping[str, str] | None = None) -> None:
        self.files = files
        self.damaged = damaged or {}
        self._read = read
        self._sorted = sorted(files)
        self._folders: dict[str, list[str]] = {"": []}
        for path in self._sorted:
            self._place(path)

    def _place(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        known = folder in self._folders
        self._folders.setdefault(folder, []).append(name)
        while not known:
            folder = folder.rpartition("/")[0]
            known = folder in self._folders
            self._folders.setdefault(folder, [])

    def without(self, leaves_out: Callable[[str], bool]) -> Listing:
        """The same without the files that *leaves_out* says."""
        kept = {path: file for path, file in self.files.items() if not leaves_out(path)}
        return Listing(kept, self._read, self.damaged)

    @property
    def folders(self) -> Iterator[str]:
        """All folders, "" is the root."""
        return iter(self._folders)

    def is_file(self, path: str) -> bool:
        """Whether an ordinary file is at the path."""
        found = self.files.get(path)
        return found is not None and found.mode not in {_LINK, _SUBMODULE}

    def is_folder(self, path: str) -> bool:
        """Whether a folder is at the path."""
        return path in self._folders

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in the folder and is no folder itself, sorted."""
        return self._folders.get(folder, [])

    def below(self, folder: str) -> Iterator[str]:
        """All paths in the folder and its subfolders, sorted."""
        prefix = f"{folder}/" if folder else ""
        for path in self._sorted[bisect.bisect_left(self._sorted, prefix) :]:
            if not path.startswith(prefix):
                return
            yield path

    def kustomization(self, folder: str) -> str | None:
        """The path of the folder's kustomization file, if it has one."""
        names = (inside(folder, name) for name in KUSTOMIZATION_NAMES)
        return next((path for path in names if self.is_file(path)), None)

    def content(self, path: str) -> Content:
        """What the file at the path holds."""
        problem = self.damaged.get(path)
        return Content(b"", problem) if problem else self._read(self.files[path].oid)


def inside(folder: str, name: str) -> str:
    """The path of *name* in *folder*, which may be the root."""
    return f"{folder}/{name}" if folder else name


def is_yaml(path: str) -> bool:
    """Whether the path has the name of a YAML file."""
    return path.endswith((".yaml", ".yml"))


def common_folders(one: str, other: str) -> int:
    """How many folders two paths have in common."""
    count = 0
    for mine, theirs in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if mine != theirs:
            break
        count += 1
    return count
