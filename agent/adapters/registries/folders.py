"""Trees that tell one folder at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from agent.adapters.registries.access import RegistryError
from agent.core.registries.listing import File

_FOLDERS: Final = 200
_FILES: Final = 50_000


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
    folders = [""]
    for _ in range(_FOLDERS):
        if not folders:
            return files
        path = folders.pop()
        entries = root if root is not None and not path else await listed(path)
        files += [File(path + one.name, one.size, one.validator, one.strength) for one in entries if not one.folder]
        folders += [f"{path}{one.name}/" for one in entries if one.folder and _leads_down(one.name)]
        if len(files) > _FILES:
            break
    raise RegistryError("refused", f"there are more than {_FOLDERS} folders, or {_FILES} files, below the path")


def _leads_down(name: str) -> bool:
    return name not in {"", ".", ".."} and "/" not in name
