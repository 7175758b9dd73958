"""Archives of file trees: packing them as Flux lays artifacts out, and reading those of others as a tree.

An archive is a gzipped tar. Entries come folder by folder in the order of their names; the root is the entry `.`;
owners, times and all but three modes are left out, so the same tree always gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from agent.adapters.digests import new_hash
from agent.core.tree import Kind, MemoryTree, PathEscapeError, Tree, clean
from agent.errors import ArtifactError

_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o600
_EXECUTABLE_MODE: Final = 0o700
_MAX_PACKED: Final = 1024 * 1024 * 1024
# Zlib's default: a higher level costs a third more time for a hundredth less size on manifests.
_COMPRESSION: Final = 6
_BLOCK: Final = 256 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for an archive that somebody else packed: bytes when unpacked (headers included), and entries."""

    unpacked_bytes: int = 256 * 1024 * 1024
    entries: int = 100_000


class TooLargeError(ValueError):
    """A tree whose archive nobody could unpack."""


def pack(tree: Tree, target: IO[bytes], algorithm: str = "sha256") -> tuple[str, int]:
    """Write a tree's archive and return its digest (`<algorithm>:<hex>`) and its size in bytes (blocking).

    Raises TooLargeError for files of more than a gibibyte together.
    """
    output = _Hashing(target, algorithm)
    with gzip.GzipFile(filename="", mode="wb", fileobj=output, compresslevel=_COMPRESSION, mtime=0) as compressed:
        for block in _blocks(_records(tree)):
            compressed.write(block)
    return f"{algorithm}:{output.digest.hexdigest()}", output.size


def read_archive(source: IO[bytes], limits: Limits = Limits()) -> ArchiveTree:
    """Read an archive into memory (blocking).

    Symbolic links and special files are left out, as Flux does. Raises ArtifactError if the archive is broken, larger
    than the limits, or names a path outside itself.
    """
    try:
        with (
            gzip.GzipFile(fileobj=source, mode="rb") as compressed,
            tarfile.open(fileobj=_Bounded(compressed, limits.unpacked_bytes), mode="r|") as archive,
        ):
            return ArchiveTree(dict(_files(archive, limits)))
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArtifactError(f"failed to unpack artifact: {error}") from error
    except (PathEscapeError, ValueError) as error:
        raise ArtifactError(f"failed to unpack artifact: illegal content: {error}") from error


class ArchiveTree(MemoryTree):
    """The files of an archive, held in memory. Content ids are sha256 sums of the content."""


def _records(tree: Tree) -> Iterator[bytes]:
    """The archive in pieces."""
    size = 0
    for piece in _members(tree):
        size += len(piece)
        yield piece
    end = size + 2 * tarfile.BLOCKSIZE
    yield bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - size)


def _members(tree: Tree) -> Iterator[bytes]:
    room = _MAX_PACKED
    yield folder_header(".")
    to_add = [iter(_below(tree, ""))]
    while to_add:
        entry = next(to_add[-1], None)
        if entry is None:
            to_add.pop()
            continue
        path, kind = entry
        if kind == "dir":
            yield folder_header(path)
            to_add.append(iter(_below(tree, path)))
            continue
        stat = tree.stat(path)
        room -= stat.size if stat is not None else 0
        if room < 0:
            raise TooLargeError(f"more than {_MAX_PACKED} bytes, with '{path}': leave files out with spec.ignore")
        content = tree.read(path)
        yield file_header(path, len(content), executable=stat is not None and stat.executable)
        yield content
        yield bytes(-len(content) % tarfile.BLOCKSIZE)


def _below(tree: Tree, folder: str) -> Iterator[tuple[str, Kind]]:
    return ((f"{folder}/{entry.name}" if folder else entry.name, entry.kind) for entry in tree.list(folder))


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in large pieces: what is compressed at once does not hold the interpreter meanwhile."""
    gathered, size = [], 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def folder_header(path: str) -> bytes:
    """What stands before what is in a folder."""
    return _header(path, 0, tarfile.DIRTYPE, _FOLDER_MODE)


def file_header(path: str, size: int, *, executable: bool = False) -> bytes:
    """What stands before a file's content of so many bytes."""
    return _header(path, size, tarfile.REGTYPE, _EXECUTABLE_MODE if executable else _FILE_MODE)


def _header(path: str, size: int, kind: bytes, mode: int) -> bytes:
    """As tarfile makes it, which takes ten times as long; names that need more than one block are left to it."""
    if not path.isascii() or len(path) > tarfile.LENGTH_NAME:
        return _info(path, size, kind, mode).tobuf(tarfile.PAX_FORMAT)
    name, digits = path.encode("ascii"), b"%011o" % size
    template, checksum = _template(kind, mode)
    checksum += sum(name) + sum(digits)
    named = name.ljust(tarfile.LENGTH_NAME, b"\0")
    return b"".join((named, template[100:124], digits, template[135:148], b"%06o" % checksum, template[154:]))


@functools.cache
def _template(kind: bytes, mode: int) -> tuple[bytes, int]:
    """The header of an empty file without a name, and what all but name and size add to its checksum."""
    header = _info("", 0, kind, mode).tobuf(tarfile.PAX_FORMAT)
    return header, int(header[148:154], 8) - sum(header[124:135])


def _info(path: str, size: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = _FolderInfo(path) if kind == tarfile.DIRTYPE else tarfile.TarInfo(path)
    info.size, info.type, info.mode = size, kind, mode
    return info


class _FolderInfo(tarfile.TarInfo):
    """A folder's header as Go writes it: without the slash that tarfile appends to the name."""

    def get_info(self) -> Mapping[str, Any]:
        info = dict(super().get_info())
        info["name"] = self.name
        return info


def _files(archive: tarfile.TarFile, limits: Limits) -> Iterator[tuple[str, bytes]]:
    for number, member in enumerate(archive, start=1):
        if number > limits.entries:
            raise ArtifactError(f"failed to unpack artifact: more than {limits.entries} entries")
        path = clean(member.name)
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
            continue
        if member.size > limits.unpacked_bytes:
            raise _too_large(limits.unpacked_bytes)
        content = archive.extractfile(member)
        if content is not None:
            yield path, content.read()


class _Hashing(io.RawIOBase):
    """Passes on what is written, counting and hashing it."""

    def __init__(self, target: IO[bytes], algorithm: str) -> None:
        super().__init__()
        self._target = target
        self.digest = new_hash(algorithm)
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.digest.update(data)
        written = self._target.write(data)
        self.size += written
        return written


class _Bounded(io.RawIOBase):
    """Reads from a stream of unknown length, up to a limit: small archives can unpack to anything."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, limit: int) -> None:
        super().__init__()
        self._source = source
        self._limit = limit
        self._taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._taken += len(data)
        if self._taken > self._limit:
            raise _too_large(self._limit)
        return data


def _too_large(limit: int) -> ArtifactError:
    return ArtifactError(f"failed to unpack artifact: larger than {limit} bytes when unpacked")
