"""A tree with some of its files replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from agent.core.tree import Entry, Stat, Tree


class OverlayTree:
    """Another tree with other contents of files that it has."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._files = files

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        stat, content = self._tree.stat(path), self._files.get(path)
        if stat is None or content is None:
            return stat
        return stat._replace(size=len(content), oid=hashlib.sha256(content).hexdigest())

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError, or IsADirectoryError for a folder."""
        content = self._files.get(path)
        return self._tree.read(path) if content is None else content

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name. Raises FileNotFoundError, or NotADirectoryError for a file."""
        return self._tree.list(path)
