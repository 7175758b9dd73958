"""The sources at hand: for each source object, the tree of its current artifact.

The GitRepository controller publishes what it fetched; nothing is unpacked or downloaded for a source that lives in
this process. A source that somebody else reconciles is downloaded from its artifact's URL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from agent.core.models import FileChange
from agent.core.tree import Tree
from agent.errors import ArtifactError, WaitingError

SOURCE_COMPONENT = "source-controller"
"""The reporter of events about sources, by Flux's name."""


class SourceKey(NamedTuple):
    """Kind, namespace and name of a source object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind/namespace/name`."""
        return f"{self.kind}/{self.namespace}/{self.name}"


class SourcePendingError(WaitingError):
    """The source is about to be read for the first time in this process. No news for the status."""


class SourceNotFoundError(ArtifactError):
    """There is no object of that kind and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteArtifact:
    """An artifact whose files are not at hand yet."""

    key: SourceKey
    revision: str
    digest: str
    url: str
    origin_revision: str | None = None


class History(Protocol):
    """Earlier revisions of the same source, as far as they are still at hand."""

    async def tree_at(self, revision: str) -> Tree | None:
        """The tree of an earlier revision, None if it cannot be had."""

    async def files_changed(self, old: str) -> tuple[FileChange, ...] | None:
        """Files that may stand for data and that differ between an earlier revision and the current one.

        None if the earlier one cannot be had any more.
        """

    async def files(self) -> tuple[FileChange, ...]:
        """Files of the current revision that stand for data, without an old side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """One revision of a source. `differs` are the paths at which it differs from the one published before it.

    None stands for not known. It says who is served first, not who is served.
    """

    revision: str
    digest: str
    tree: Tree
    origin_revision: str | None = None
    author: str = ""
    history: History | None = None
    differs: frozenset[str] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _Artifact(msgspec.Struct, frozen=True):
    revision: str = ""


class _Status(msgspec.Struct, frozen=True):
    artifact: _Artifact | None = None


class SourceState(msgspec.Struct, frozen=True):
    """What is watched of a source that another controller reconciles: the revision of its artifact."""

    metadata: _Metadata
    status: _Status = _Status()

    @property
    def revision(self) -> str:
        """The revision, "" without an artifact."""
        return self.status.artifact.revision if self.status.artifact else ""


decode_source: Callable[[bytes], SourceState] = msgspec.json.Decoder(SourceState).decode


class SourceRegistry:
    """The current snapshot of each source in this process."""

    def __init__(self) -> None:
        self._snapshots: dict[SourceKey, SourceSnapshot] = {}
        self._missed: set[SourceKey] = set()
        self._subscribers: list[Callable[[SourceKey], None]] = []
        self._of_artifacts: list[Callable[[SourceKey], None]] = []

    def subscribe(self, subscriber: Callable[[SourceKey], None]) -> None:
        """Call `subscriber` whenever a source has new files."""
        self._subscribers.append(subscriber)

    def subscribe_artifacts(self, subscriber: Callable[[SourceKey], None]) -> None:
        """Call `subscriber` whenever a source has a new archive."""
        self._of_artifacts.append(subscriber)

    def publish(self, key: SourceKey, snapshot: SourceSnapshot) -> None:
        """Make a snapshot the current one. Its digest is "" as long as there is no archive of its files."""
        known = self._snapshots.get(key)
        self._snapshots[key] = snapshot
        self._missed.discard(key)
        packed = known is None or known.digest != snapshot.digest
        if known is None or known.revision != snapshot.revision or (packed and known.tree is not snapshot.tree):
            _call(self._subscribers, key)
        if packed and snapshot.digest:
            _call(self._of_artifacts, key)

    def miss(self, key: SourceKey) -> None:
        """The source has an artifact, but this process cannot get at its files for now."""
        if key not in self._snapshots and key not in self._missed:
            self._missed.add(key)
            _call(self._subscribers, key)
            _call(self._of_artifacts, key)

    def misses(self, key: SourceKey) -> bool:
        """True if the files could not be had at the last try."""
        return key in self._missed

    def withdraw(self, key: SourceKey) -> None:
        """The source object is gone."""
        self._snapshots.pop(key, None)
        self._missed.discard(key)

    def get(self, key: SourceKey) -> SourceSnapshot | None:
        """The current snapshot, None if there is none yet."""
        return self._snapshots.get(key)


def _call(subscribers: list[Callable[[SourceKey], None]], key: SourceKey) -> None:
    for subscriber in subscribers:
        subscriber(key)
