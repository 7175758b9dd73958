"""A tree with some files replaced or added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from agent.core.tree import Entry, Stat, Tree, parent_and_name


class OverlayTree:
    """Another tree, with contents by path in place of what it has there. Folders of new files have to exist."""

    def __init__(self, tree: Tree, contents: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._contents = contents

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        content = self._contents.get(path)
        if content is None:
            return self._tree.stat(path)
        return Stat("file", len(content), hashlib.sha256(content).hexdigest())

    def read(self, path: str) -> bytes:
        """The content of a file."""
        content = self._contents.get(path)
        return self._tree.read(path) if content is None else content

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        names = {entry.name: entry for entry in self._tree.list(path)}
        for added in self._contents:
            folder, name = parent_and_name(added)
            if folder == path:
                names[name] = Entry(name, "file")
        return tuple(names[name] for name in sorted(names))
