"""The artifact in storage: whether it is the one that the spec asks for, and packing the next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import structlog

from agent.adapters.artifacts import ArtifactStorage, Integrity
from agent.api.gitrepository import GitRepository, GitRepositoryStatus
from agent.api.meta import Artifact
from agent.controllers.gitrepository.reports import Reports
from agent.controllers.includes import IncludedArtifact
from agent.core.tree import Tree
from agent.telemetry.tracing import traced


class StoredArtifacts:
    """For all GitRepositories. `reports` is told what people should know."""

    def __init__(self, storage: ArtifactStorage, reports: Reports) -> None:
        self._storage = storage
        self._reports = reports

    async def collect(self, repository: GitRepository) -> None:
        """Remove what the retention flags no longer allow. Never raises for a file that cannot be removed."""
        artifact = repository.status.artifact
        if artifact is None:
            return
        gone = await self._storage.collect(
            GitRepository.KIND, repository.namespace, repository.name, keep=artifact.path
        )
        if gone:
            message = f"garbage collected {len(gone)} artifacts"
            self._reports.trace(repository, "GarbageCollectionSucceeded", message)
            structlog.get_logger().info(message)

    async def remove(self, repository: GitRepository) -> None:
        """Remove all archives of a GitRepository that is being deleted."""
        await self._storage.remove(GitRepository.KIND, repository.namespace, repository.name)

    async def usable(self, repository: GitRepository, included: tuple[IncludedArtifact, ...]) -> Artifact | None:
        """The artifact of the status, if its file is whole and it was made from what the spec says now."""
        artifact = repository.status.artifact
        if artifact is None or not await self.is_whole(repository, artifact):
            return None
        if not _is_made_from(repository, included):
            return None
        return artifact

    def located(self, status: GitRepositoryStatus) -> GitRepositoryStatus:
        """The status with the address under which the artifact is found now."""
        artifact = status.artifact
        if artifact is None:
            return status
        found = msgspec.structs.replace(artifact, url=self._storage.url(artifact.path))
        return msgspec.structs.replace(status, artifact=found)

    async def is_whole(self, repository: GitRepository, artifact: Artifact) -> bool:
        """Whether the file is there with the digest of the status; one with another digest is removed and told of."""
        found = await self._storage.verify(artifact.path, artifact.digest)
        if found is Integrity.SPOILT:
            self._reports.warning(
                repository,
                "ArtifactVerificationFailed",
                f"failed to verify integrity of artifact: computed digest doesn't match '{artifact.digest}'",
            )
        return found is Integrity.WHOLE

    @traced("archive")
    async def pack(self, repository: GitRepository, sha: str, revision: str, tree: Tree) -> Artifact:
        """Write the archive of a commit. Raises StorageError."""
        stored = await self._storage.store(
            GitRepository.KIND, repository.namespace, repository.name, f"{sha}.tar.gz", tree
        )
        return Artifact(
            digest=stored.digest,
            last_update_time=datetime.now(UTC).replace(microsecond=0),
            path=stored.path,
            revision=revision,
            url=self._storage.url(stored.path),
            size=stored.size,
        )

    async def read(self, artifact: Artifact) -> Tree:
        """The files of an archive. Raises StorageError, or ArtifactError."""
        return await self._storage.read(artifact.path)


def _is_made_from(repository: GitRepository, included: tuple[IncludedArtifact, ...]) -> bool:
    spec, status = repository.spec, repository.status
    return (
        status.observed_ignore == spec.ignore
        and status.observed_recurse_submodules == spec.recurse_submodules
        and status.observed_sparse_checkout == spec.sparse_checkout
        and status.observed_include == spec.include
        and _contents(status.included_artifacts) == _contents(one.artifact for one in included)
    )


def _contents(artifacts: Iterable[Artifact]) -> list[tuple[str, str]]:
    return [(artifact.revision, artifact.digest) for artifact in artifacts]
