"""From a Kustomization's sourceRef to the files of its source, whoever reconciles that source.

A GitRepository of this process is read from the registry. Anything else (another kind, one that the label selector
leaves to another controller, or the source role runs elsewhere) is taken from the object's `status.artifact`:
downloaded once per digest, checked, and kept while in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.adapters.artifacts import ArtifactMissingError
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import NotFound
from agent.api.duration import format_duration
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.api.meta import Artifact
from agent.controllers.downloads import Downloads
from agent.controllers.sources import (
    RemoteArtifact,
    SourceKey,
    SourceNotFoundError,
    SourcePendingError,
    SourceRegistry,
    SourceSnapshot,
)
from agent.controllers.triggers import source_of
from agent.errors import ArtifactError, ConfigurationError, WaitingError
from agent.runtime.store import Store

SOURCE_GROUP = GitRepository.GROUP
EXTERNAL_ARTIFACT = "ExternalArtifact"
_PENDING_SECONDS = 5.0
_ORIGIN_REVISION = "org.opencontainers.image.revision"


class SourceLookup:
    """Implements the reconciler's `Sources`. `repositories` is None if the source role runs elsewhere.

    `external` allows the kind ExternalArtifact (Flux's gate of that name).
    """

    def __init__(
        self,
        client: KubeClient,
        discovery: Discovery,
        registry: SourceRegistry,
        downloads: Downloads,
        repositories: Store[GitRepository] | None,
        *,
        cross_namespace: bool,
        external: bool = False,
        requeue: float,
    ) -> None:
        self._client = client
        self._discovery = discovery
        self._registry = registry
        self._downloads = downloads
        self._repositories = repositories
        self._cross_namespace = cross_namespace
        self._external = external
        self._requeue = requeue
        self._locks: dict[SourceKey, asyncio.Lock] = {}

    async def find(self, kustomization: Kustomization) -> SourceSnapshot | RemoteArtifact:
        """The current artifact, with its files if they are at hand.

        Raises ConfigurationError (a namespace or kind that may not be read), ArtifactError (no such source, a status
        that is none), WaitingError (no artifact yet), SourcePendingError (first look of this process is under way).
        """
        key = source_of(kustomization)
        if key.namespace != kustomization.namespace and not self._cross_namespace:
            raise ConfigurationError(
                f"can't access '{key}', cross-namespace references have been blocked", reason="AccessDenied"
            )
        if key.kind == EXTERNAL_ARTIFACT and not self._external:
            raise ConfigurationError(
                f"can't access '{key}', {EXTERNAL_ARTIFACT} feature gate is disabled", reason="AccessDenied"
            )
        if key.kind == GitRepository.KIND and self._repositories is not None:
            repository = self._repositories.get(key.namespace, key.name)
            if repository is not None:
                return self._local(key, repository)
        return await self._foreign(key)

    async def fetch(self, artifact: RemoteArtifact) -> SourceSnapshot:
        """The artifact with its files; downloaded once, however many Kustomizations ask at the same time.

        Raises ArtifactError if the download fails for good, SourcePendingError if it will be tried again, WaitingError
        if the file is not there.
        """
        async with self._locks.setdefault(artifact.key, asyncio.Lock()):
            known = self._known(artifact)
            if known is not None:
                return known
            try:
                tree = await self._downloads.tree(artifact)
            except ArtifactMissingError:
                raise self._waiting("Source is not ready, artifact not found") from None
            snapshot = SourceSnapshot(
                revision=artifact.revision,
                digest=artifact.digest,
                tree=tree,
                origin_revision=artifact.origin_revision,
            )
            self._registry.publish(artifact.key, snapshot)
            return snapshot

    def _known(self, artifact: RemoteArtifact) -> SourceSnapshot | None:
        known = self._registry.get(artifact.key)
        same = known is not None and (known.revision, known.digest) == (artifact.revision, artifact.digest)
        return known if same else None

    def _local(self, key: SourceKey, repository: GitRepository) -> SourceSnapshot:
        snapshot = self._registry.get(key)
        if snapshot is not None:
            return snapshot
        if repository.status.artifact is None:
            raise self._no_artifact()
        if self._registry.misses(key):
            raise self._waiting("Source is not ready, artifact not found")
        raise SourcePendingError("the source is being read", after=_PENDING_SECONDS)

    async def _foreign(self, key: SourceKey) -> SourceSnapshot | RemoteArtifact:
        """A version in sourceRef.apiVersion has no say, as in Flux: it may be one that is not served any more."""
        try:
            resource = await self._discovery.preferred(SOURCE_GROUP, key.kind)
            source = await self._client.get(resource, key.namespace, key.name)
        except NotFound:
            self._registry.withdraw(key)
            self._locks.pop(key, None)
            self._downloads.forget(key)
            raise _not_found(key) from None
        artifact = _artifact(key, source)
        if artifact is None:
            raise self._no_artifact()
        return self._known(artifact) or artifact

    def _no_artifact(self) -> WaitingError:
        return self._waiting("Source artifact not found")

    def _waiting(self, what: str) -> WaitingError:
        return WaitingError(
            f"{what}, retrying in {format_duration(self._requeue)}",
            after=self._requeue,
            reason=ArtifactError.reason,
        )


def _not_found(key: SourceKey) -> ArtifactError:
    return SourceNotFoundError(f"{key} not found: create it, or correct spec.sourceRef")


def _artifact(key: SourceKey, source: Mapping[str, Any]) -> RemoteArtifact | None:
    value = (source.get("status") or {}).get("artifact")
    if not value:
        return None
    try:
        artifact = msgspec.convert(value, Artifact)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"{key}: status.artifact cannot be read: {error}") from None
    return RemoteArtifact(
        key=key,
        revision=artifact.revision,
        digest=artifact.digest,
        url=artifact.url,
        origin_revision=(artifact.metadata or {}).get(_ORIGIN_REVISION),
    )
