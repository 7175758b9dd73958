"""What a GitRepository brought last is made available again: after a restart, or where the storage lost it."""

from __future__ import annotations

import dataclasses

import structlog

from agent.adapters.git import GitMirrors
from agent.api.gitrepository import GitRepository
from agent.api.meta import Artifact
from agent.controllers.gitrepository.access import GitAccess
from agent.controllers.gitrepository.checkout import checked_out, composed
from agent.controllers.gitrepository.recipe import Recipe
from agent.controllers.gitrepository.stored import StoredArtifacts
from agent.controllers.sources import SourceKey, SourceRegistry, SourceSnapshot
from agent.core.gitref import GitReference, commit_of_revision
from agent.errors import WeirError


class Restoration:
    """For a source that cannot be, or must not be, asked what is newest."""

    def __init__(
        self, access: GitAccess, mirrors: GitMirrors, stored: StoredArtifacts, registry: SourceRegistry
    ) -> None:
        self._access = access
        self._mirrors = mirrors
        self._stored = stored
        self._registry = registry

    async def restore(self, repository: GitRepository) -> bool:
        """Make the files of the artifact in the status readable again. False if they cannot be had now."""
        key = SourceKey(GitRepository.KIND, repository.namespace, repository.name)
        artifact = repository.status.artifact
        sha = commit_of_revision(artifact.revision) if artifact else None
        if artifact is None or sha is None:
            return True
        snapshot = self._registry.get(key)
        try:
            if snapshot is None:
                self._registry.publish(key, await self._read(repository, artifact, sha))
            elif snapshot.digest == artifact.digest and not await self._stored.is_whole(repository, artifact):
                await self._stored.pack(repository, sha, artifact.revision, snapshot.tree)
        except WeirError as error:
            structlog.get_logger().error("the last artifact is not at hand", error=error.message)
            self._registry.miss(key)
            return False
        return True

    async def _read(self, repository: GitRepository, artifact: Artifact, sha: str) -> SourceSnapshot:
        """The artifact's files, of the mirror or else of the archive, which is there afterwards."""
        whole = await self._stored.is_whole(repository, artifact)
        try:
            snapshot = await self._of_mirror(repository, artifact, sha)
        except WeirError:
            if not whole:
                raise
            return SourceSnapshot(
                revision=artifact.revision, digest=artifact.digest, tree=await self._stored.read(artifact)
            )
        if repository.status.observed_include:
            # What was copied in may have moved on; the archive still has it.
            return dataclasses.replace(snapshot, tree=await self._stored.read(artifact))
        if not whole:
            await self._stored.pack(repository, sha, artifact.revision, snapshot.tree)
        return snapshot

    async def _of_mirror(self, repository: GitRepository, artifact: Artifact, sha: str) -> SourceSnapshot:
        remote = await self._access.remote(repository)
        recipe, timeout = Recipe.of_status(repository), repository.timeout
        checkout = await checked_out(self._mirrors, remote, GitReference(commit=sha), recipe, timeout)
        return await composed(checkout, artifact, self._mirrors, timeout)
