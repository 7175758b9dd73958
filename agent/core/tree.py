"""The read-only file tree that builds read from, and a record of exactly what was read.

A tree is immutable: the same path always answers the same. It holds files and folders only; whoever presents a Git
commit or an archive as a tree leaves symbolic links out, as Flux does when it packs an artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

Kind = Literal["file", "dir"]


class Stat(NamedTuple):
    """What a path is. `size` is in bytes (0 for a folder); `oid` names the content and may be "" for a folder.

    `executable` only matters to who packs the tree again; it is no part of the content.
    """

    kind: Kind
    size: int
    oid: str
    executable: bool = False


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    kind: Kind


class Tree(Protocol):
    """Read access to an immutable tree. Paths are as `clean` returns them; "" is the root."""

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError, or IsADirectoryError for a folder."""

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name. Raises FileNotFoundError, or NotADirectoryError for a file."""


class PathEscapeError(ValueError):
    """A path leads out of the tree, or is no path."""


def clean(path: str) -> str:
    """The path with "." and ".." resolved. Raises PathEscapeError if it is absolute or leaves the tree."""
    if path.startswith("/") or "\0" in path:
        raise PathEscapeError(f"path {path!r} is not a relative path")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise PathEscapeError(f"path {path!r} leaves the tree")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def parent_and_name(path: str) -> tuple[str, str]:
    """Splits a clean path that is not the root into its folder and its name."""
    folder, _, name = path.rpartition("/")
    return folder, name


class MemoryTree:
    """A tree over files held in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Takes contents by path. Raises ValueError if a path is both a file and a folder, or PathEscapeError."""
        self._files = {clean(path): bytes(content) for path, content in files.items()}
        folders: dict[str, dict[str, Kind]] = {"": {}}
        for path in self._files:
            kind: Kind = "file"
            at = path
            while at:
                folder, name = parent_and_name(at)
                folders.setdefault(folder, {})[name] = kind
                at, kind = folder, "dir"
        if clash := folders.keys() & self._files.keys():
            raise ValueError(f"{min(clash)!r} is both a file and a folder")
        self._oids = {path: hashlib.sha256(content).hexdigest() for path, content in self._files.items()}
        self._folders = {
            folder: tuple(Entry(name, kinds[name]) for name in sorted(kinds)) for folder, kinds in folders.items()
        }

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        if path in self._files:
            return Stat("file", len(self._files[path]), self._oids[path])
        return Stat("dir", 0, "") if path in self._folders else None

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if path in self._folders:
            raise IsADirectoryError(path)
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        if path in self._files:
            raise NotADirectoryError(path)
        try:
            return self._folders[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def __iter__(self) -> Iterator[str]:
        """The paths of the files."""
        return iter(self._files)


class Inputs(msgspec.Struct, frozen=True):
    """What was observed of a tree: pairs of path and observation, sorted by path.

    `files` holds the content id of each file read, `folders` a hash of the names and kinds in each folder listed,
    `probes` the kind (None: absent) of each path that was only looked at.
    """

    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, str], ...] = ()
    probes: tuple[tuple[str, Kind | None], ...] = ()

    def digest(self) -> str:
        """ "sha256:" and the hash of all observations: equal inputs, equal digest."""
        return "sha256:" + hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class RecordingTree:
    """Passes on to another tree and remembers what was asked. For use by one thread at a time.

    Of what `stat` returns, only the kind counts as observed.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._probes: dict[str, Kind | None] = {}

    @property
    def inputs(self) -> Inputs:
        """Everything observed until now."""
        probes = {p: k for p, k in self._probes.items() if p not in self._files and p not in self._folders}
        return Inputs(
            files=tuple(sorted(self._files.items())),
            folders=tuple(sorted(self._folders.items())),
            probes=tuple(sorted(probes.items())),
        )

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        stat = self._tree.stat(path)
        self._probes[path] = stat.kind if stat else None
        return stat

    def read(self, path: str) -> bytes:
        """The content of a file."""
        stat = self.stat(path)
        content = self._tree.read(path)
        if stat is not None:
            self._files[path] = stat.oid
        return content

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        self.stat(path)
        entries = self._tree.list(path)
        self._folders[path] = _listing(entries)
        return entries


def unchanged(inputs: Inputs, tree: Tree) -> bool:
    """True if every observation would be the same on the other tree. Reads no file's content."""
    for path, oid in inputs.files:
        stat = tree.stat(path)
        if stat is None or stat.kind != "file" or stat.oid != oid:
            return False
    for path, kind in inputs.probes:
        stat = tree.stat(path)
        if (stat.kind if stat else None) != kind:
            return False
    for path, listing in inputs.folders:
        stat = tree.stat(path)
        if stat is None or stat.kind != "dir" or _listing(tree.list(path)) != listing:
            return False
    return True


def touched(inputs: Inputs, paths: frozenset[str]) -> bool:
    """True if one of these paths was read, listed or looked at. Folders whose listing changed are among the paths."""
    return any(path in paths for observed in (inputs.files, inputs.folders, inputs.probes) for path, _ in observed)


def differing(old: Tree, new: Tree) -> frozenset[str]:
    """Paths at which two trees differ: changed files, what came or went, and the folders whose names did.

    Folders of equal content ids are not looked into, so both trees have to show what they hold in the same way.
    """
    found: set[str] = set()
    to_visit = [""]
    while to_visit:
        folder = to_visit.pop()
        before, after = _names(old, folder), _names(new, folder)
        if before != after:
            found.add(folder)
        for name in before.keys() | after.keys():
            path = f"{folder}/{name}" if folder else name
            one, other = old.stat(path), new.stat(path)
            if one is not None and other is not None and one.oid and one.oid == other.oid and one.kind == other.kind:
                continue
            kinds = {before.get(name), after.get(name)}
            if "dir" in kinds:
                to_visit.append(path)
            if kinds != {"dir"}:
                found.add(path)
    return frozenset(found)


def _names(tree: Tree, folder: str) -> dict[str, Kind]:
    stat = tree.stat(folder)
    return dict(tree.list(folder)) if stat is not None and stat.kind == "dir" else {}


def _listing(entries: tuple[Entry, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(entries)).hexdigest()
