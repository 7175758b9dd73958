"""Reading a mirror's objects through libgit2: commits, trees, blobs, and what differs between two trees."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pygit2
from pygit2.enums import FileMode

from agent.adapters.git.errors import GitOperationError, MissingObjectError
from agent.core.tree import Entry, Kind, Stat, parent_and_name

_SYMLINK = int(FileMode.LINK)
_FOLDER = int(FileMode.TREE)
_SUBMODULE = int(FileMode.COMMIT)
_EXECUTABLE = int(FileMode.BLOB_EXECUTABLE)

# Beyond these a commit was made to exhaust whoever reads it: a few objects can stand for endless files.
_MAX_ENTRIES = 400_000
_MAX_DEPTH = 200
_NO_NAMES = frozenset({"", ".", ".."})

# A tree keeps what was read of it for as long as it lives. The library would keep a little of every commit, once a
# thread, until that is 256 MiB.
pygit2.settings.enable_caching(value=False)


class Person(NamedTuple):
    """Who made a commit, and when."""

    name: str
    email: str
    when: dt.datetime


class CommitInfo(NamedTuple):
    """A commit without its content; `tree` is the id of its root folder."""

    sha: str
    message: str
    author: Person
    committer: Person
    tree: str

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.strip().partition("\n")[0]


class TreeChange(NamedTuple):
    """A path whose entry differs between two trees; an id is None on the side where the path is absent.

    Equal ids mean that only the mode changed.
    """

    path: str
    old_oid: str | None
    new_oid: str | None


class ObjectStore:
    """One repository on disk, read from any thread: whoever reads has a handle alone, as libgit2 wants it.

    Each failure to read marks the store as `damaged` and is raised as MissingObjectError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = False
        self._lock = threading.Lock()
        self._idle: list[pygit2.Repository] = []
        self._age = 0

    @contextmanager
    def open(self) -> Iterator[pygit2.Repository]:
        """A handle for as long as the block runs, with the library's errors translated."""
        try:
            with self._handle() as handle:
                yield handle
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            self.damaged = True
            raise MissingObjectError(f"the local mirror cannot be read: {error}") from error

    @contextmanager
    def _handle(self) -> Iterator[pygit2.Repository]:
        with self._lock:
            age, idle = self._age, self._idle.pop() if self._idle else None
        handle = idle or self.handle()
        try:
            yield handle
        finally:
            with self._lock:
                fresh = age == self._age
                if fresh:
                    self._idle.append(handle)
            if not fresh:
                handle.free()

    def handle(self) -> pygit2.Repository:
        """A handle of the caller's own; what it raises is the library's own."""
        return pygit2.Repository(str(self.path))

    def renew(self) -> None:
        """Read with new handles from now on: a handle keeps each pack in memory that it has seen, also deleted ones."""
        with self._lock:
            self._age += 1
            idle, self._idle = self._idle, []
        for handle in idle:
            handle.free()

    def reset(self) -> None:
        """Forget this store's handles after the repository on disk was replaced."""
        self.renew()
        self.damaged = False

    def commit(self, sha: str) -> CommitInfo:
        """Read a commit, peeling an annotated tag."""
        with self.open() as repository:
            commit = repository[sha].peel(pygit2.Commit)
            return CommitInfo(
                sha=str(commit.id),
                message=commit.message,
                author=_person(commit.author),
                committer=_person(commit.committer),
                tree=str(commit.tree_id),
            )

    def blob(self, oid: str) -> bytes:
        """Read the raw content of a file, or of any other object, by its id."""
        with self.open() as repository:
            return repository.odb.read(oid)[1]

    def blob_size(self, oid: str) -> int:
        """The size in bytes of a file, without reading it."""
        with self.open() as repository:
            return repository.odb.read_header(oid)[1]

    def entries(self, tree: str) -> dict[str, tuple[int, str]]:
        """The entries of a folder: name to mode and id."""
        with self.open() as repository:
            return {
                name_of(entry.raw_name or b""): (int(entry.filemode), str(entry.id))
                for entry in repository[tree].peel(pygit2.Tree)
            }

    def diff(self, old_tree: str, new_tree: str) -> tuple[TreeChange, ...]:
        """Compare two folders, reading folders only, and only those that differ; in path order."""
        with self.open() as repository:
            old, new = (repository[oid].peel(pygit2.Tree) for oid in (old_tree, new_tree))
            return tuple(_change(delta) for delta in old.diff_to_tree(new).deltas)


