"""From `spec.include` of a GitRepository to the artifacts that are copied in.

A GitRepository of this process is taken from the registry; one that is left to another controller is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.api.gitrepository import GitRepository
from agent.api.meta import Artifact
from agent.controllers.fresh import Fresh
from agent.controllers.sources import SourceKey, SourcePendingError, SourceRegistry
from agent.controllers.statuses import resource_of
from agent.core.composition import Included
from agent.core.tree import Tree
from agent.errors import WaitingError

_PENDING_SECONDS = 5.0


class IncludeError(WaitingError):
    """An included GitRepository that is not there, or has no artifact yet. Reasons as in Flux's IncludeUnavailable."""


class Download(Protocol):
    """What fetches an artifact that another controller made."""

    async def fetch(self, url: str, digest: str) -> Tree:
        """The files. Raises ArtifactError."""


class IncludedArtifact(NamedTuple):
    """One entry of `spec.include`: which artifact it is now, and how it is copied."""

    artifact: Artifact
    copied: Included


class Includes:
    """Finds what GitRepositories include. `requeue` is the delay in seconds before an absent one is looked for."""

    def __init__(
        self,
        objects: Fresh[GitRepository],
        client: KubeClient,
        registry: SourceRegistry,
        download: Download,
        *,
        requeue: float,
    ) -> None:
        self._objects = objects
        self._client = client
        self._registry = registry
        self._download = download
        self._requeue = requeue

    async def find(self, repository: GitRepository) -> tuple[IncludedArtifact, ...]:
        """In the order of the spec.

        Raises IncludeError (none such, no artifact, includes that lead back), ArtifactError (a download failed),
        SourcePendingError (files that this process is about to read).
        """
        self._refuse_circle(repository)
        found = []
        for include in repository.spec.include:
            name = include.repository.name
            artifact, tree = await self._artifact(repository.namespace, name)
            copied = Included(name, include.from_path or "", include.to_path or name, tree)
            found.append(IncludedArtifact(artifact, copied))
        return tuple(found)

    async def _artifact(self, namespace: str, name: str) -> tuple[Artifact, Tree]:
        ours = self._objects.get(namespace, name)
        if ours is None:
            artifact = self._present(name, (await self._foreign(namespace, name)).status.artifact)
            return artifact, await self._download.fetch(artifact.url, artifact.digest)
        artifact = self._present(name, ours.status.artifact)
        key = SourceKey(GitRepository.KIND, namespace, name)
        snapshot = self._registry.get(key)
        if snapshot is not None and snapshot.digest == artifact.digest:
            return artifact, snapshot.tree
        if self._registry.misses(key):
            raise self._no_artifact(name)
        raise SourcePendingError(f"the include '{name}' is being read", after=_PENDING_SECONDS)

    async def _foreign(self, namespace: str, name: str) -> GitRepository:
        try:
            return GitRepository.from_object(await self._client.get(resource_of(GitRepository), namespace, name))
        except NotFound:
            missing = f'{GitRepository.PLURAL}.{GitRepository.GROUP} "{name}" not found'
            message = f"could not get resource for include '{name}': {missing}"
            raise IncludeError(message, after=self._requeue, reason="NotFound") from None

    def _present(self, name: str, artifact: Artifact | None) -> Artifact:
        if artifact is None:
            raise self._no_artifact(name)
        return artifact

    def _no_artifact(self, name: str) -> IncludeError:
        message = f"no artifact available for include '{name}'"
        return IncludeError(message, after=self._requeue, reason="NoArtifact")

    def _refuse_circle(self, repository: GitRepository) -> None:
        """Every artifact of a circle would hold the one before it, and more with every round."""
        namespace = repository.namespace

        def included(name: str) -> Sequence[str]:
            other = repository if name == repository.name else self._objects.get(namespace, name)
            return [include.repository.name for include in other.spec.include] if other else []

        circle = way_back(repository.name, included)
        if circle:
            message = f"spec.include leads back to this GitRepository: {' -> '.join(circle)}"
            raise IncludeError(message, after=self._requeue, reason="IncludeCycle")


def way_back(start: str, following: Callable[[str], Sequence[str]]) -> tuple[str, ...]:
    """A shortest way from a name to itself, both ends told; empty if there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    for way in ways:
        for name in following(way[-1]):
            if name == start:
                return (*way, name)
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()
