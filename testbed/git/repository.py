"""A bare repository on disk that tests and the demo write to."""

from __future__ import annotations

import shutil
import time
import types
from collections.abc import Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, ObjectType

_EXECUTABLE = 0o100755
_SYMLINK = 0o120000
_AUTHOR = ("Ada Example", "ada@example.org")


class GitRepository:
    """Commits, branches and tags without a work tree; every method returns the 40 digit id of what it made.

    Blocking calls of a few milliseconds. Commit times are whole seconds and grow with every commit, so that ordering
    by time is well defined even for commits made within one second.
    """

    def __init__(self, path: Path, *, initial_branch: str = "main") -> None:
        self.path = path
        if (path / "HEAD").exists():
            self._repository = pygit2.Repository(str(path))
        else:
            self._repository = pygit2.init_repository(str(path), bare=True, initial_head=initial_branch)
            config = self._repository.config
            config["http.receivepack"] = True
            config["uploadpack.allowFilter"] = True
        self._initial_branch = initial_branch
        self._clock = int(time.time())

    @property
    def refs(self) -> dict[str, str]:
        """Full reference name to object id, symbolic ones left out."""
        return {
            name: str(self._repository.references[name].target)
            for name in self._repository.references
            if isinstance(self._repository.references[name].target, pygit2.Oid)
        }

    def configure(self, key: str, value: str | bool) -> None:
        """Set a configuration entry of the server's side, e.g. `uploadpack.allowAnySHA1InWant`."""
        self._repository.config[key] = value

    def commit(
        self,
        files: Mapping[str, bytes | str | None],
        message: str = "change\n",
        *,
        branch: str | None = None,
        executable: tuple[str, ...] = (),
        symlinks: Mapping[str, str] | None = None,
        submodules: Mapping[str, tuple[str, str]] | None = None,
        author: tuple[str, str] = _AUTHOR,
    ) -> str:
        """Write files over the branch's tip (`None` deletes one) and move the branch to the new commit.

        `submodules` holds address and commit by path; `.gitmodules` is written for them.
        """
        name = f"refs/heads/{branch or self._initial_branch}"
        parents = [self._repository.references[name].target] if name in self._repository.references else []
        signature = self._signature(author)
        if submodules:
            files = {**files, ".gitmodules": _gitmodules(submodules)}
        links = {path: commit for path, (_, commit) in (submodules or {}).items()}
        tree = self._write_tree(parents, files, executable, symlinks or {}, links)
        oid = self._repository.create_commit(None, signature, signature, message, tree, parents)
        self._repository.references.create(name, oid, force=True)
        return str(oid)

    def force_push(
        self, files: Mapping[str, bytes | str | None], message: str = "rewritten\n", *, branch: str | None = None
    ) -> str:
        """Replace the branch by a commit without any history."""
        signature = self._signature(_AUTHOR)
        oid = self._repository.create_commit(None, signature, signature, message, self._write_tree([], files), [])
        self.set_branch(branch or self._initial_branch, str(oid))
        return str(oid)

    def delete(self, *paths: str, branch: str | None = None) -> str:
        """Commit the removal of files."""
        return self.commit(dict.fromkeys(paths), "delete files\n", branch=branch)

    def set_branch(self, branch: str, commit: str) -> None:
        """Create a branch or move it, forwards or not."""
        self.set_ref(f"refs/heads/{branch}", commit)

    def set_ref(self, name: str, commit: str) -> None:
        """Create or move any reference, e.g. `refs/pull/1/head`."""
        self._repository.references.create(name, pygit2.Oid(hex=commit), force=True)

    def delete_branch(self, branch: str) -> None:
        self._repository.references.delete(f"refs/heads/{branch}")

    def delete_tag(self, name: str) -> None:
        self._repository.references.delete(f"refs/tags/{name}")

    def tag(self, name: str, commit: str, *, message: str | None = None) -> str:
        """A light tag, or an annotated one when a message is given (then the tag object's id is returned)."""
        if message is None:
            self._repository.references.create(f"refs/tags/{name}", pygit2.Oid(hex=commit), force=True)
            return commit
        signature = self._signature(_AUTHOR)
        return str(
            self._repository.create_tag(name, pygit2.Oid(hex=commit), ObjectType.COMMIT, signature, message),
        )

    def head(self, branch: str | None = None) -> str:
        """The branch's tip."""
        return str(self._repository.references[f"refs/heads/{branch or self._initial_branch}"].target)

    def message(self, commit: str) -> str:
        """A commit's message."""
        return self._repository[commit].peel(pygit2.Commit).message

    def read(self, path: str, *, branch: str | None = None) -> bytes:
        """A file at the branch's tip."""
        blob = self._repository[self.head(branch)].peel(pygit2.Tree)[path]
        if not isinstance(blob, pygit2.Blob):
            raise TypeError(f"{path} is not a file")
        return blob.data

    def destroy(self) -> None:
        """Remove the repository from disk."""
        shutil.rmtree(self.path)

    def _write_tree(
        self,
        parents: list[pygit2.Oid | str],
        files: Mapping[str, bytes | str | None],
        executable: tuple[str, ...] = (),
        symlinks: Mapping[str, str] = types.MappingProxyType({}),
        links: Mapping[str, str] = types.MappingProxyType({}),
    ) -> pygit2.Oid:
        index = pygit2.Index()
        for parent in parents:
            index.read_tree(self._repository[parent].peel(pygit2.Tree))
        for path, content in files.items():
            if content is None:
                index.remove(path)
                continue
            blob = self._repository.create_blob(content.encode() if isinstance(content, str) else content)
            mode = _EXECUTABLE if path in executable else int(FileMode.BLOB)
            index.add(pygit2.IndexEntry(path, blob, FileMode(mode)))
        for path, target in symlinks.items():
            index.add(pygit2.IndexEntry(path, self._repository.create_blob(target.encode()), FileMode(_SYMLINK)))
        for path, commit in links.items():
            index.add(pygit2.IndexEntry(path, pygit2.Oid(hex=commit), FileMode.COMMIT))
        return index.write_tree(self._repository)

    def _signature(self, author: tuple[str, str]) -> pygit2.Signature:
        self._clock += 1
        return pygit2.Signature(author[0], author[1], self._clock, 0)


def _gitmodules(submodules: Mapping[str, tuple[str, str]]) -> str:
    return "".join(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in submodules.items())
