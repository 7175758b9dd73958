"""Downloads of artifacts that another controller published, tried again for a while without holding up a pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.adapters.artifacts import ArtifactFetcher, ArtifactUnavailableError
from agent.controllers.sources import RemoteArtifact, SourceKey, SourcePendingError
from agent.core.tree import Tree

SHORTEST_PAUSE = 5.0
LONGEST_PAUSE = 30.0
"""Seconds between two attempts, as Flux has them; each pause is twice the one before."""
_SAME_MOMENT = 1.0
"""Seconds for which a last failure holds for all who ask: the Kustomizations of one source come together."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """Attempts at one artifact that have failed; `again` is when (monotonic seconds) the next one is due."""

    url: str
    digest: str
    failures: int
    again: float
    error: ArtifactUnavailableError


class Downloads:
    """One attempt at a time for each source, `retries` more after the first, whoever asks.

    A server that does not answer is given time between the attempts; whoever asks meanwhile is told when to come back.
    """

    def __init__(self, fetcher: ArtifactFetcher, *, retries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._retries = retries
        self._clock = clock
        self._trials: dict[SourceKey, _Trial] = {}

    def forget(self, key: SourceKey) -> None:
        """The source object is gone."""
        self._trials.pop(key, None)

    async def tree(self, artifact: RemoteArtifact) -> Tree:
        """The artifact's files.

        Raises SourcePendingError while there are attempts left, ArtifactUnavailableError after the last one, and what
        the fetcher raises for an archive that is not there or not as it should be.
        """
        trial = self._trials.get(artifact.key)
        if trial is not None and (trial.url, trial.digest) != (artifact.url, artifact.digest):
            trial = None
        if trial is not None and self._clock() < trial.again:
            raise self._verdict(trial)
        failures = trial.failures if trial is not None and trial.failures <= self._retries else 0
        try:
            tree = await self._fetcher.fetch(artifact.url, artifact.digest)
        except ArtifactUnavailableError as error:
            pause = min(SHORTEST_PAUSE * 2.0**failures, LONGEST_PAUSE) if failures < self._retries else _SAME_MOMENT
            trial = _Trial(artifact.url, artifact.digest, failures + 1, self._clock() + pause, error)
            self._trials[artifact.key] = trial
            raise self._verdict(trial) from None
        self._trials.pop(artifact.key, None)
        return tree

    def _verdict(self, trial: _Trial) -> ArtifactUnavailableError | SourcePendingError:
        if trial.failures > self._retries:
            return trial.error
        return SourcePendingError(trial.error.message, after=max(trial.again - self._clock(), 0.1))