@contextmanager
def fresh_handle(path: Path) -> Iterator[pygit2.Repository]:
    """A handle for one look, which sees what is on disk now. What it raises is the library's own.

    It is part of cycles, and would keep files in memory until a collection that may be far away, or never comes.
    """
    handle = pygit2.Repository(str(path))
    try:
        yield handle
    finally:
        handle.free()


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """An entry as a tree shows it."""

    kind: Kind
    oid: str
    executable: bool
    link: str = ""
    """The commit of a submodule."""


class GitTree:
    """The files of a commit as an `agent.core.tree.Tree`. Immutable, safe to read from several threads.

    Content ids are Git's object ids, for folders too. Symbolic links are left out; a submodule that was not fetched
    is an empty folder, as in a checkout. While a GitTree lives, the mirror keeps its objects. Reading raises
    GitOperationError where the commit holds what no work tree could.
    """

    __slots__ = ("__weakref__", "_folders", "_seen", "_store", "oid")

    def __init__(self, store: ObjectStore, oid: str) -> None:
        self.oid = oid
        self._store = store
        self._folders: dict[str, dict[str, _Node]] = {}
        self._seen = 0

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        node = self._node(path)
        if node is None:
            return None
        size = self._store.blob_size(node.oid) if node.kind == "file" else 0
        return Stat(node.kind, size, node.oid, node.executable)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        node = self._node(path)
        if node is None:
            raise FileNotFoundError(path)
        if node.kind == "dir":
            raise IsADirectoryError(path)
        return self._store.blob(node.oid)

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        node = self._node(path)
        if node is None:
            raise FileNotFoundError(path)
        if node.kind == "file":
            raise NotADirectoryError(path)
        return tuple(Entry(name, child.kind) for name, child in self._folder(path, node).items())

    def diff(self, older: GitTree) -> tuple[TreeChange, ...]:
        """What changed from another tree of the same mirror to this one."""
        return self._store.diff(older.oid, self.oid)

    def gitlink(self, path: str) -> str | None:
        """The commit of the submodule at the path, None if there is none."""
        node = self._node(path)
        return node.link or None if node is not None else None

    def is_of_one_store_with(self, other: GitTree) -> bool:
        """Whether the two can be compared: they came from the same mirror."""
        return self._store is other._store

    def _node(self, path: str) -> _Node | None:
        if not path:
            return _Node("dir", self.oid, executable=False)
        folder, name = parent_and_name(path)
        known = self._folders.get(folder)
        if known is not None:
            return known.get(name)
        parent = self._node(folder)
        if parent is None or parent.kind != "dir":
            return None
        return self._folder(folder, parent).get(name)

    def _folder(self, path: str, node: _Node) -> dict[str, _Node]:
        known = self._folders.get(path)
        if known is None:
            entries = self._store.entries(node.oid) if node.oid else {}
            self._admit(path, entries)
            shown = ((name, _shown(*entries[name])) for name in sorted(entries))
            known = self._folders[path] = {name: child for name, child in shown if child is not None}
        return known

    def _admit(self, path: str, names: Collection[str]) -> None:
        """Raises GitOperationError for what no work tree could hold; a commit may say anything."""
        self._seen += len(names)
        if self._seen > _MAX_ENTRIES:
            raise GitOperationError(f"the commit has more than {_MAX_ENTRIES} files and folders")
        if path.count("/") >= _MAX_DEPTH:
            raise GitOperationError(f"the commit's folders are nested deeper than {_MAX_DEPTH}")
        for name in names:
            if name in _NO_NAMES or "/" in name or name.lower() == ".git":
                raise GitOperationError(f"{name!r} in the folder {path!r} of the commit is no name of a file")


def _shown(mode: int, oid: str) -> _Node | None:
    if mode == _SYMLINK:
        return None
    if mode == _SUBMODULE:
        return _Node("dir", "", executable=False, link=oid)
    return _Node("dir" if mode == _FOLDER else "file", oid, executable=mode == _EXECUTABLE)


def _change(delta: pygit2.DiffDelta) -> TreeChange:
    old, new = delta.old_file, delta.new_file
    path = name_of(new.raw_path if int(new.mode) else old.raw_path)
    return TreeChange(path, str(old.id) if int(old.mode) else None, str(new.id) if int(new.mode) else None)


def _person(signature: pygit2.Signature) -> Person:
    zone = dt.timezone(dt.timedelta(minutes=signature.offset))
    return Person(signature.name, signature.email, dt.datetime.fromtimestamp(signature.time, zone))


def name_of(raw: bytes) -> str:
    """A path as text; bytes that are no UTF-8 are replaced."""
    return raw.decode(errors="replace")
