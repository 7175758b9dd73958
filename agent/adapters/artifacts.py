"""Artifacts: packing a source for consumers, keeping the archives on disk, serving them; and fetching those of others.

Layout, retention and digests follow Flux's source-controller, whose consumers rely on URL and digest alone:
`<kind>/<namespace>/<name>/<file>` below the root, written to a temporary file and renamed under a lock file.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import fcntl
import hmac
import io
import itertools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from agent.adapters.archives import TooLargeError, pack, read_archive
from agent.adapters.digests import ALGORITHMS, digest_of, matches
from agent.core.tree import Tree
from agent.errors import ArtifactError, OperationError

_LOCK_SUFFIX: Final = ".lock"
_MOST_LOOKED_AT: Final = 1000  # archives of one object in one collection; what is left is for the next
_TEMPORARY_PREFIX: Final = ".tmp-"

_MAX_ARTIFACT_BYTES: Final = 256 * 1024 * 1024
_DOWNLOAD_SECONDS: Final = 60.0


class StorageError(OperationError):
    """An archive could not be written, read or removed."""

    reason = "ArchiveOperationFailed"


class Integrity(enum.Enum):
    """What became of an archive."""

    WHOLE = "whole"
    MISSING = "missing"
    SPOILT = "spoilt"


class ArtifactMissingError(ArtifactError):
    """The server has no such archive: its producer has replaced it, or has lost its storage."""


class ArtifactUnavailableError(ArtifactError):
    """The server does not answer, or not with the archive; it may in a moment."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An archive on disk: its path below the root, digest `<algorithm>:<hex>` and size in bytes."""

    path: str
    digest: str
    size: int


