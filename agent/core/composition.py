"""What a GitRepository's artifact consists of: a part of the checkout, folders copied in, rules for what stays out.

The order is Flux's: rules are read from what was checked out and copied in, and from nothing else.
"""

from __future__ import annotations

import dataclasses

from agent.core.mount import MountedTree, MountError
from agent.core.sourceignore import FilteredTree, rules_of_tree
from agent.core.tree import Entry, PathEscapeError, Stat, Tree, clean


class MissingFolderError(LookupError):
    """A path of `spec.sparseCheckout` that is not in the repository."""


class CopyError(ValueError):
    """An entry of `spec.include` that cannot be copied."""


@dataclasses.dataclass(frozen=True, slots=True)
class Included:
    """The files of another artifact, and which of them go where; `from_path` "" is all of them."""

    name: str
    from_path: str
    to_path: str
    tree: Tree = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Composition:
    """How to get from a commit's files to those of the artifact."""

    ignore: str | None = None
    sparse: tuple[str, ...] = ()
    included: tuple[Included, ...] = ()

    def compose(self, checkout: Tree) -> FilteredTree:
        """The files of the artifact (blocking: reads the rules). Raises CopyError, with Flux's words."""
        tree: Tree = SparseTree(checkout, self.sparse) if self.sparse else checkout
        for one in self.included:
            try:
                tree = MountedTree(tree, one.to_path, one.tree, one.from_path)
            except MountError as error:
                raise CopyError(
                    f"failed to copy '{one.name}' include from {one.from_path} to {one.to_path}: {error}"
                ) from None
        return FilteredTree(tree, rules_of_tree(tree, self.ignore))

    def takes(self, path: str) -> bool:
        """Whether a file of the repository is among those that were asked for; the rules are not looked at."""
        return not self.sparse or path.startswith(_prefixes(self.sparse))

    def reaches(self, folder: str) -> bool:
        """Whether anything in a folder of the repository may be asked for."""
        inside = f"{folder}/"
        prefixes = _prefixes(self.sparse)
        return not prefixes or inside.startswith(prefixes) or any(prefix.startswith(inside) for prefix in prefixes)

    def check(self, checkout: Tree) -> None:
        """Raises MissingFolderError, with Flux's words, if a folder that was asked for is not there (blocking)."""
        tree = SparseTree(checkout, self.sparse)
        for path in self.sparse:
            try:
                found = tree.stat(clean(path.lstrip("/")))
            except PathEscapeError:
                found = None
            if found is None:
                raise MissingFolderError(f"sparse checkout dir '{path}' does not exist in repository")


class SparseTree:
    """A tree with only those files whose path starts with one of the given, and the folders that lead to them.

    As in Flux, whose Git library compares texts and not names: `app` also stands for `app.yaml` and `apps/`, while
    `app/` is that folder alone.
    """

    def __init__(self, tree: Tree, paths: tuple[str, ...]) -> None:
        self._tree = tree
        self._prefixes = _prefixes(paths)

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        stat = self._tree.stat(path)
        return stat if stat is not None and self._shows(path, is_dir=stat.kind == "dir") else None

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if self.stat(path) is None:
            raise FileNotFoundError(path)
        return self._tree.read(path)

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        if self.stat(path) is None:
            raise FileNotFoundError(path)
        return self._entries(path)

    def _entries(self, folder: str) -> tuple[Entry, ...]:
        prefix = f"{folder}/" if folder else ""
        entries = self._tree.list(folder)
        return tuple(entry for entry in entries if self._shows(prefix + entry.name, is_dir=entry.kind == "dir"))

    def _shows(self, path: str, *, is_dir: bool) -> bool:
        if not path:
            return True
        if not is_dir:
            return path.startswith(self._prefixes)
        inside = f"{path}/"
        if inside.startswith(self._prefixes):
            return True
        leads_on = any(prefix.startswith(inside) for prefix in self._prefixes)
        return leads_on and bool(self._entries(path))


def _prefixes(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path.removeprefix("./") for path in paths)
