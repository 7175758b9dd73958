"""Trees that tell one folder at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from agent.adapters.registries.access import RegistryError
from agent.core.registries.listing import File

_FOLDERS: Final = 200
_FILES: Final = 50_000
_OBJECTS: Final = 100_000
_CHARACTERS: Final = 16 * 1024 * 1024
"""Of all paths and validators: each path below a long name has that name in it."""


class Entry(NamedTuple):
    """A folder, or a file with its size in bytes and a validator of some kind, by its name."""

    name: str
    folder: bool
    size: int = 0
    validator: str = ""
    strength: str = ""


Listed = Callable[[str], Awaitable[Sequence[Entry]]]
"""What is in a folder, by its path below the root: empty, or with a slash at its end."""


async def below(listed: Listed, root: Sequence[Entry] | None = None) -> list[File]:
    """All files of the tree; `root` if what is there is known. Raises RegistryError: also if there are too many."""
    files: list[File] = []
    folders, visited, characters = [""], 0, 0
    while folders:
        path = folders.pop()
        visited += 1
        for entry in root if root is not None and not path else await listed(path):
            if entry.folder and not _leads_down(entry.name):
                continue
            characters += len(path) + len(entry.name) + len(entry.validator)
            if characters > _CHARACTERS:
                raise RegistryError("refused", "what is told of the files below the path is too long")
            if entry.folder:
                folders.append(f"{path}{entry.name}/")
            else:
                files.append(File(path + entry.name, entry.size, entry.validator, entry.strength))
            within(len(files), visited + len(folders))
    return files


class Listing:
    """What a store tells of its objects, page by page: so many, and so much about them, as may be looked at."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self._characters = 0

    def add(self, page: Iterable[File]) -> None:
        """One page more. Raises RegistryError if that is too much."""
        for file in page:
            self.files.append(file)
            self._characters += len(file.path) + len(file.validator)
            if len(self.files) > _OBJECTS or self._characters > _CHARACTERS:
                told = f"there are more than {_OBJECTS} objects below the path, or what is told of them is too long"
                raise RegistryError("refused", told)


def within(files: int, folders: int = 0) -> None:
    """Whether a tree is small enough to be looked at. Raises RegistryError for one that is not."""
    if files > _FILES or folders > _FOLDERS:
        raise RegistryError("refused", f"there are more than {_FOLDERS} folders, or {_FILES} files, below the path")


def _leads_down(name: str) -> bool:
    return name not in {"", ".", ".."} and "/" not in name