class ArtifactStorage:
    """The archives below `root`, which consumers fetch at `advertised` (`host[:port]`, or a URL).

    Of each object, archives older than `retention_ttl` seconds go, and all but the newest `retention_records`; never
    the current one. `algorithm` is one of `digests.ALGORITHMS`.
    """

    def __init__(
        self,
        root: Path,
        advertised: str,
        *,
        retention_ttl: float = 60.0,
        retention_records: int = 2,
        algorithm: str = "sha256",
    ) -> None:
        self._root = root
        base = advertised if "://" in advertised else f"http://{advertised}"
        self._base = base.rstrip("/")
        self._ttl = retention_ttl
        self._records = max(retention_records, 1)
        self._algorithm = algorithm

    def url(self, path: str) -> str:
        """Where consumers find the archive of this path."""
        return f"{self._base}/{path}"

    async def store(self, kind: str, namespace: str, name: str, file: str, tree: Tree) -> Stored:
        """Pack a tree, replacing a file of the same name. Raises StorageError, or what the tree raises."""
        path = f"{_folder(kind, namespace, name)}/{file}"
        return await asyncio.to_thread(self._store, path, tree)

    async def verify(self, path: str, digest: str) -> Integrity:
        """Whether the archive is there and has this digest; one that has another is removed. Raises StorageError."""
        return await asyncio.to_thread(self._verify, path, digest)

    async def read(self, path: str) -> Tree:
        """The files of an archive. Raises StorageError, or ArtifactError if it is broken."""
        return await asyncio.to_thread(self._read, path)

    async def collect(self, kind: str, namespace: str, name: str, *, keep: str | None) -> tuple[str, ...]:
        """Remove what an object no longer needs; `keep` is the path of its current archive. Returns what went."""
        return await asyncio.to_thread(self._collect, _folder(kind, namespace, name), keep)

    async def remove(self, kind: str, namespace: str, name: str) -> None:
        """Remove all archives of an object."""
        await asyncio.to_thread(shutil.rmtree, self._root / _folder(kind, namespace, name), ignore_errors=True)

    def routes(self) -> list[web.AbstractRouteDef]:
        """Routes that serve the storage read-only; `GET /` answers too, which is what readiness probes ask."""
        self._root.mkdir(parents=True, exist_ok=True)
        return [web.static("/", self._root, show_index=True)]

    def _store(self, path: str, tree: Tree) -> Stored:
        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"failed to create artifact directory: {error.strerror or error}"
            raise StorageError(message, reason="DirectoryCreationFailed") from error
        try:
            with (
                _locked(target),
                tempfile.NamedTemporaryFile(dir=target.parent, prefix=_TEMPORARY_PREFIX, delete=False) as temporary,
            ):
                try:
                    digest, size = pack(tree, temporary, self._algorithm)
                    temporary.flush()
                    Path(temporary.name).chmod(0o644)
                    Path(temporary.name).replace(target)
                except BaseException:
                    Path(temporary.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise StorageError(f"unable to archive artifact to storage: {error.strerror or error}") from error
        except TooLargeError as error:
            raise StorageError(f"unable to archive artifact to storage: {error}") from None
        return Stored(path, digest, size)

    def _read(self, path: str) -> Tree:
        try:
            with open(self._root / path, "rb", opener=_plainly) as file:
                return read_archive(file)
        except OSError as error:
            raise StorageError(f"the artifact in storage cannot be read: {error.strerror or error}") from error

    def _verify(self, path: str, digest: str) -> Integrity:
        target = self._root / path
        try:
            if not stat.S_ISREG(target.lstat().st_mode):
                return Integrity.MISSING
            with target.open("rb") as file:
                whole = matches(file, digest)
        except (FileNotFoundError, NotADirectoryError):
            return Integrity.MISSING
        except OSError as error:
            raise StorageError(f"unable to read artifact '{path}': {error.strerror or error}") from error
        if whole:
            return Integrity.WHOLE
        _unlink(target)
        return Integrity.SPOILT

    def _collect(self, folder: str, keep: str | None) -> tuple[str, ...]:
        """Flux's order: first what is too old, then the oldest of what is too many."""
        current = self._root / keep if keep else None
        found = []
        files = (file for file in self._root.joinpath(folder).glob("*") if file.suffix != _LOCK_SUFFIX)
        for file in itertools.islice(files, _MOST_LOOKED_AT):
            with contextlib.suppress(OSError):
                found.append((file.stat().st_mtime, file))
        others = sorted(pair for pair in found if pair[1] != current)
        oldest_allowed = time.time() - self._ttl
        gone = [file for modified, file in others if modified < oldest_allowed]
        young = [
            file
            for modified, file in others
            if modified >= oldest_allowed and not file.name.startswith(_TEMPORARY_PREFIX)
        ]
        room = self._records - (1 if current is not None else 0)
        gone += young[: max(len(young) - room, 0)]
        for file in gone:
            _unlink(file)
        return tuple(str(file.relative_to(self._root)) for file in gone)


class ArtifactFetcher:
    """Downloads archives that another controller published, as trees in memory.

    `source_controller` and `source_watcher`, when set, replace the host and port of their URLs: how an agent that runs
    outside the cluster reaches them.
    """

    def __init__(self, *, source_controller: str = "", source_watcher: str = "") -> None:
        self._source_controller = source_controller
        self._source_watcher = source_watcher

    async def fetch(self, url: str, digest: str) -> Tree:
        """Download, check the digest, unpack; one attempt. A digest without an algorithm is a sha256 sum.

        Raises ArtifactError, ArtifactMissingError where the server has no such file, ArtifactUnavailableError where
        another attempt may help.
        """
        algorithm, _, expected = digest.rpartition(":")
        algorithm = algorithm or "sha256"
        if not expected:
            raise ArtifactError("failed to verify artifact: empty digest")
        if algorithm not in ALGORITHMS:
            raise ArtifactError(f"failed to verify artifact: digest algorithm '{algorithm}' is not supported")
        content = await _download(self._reachable(url))
        actual = await asyncio.to_thread(digest_of, algorithm, io.BytesIO(content))
        if not hmac.compare_digest(actual.encode(), f"{algorithm}:{expected}".encode()):
            raise ArtifactError(f"failed to verify artifact: computed digest '{actual}' doesn't match '{digest}'")
        return await asyncio.to_thread(read_archive, io.BytesIO(content))

    def _reachable(self, url: str) -> str:
        host = self._source_watcher if "//source-watcher" in url else self._source_controller
        return urlsplit(url)._replace(netloc=host).geturl() if host else url


async def _download(url: str) -> bytes:
    try:
        async with asyncio.timeout(_DOWNLOAD_SECONDS), aiohttp.ClientSession(trust_env=True) as session:
            return await _get(session, url)
    except TimeoutError:
        raise ArtifactUnavailableError(f"failed to download artifact from {url}: no answer in time") from None
    except aiohttp.InvalidURL:
        raise ArtifactError(f"failed to download artifact from {url}: this is no URL") from None
    except aiohttp.ClientError as error:
        raise ArtifactUnavailableError(f"failed to download artifact from {url}: {error}") from error


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    # The archive is wanted as it is stored; without this header the client would unpack a Content-Encoding.
    async with session.get(url, headers={"Accept-Encoding": "identity"}) as response:
        if response.status >= 500 or response.status == 429:
            raise ArtifactUnavailableError(f"failed to download artifact from {url}: status {response.status}")
        if response.status == 404:
            raise ArtifactMissingError(f"failed to download artifact from {url}: status 404")
        if response.status != 200:
            raise ArtifactError(f"failed to download artifact from {url}: status {response.status}")
        content = bytearray()
        async for chunk in response.content.iter_chunked(256 * 1024):
            content += chunk
            if len(content) > _MAX_ARTIFACT_BYTES:
                raise ArtifactError(f"failed to download artifact from {url}: larger than {_MAX_ARTIFACT_BYTES} bytes")
        return bytes(content)


def _folder(kind: str, namespace: str, name: str) -> str:
    parts: Sequence[str] = (kind.lower(), namespace, name)
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
        raise StorageError(f"{'/'.join(parts)!r} cannot be a folder of the artifact storage")
    return "/".join(parts)


def _plainly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock file of an archive; waits for whoever holds it."""
    with target.with_name(target.name + _LOCK_SUFFIX).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unlink(file: Path) -> None:
    """Remove an archive with its lock file."""
    for path in (file, file.with_name(file.name + _LOCK_SUFFIX)):
        with contextlib.suppress(OSError):  # what cannot be removed is left for the next collection
            path.unlink()
