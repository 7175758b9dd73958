"""A repository of the user on this machine: any revision of it, read from its objects alone.

No work tree, index or hook is looked at, and nothing is written.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
from pygit2.enums import Option, SortMode

from agent.adapters.git.errors import GitOperationError, MissingObjectError
from agent.adapters.git.objects import GitTree, ObjectStore, name_of
from agent.core.models.gto import Tag

_EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Git knows the empty tree without having it."""
_FOLDER: Final = 0o040000
_TAGS: Final = "refs/tags/"
_UNREADABLE: Final = (pygit2.GitError, KeyError, ValueError, TypeError, OSError)


class NoRepositoryError(GitOperationError):
    """There is no Git repository at the path, or one that cannot be read."""


class UnknownRevisionError(GitOperationError):
    """The text names no commit or tree of the repository."""


class TreeFile(NamedTuple):
    """An entry of a tree that is no folder: its Git mode and the id of its content."""

    mode: int
    oid: str


class LocalRevision(NamedTuple):
    """A commit, or a bare tree; `author` is `name <email>`, empty for a tree. `id` is what a record shows."""

    id: str
    tree: str
    author: str = ""


class LocalRepository:
    """Opens the repository that holds *directory* (a bare one too). Raises NoRepositoryError."""

    def __init__(self, directory: Path) -> None:
        # In a pipeline the clone often belongs to another user. Only objects are read here: nothing that the
        # repository says is executed, so its owner does not matter.
        pygit2.option(Option.SET_OWNER_VALIDATION, 0)
        try:
            found = pygit2.discover_repository(str(directory))
            if found is None:
                raise NoRepositoryError(f"no Git repository at {str(directory)!r} or above it")
            self._store = ObjectStore(Path(found))
            self._repository = self._store.handle()
        except _UNREADABLE as error:
            raise NoRepositoryError(f"no readable Git repository at {str(directory)!r}: {_line(error)}") from None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs of the remotes."""
        return tuple(remote.url for remote in self._repository.remotes if remote.url)

    def revision(self, text: str) -> LocalRevision:
        """What Git's revision syntax means by *text*. Raises UnknownRevisionError."""
        if text == _EMPTY_TREE:
            return LocalRevision(text, "")
        try:
            found = self._repository.revparse_single(text)
        except _UNREADABLE:
            raise UnknownRevisionError(f"unknown revision {text!r}{self._shallow()}") from None
        try:
            commit = found.peel(pygit2.Commit)
        except _UNREADABLE:
            return self._bare(text, found)
        try:
            author = f"{commit.author.name} <{commit.author.email}>"
            return LocalRevision(str(commit.id), str(commit.tree_id), author)
        except _UNREADABLE as error:
            raise UnknownRevisionError(f"revision {text!r} cannot be read: {_line(error)}") from None

    def before(self, text: str) -> LocalRevision:
        """The first parent of a commit; nothing at all for the first commit. Raises UnknownRevisionError."""
        commit = self.revision(text)
        parents = self._repository[commit.id].peel(pygit2.Commit).parent_ids if commit.author else []
        if not parents:
            if self._shallow():
                raise UnknownRevisionError(f"the commit before {text!r} is not here{self._shallow()}")
            return LocalRevision(_EMPTY_TREE, "")
        return self.revision(str(parents[0]))

    def merge_base(self, one: str, other: str) -> LocalRevision:
        """Where two revisions parted. Raises UnknownRevisionError."""
        ids = [self.revision(text).id for text in (one, other)]
        try:
            base = self._repository.merge_base(*ids)
        except _UNREADABLE:
            base = None
        if base is None:
            raise UnknownRevisionError(f"{one!r} and {other!r} have no common commit{self._shallow()}")
        return self.revision(str(base))

    def files(self, revision: LocalRevision) -> dict[str, TreeFile]:
        """All files, links and submodules by path. Raises MissingObjectError."""
        found: dict[str, TreeFile] = {}
        pending = [("", revision.tree)] if revision.tree else []
        while pending:
            prefix, oid = pending.pop()
            try:
                entries = self._store.entries(oid)
            except MissingObjectError:
                place = f"folder {prefix or '.'} of {revision.id} cannot be read: tree {oid} is missing or damaged"
                raise MissingObjectError(place) from None
            for name, (mode, child) in entries.items():
                if mode == _FOLDER:
                    pending.append((f"{prefix}{name}/", child))
                else:
                    found[f"{prefix}{name}"] = TreeFile(mode, child)
        return found

    def files_before(
        self, old: LocalRevision, new: LocalRevision, files: Mapping[str, TreeFile]
    ) -> dict[str, TreeFile]:
        """The files of *old* from those of *new*: only folders that differ are read. Raises MissingObjectError."""
        if not old.tree or not new.tree:
            return self.files(old)
        found = dict(files)
        try:
            with self._store.open() as repository:
                trees = [repository[revision.tree].peel(pygit2.Tree) for revision in (old, new)]
                deltas = list(trees[0].diff_to_tree(trees[1]).deltas)
        except MissingObjectError:
            return self.files(old)  # says which folder it is
        for delta in deltas:
            if int(delta.new_file.mode):
                found.pop(name_of(delta.new_file.raw_path), None)
        for delta in deltas:
            if int(delta.old_file.mode):
                found[name_of(delta.old_file.raw_path)] = TreeFile(int(delta.old_file.mode), str(delta.old_file.id))
        return found

    def ancestors(self, revision: LocalRevision, most: int) -> list[LocalRevision]:
        """The commits before a commit, newest first, as far as the clone has them; none before a bare tree."""
        if not revision.author:
            return []
        found: list[LocalRevision] = []
        with contextlib.suppress(*_UNREADABLE):  # where a shallow clone ends
            commits = itertools.islice(self._repository.walk(revision.id, SortMode.TIME), 1, most + 1)
            found.extend(LocalRevision(str(commit.id), str(commit.tree_id)) for commit in commits)
        return found

    def tags(self, wanted: Callable[[str], object]) -> list[Tag]:
        """The annotated tags with wanted names that lead to a commit and can be read, with their times."""
        found = []
        for full in list(self._repository.references):
            name = full.removeprefix(_TAGS)
            if name == full or not wanted(name):
                continue
            with contextlib.suppress(*_UNREADABLE):
                tag = self._repository[self._repository.references[full].target]
                if isinstance(tag, pygit2.Tag):
                    made = tag.tagger.time if tag.tagger else 0
                    found.append(Tag(name, str(tag.id), str(tag.peel(pygit2.Commit).id), made))
        return found

    def reached(self, revision: LocalRevision, wanted: Collection[str], but: LocalRevision | None = None) -> set[str]:
        """Those of the wanted commits that a commit has in its history, itself among them, and *but* has not."""
        found: set[str] = set()
        if not revision.author:
            return found
        with contextlib.suppress(*_UNREADABLE):  # where a shallow clone ends
            walk = self._repository.walk(revision.id, SortMode.NONE)
            if but is not None and but.author:
                walk.hide(but.id)
            for commit in walk:
                if str(commit.id) in wanted:
                    found.add(str(commit.id))
                    if len(found) == len(wanted):
                        break
        return found

    def at(self, revision: LocalRevision, path: str) -> str | None:
        """The id of what is at the path, None where nothing is or it cannot be told."""
        try:
            return str(self._repository[revision.tree].peel(pygit2.Tree)[path].id)
        except _UNREADABLE:
            return None

    def tree(self, revision: LocalRevision) -> GitTree:
        """The files of a revision, for a build: without links."""
        return GitTree(self._store, revision.tree)

    def read(self, oid: str) -> bytes:
        """The content of a file. Raises MissingObjectError."""
        return self._store.blob(oid)

    def size(self, oid: str) -> int:
        """Its length in bytes, without reading it. Raises MissingObjectError."""
        return self._store.blob_size(oid)

    def _bare(self, text: str, found: pygit2.Object) -> LocalRevision:
        try:
            tree = str(found.peel(pygit2.Tree).id)
        except _UNREADABLE:
            raise UnknownRevisionError(f"{text!r} names neither a commit nor a folder") from None
        return LocalRevision(tree, tree)

    def _shallow(self) -> str:
        return " (the clone is shallow: fetch more history)" if self._repository.is_shallow else ""


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
