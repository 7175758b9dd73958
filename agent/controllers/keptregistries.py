"""What registries in Git tags were last known to hold, kept with the change log: tags have no earlier revision."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from agent.core.models.gto import Artifact, Registry

_GONE: Final = 200
"""Artifacts that are gone, and remembered as that: what is kept elsewhere, and behind, may have them still."""


class KeptArtifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was known at a time of one artifact of a source (`Kind/namespace/name`); None: it is gone.

    `place` tells the repository: that of another address has other tags. `of` so many artifacts there were.
    """

    registry: str
    artifact: str
    place: str
    at: datetime
    kept: Artifact | None = None
    of: int = 0


class KeptRegistries:
    """The newest of each artifact. What was put and is not `drained` yet has to be written."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, KeptArtifact]] = {}
        self._fresh: list[KeptArtifact] = []

    def of(self, source: str, place: str) -> Registry | None:
        """What was last known of a source; None if nothing ever was at this place, or not all of it any more.

        Where it is kept, old lines go for want of room: what is left would make news of all that is lost.
        """
        known = [one for one in self._known.get(source, {}).values() if one.place == place]
        found = {one.artifact: one.kept for one in known if one.kept is not None}
        return found if known and max(known, key=lambda one: one.at).of == len(found) else None

    def put(self, source: str, place: str, registry: Registry) -> None:
        """Take note of what a source has now."""
        whole = self.of(source, place) is not None
        known, now = self._known.setdefault(source, {}), datetime.now(UTC)
        for name in sorted(known.keys() | registry.keys()):
            one = known.get(name)
            if not whole or one is None or one.place != place or one.kept != registry.get(name):
                known[name] = KeptArtifact(source, name, place, now, registry.get(name), len(registry))
                self._fresh.append(known[name])
        self._forget_gone()

    def forget(self, source: str) -> bool:
        """The source is gone: one of the same name that comes later is another one. True if it was known."""
        known, now = self._known.get(source, {}), datetime.now(UTC)
        for name in known:
            known[name] = KeptArtifact(source, name, "", now)
            self._fresh.append(known[name])
        self._forget_gone()
        return bool(known)

    def restore(self, kept: Iterable[KeptArtifact]) -> None:
        """Take in what another process knew, or this one on another disk; the newest counts."""
        for one in kept:
            known = self._known.setdefault(one.registry, {})
            if one.artifact not in known or known[one.artifact].at < one.at:
                known[one.artifact] = one
        self._forget_gone()

    def drained(self) -> list[KeptArtifact]:
        """What has to be written; only once."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def all(self) -> list[KeptArtifact]:
        """Everything."""
        return [one for known in self._known.values() for one in known.values()]

    def _forget_gone(self) -> None:
        gone = sorted((one for one in self.all() if one.kept is None), key=lambda one: one.at)
        for one in gone[: max(len(gone) - _GONE, 0)]:
            del self._known[one.registry][one.artifact]
        self._known = {source: known for source, known in self._known.items() if known}
