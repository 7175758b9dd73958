"""Earlier commits of a repository, fetched on demand into the mirror that the current one came from."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

from agent.adapters.git import (
    GitMirrors,
    GitOperationError,
    GitRemote,
    GitTree,
    GitTreeWithSubmodules,
    with_submodules,
)
from agent.controllers.gitrepository.recipe import Recipe
from agent.core.gitref import GitReference, commit_of_revision
from agent.core.models import Blob, FileChange
from agent.core.models.extract.files import file_slots, wants
from agent.core.models.extract.pointers import SUBMODULE
from agent.core.models.extract.slot import MalformedError
from agent.core.tree import Tree

_FILES = 500  # changed data files looked at in one commit; a mass change of pointers is not told file by file
_STANDING = 2000  # data files of one commit that are known at all
_LOOKED_AT = 50_000  # files of a commit that are looked at for that


class GitHistory:
    """Implements `sources.History` for one commit, whose files are given."""

    def __init__(
        self,
        mirrors: GitMirrors,
        remote: GitRemote,
        files: GitTree | GitTreeWithSubmodules,
        recipe: Recipe,
        timeout: float,
    ) -> None:
        self._mirrors = mirrors
        self._remote = remote
        self._files = files
        self._recipe = recipe
        self._timeout = timeout

    async def tree_at(self, revision: str) -> Tree | None:
        """The tree of an earlier revision as it would be composed today, None if it cannot be had."""
        files = await self._files_at(revision)
        if files is None:
            return None
        return await asyncio.to_thread(self._recipe.composition.compose, files)

    async def files_changed(self, old: str) -> tuple[FileChange, ...] | None:
        """Changed files that may stand for data; None if the earlier revision cannot be had."""
        before = await self._files_at(old)
        if before is None:
            return None
        return await asyncio.to_thread(self._compare, before)

    async def files(self) -> tuple[FileChange, ...]:
        """Files that stand for data, without an old side."""
        return await asyncio.to_thread(lambda: tuple(itertools.islice(self._standing(), _STANDING)))

    async def _files_at(self, revision: str) -> GitTree | GitTreeWithSubmodules | None:
        sha = commit_of_revision(revision)
        if sha is None:
            return None
        try:
            commit = await self._mirrors.checkout(self._remote, GitReference(commit=sha), self._timeout)
            if not self._recipe.submodules:
                return commit.tree
            wanted = self._recipe.composition.reaches
            return await with_submodules(self._mirrors, self._remote, commit, self._timeout, wanted)
        except GitOperationError:
            return None  # force-pushed away, or the server hands out tips only

    def _standing(self) -> Iterator[FileChange]:
        paths = (path for path in _paths(self._files) if self._recipe.composition.takes(path))
        for path in itertools.islice(paths, _LOOKED_AT):
            blob = _blob(self._files, path)
            if blob is not None and _stands_for_data(path, blob):
                yield FileChange(path, None, blob)

    def _compare(self, before: GitTree | GitTreeWithSubmodules) -> tuple[FileChange, ...]:
        after = self._files
        found = []
        changes = (change for change in _changes(after, before) if self._recipe.composition.takes(change))
        for path in itertools.islice(changes, 20 * _FILES):
            old, new = _blob(before, path), _blob(after, path)
            if old is not None or new is not None:
                found.append(FileChange(path, old, new))
            if len(found) == _FILES:
                break
        return tuple(found)


def _paths(tree: GitTree | GitTreeWithSubmodules) -> Iterator[str]:
    """All paths but those of folders, whose submodules count as files."""
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in tree.list(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.kind == "dir":
                folders.append(path)
            if entry.kind == "file" or tree.gitlink(path) is not None:
                yield path


def _stands_for_data(path: str, blob: Blob) -> bool:
    try:
        return bool(file_slots(path, blob))
    except MalformedError:
        return False


def _changes(after: GitTree | GitTreeWithSubmodules, before: GitTree | GitTreeWithSubmodules) -> list[str]:
    """Paths that differ. What was one commit with and one without submodules is compared without."""
    if isinstance(after, GitTreeWithSubmodules):
        return [change.path for change in after.diff(before)]
    own = before.root if isinstance(before, GitTreeWithSubmodules) else before
    return [change.path for change in after.diff(own)]


def _blob(tree: GitTree | GitTreeWithSubmodules, path: str) -> Blob | None:
    commit = tree.gitlink(path)
    if commit is not None:
        return Blob(commit.encode(), SUBMODULE)
    stat = tree.stat(path)
    if stat is None or stat.kind != "file" or not wants(path, stat.size):
        return None
    return Blob(tree.read(path))
