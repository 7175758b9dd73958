"""One pass over a GitRepository: credentials -> remote listing -> fetch -> artifact -> status -> published snapshot.

A look at a repository without news is one listing of its references. Builds read the commit's tree from the shared
mirror; the archive is packed for consumers outside this process.
"""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from functools import partial

import structlog

from agent.adapters.git import GitCommitTree, GitRemote
from agent.adapters.kube.errors import NotFound
from agent.api.gitrepository import GitRepository
from agent.api.meta import Artifact
from agent.controllers.gitrepository.checkout import (
    COPY_FAILURE,
    Checkout,
    check_folders,
    checked_out,
    compared,
    composed,
)
from agent.controllers.gitrepository.parts import SourceParts
from agent.controllers.gitrepository.recipe import Recipe
from agent.controllers.gitrepository.refusal import refuse_invalid
from agent.controllers.gitrepository.reports import Reports
from agent.controllers.gitrepository.restoring import Restoration
from agent.controllers.gitrepository.stored import StoredArtifacts
from agent.controllers.gitrepository.verification import VerificationError, VerificationModeError, check_mode, verify
from agent.controllers.includes import IncludedArtifact, IncludeError
from agent.controllers.pace import paced
from agent.controllers.sources import SourceKey, SourcePendingError, SourceSnapshot
from agent.core import conditions as c
from agent.core.gitref import GitReference, RemoteRefs, Target, resolve, same_revision
from agent.core.source_outcome import (
    ArtifactLost,
    FetchFailed,
    Fetching,
    SourceOutcome,
    SourceStalled,
    Stored,
    Verified,
    fold_source,
)
from agent.errors import AuthenticationError, Next, OperationError, UnexpectedError, WeirError
from agent.runtime.controller import Done, RequeueAfter, Result
from agent.telemetry.events import reference_to

Key = tuple[str, str]
_SUBJECT = 50  # characters of a commit's first line in events
_STORAGE_REASONS = frozenset({"ArchiveOperationFailed", "DirectoryCreationFailed", COPY_FAILURE})
_FAILURES = (c.FETCH_FAILED, c.STORAGE_FAILED, c.INCLUDE_UNAVAILABLE)


class GitRepositoryReconciler:
    """One pass for one key at a time."""

    def __init__(self, parts: SourceParts) -> None:
        self._parts = parts
        self._reports = Reports(parts.events)
        self._stored = StoredArtifacts(parts.storage, self._reports)
        self._restoration = Restoration(parts.access, parts.mirrors, self._stored, parts.registry)
        self._failures: dict[Key, int] = {}

    async def reconcile(self, key: Key) -> Result:
        """One pass. Failures end in the status and are tried again with back-off, at the latest after the interval."""
        repository = self._parts.objects.get(*key)
        if repository is None:
            self._forget(key)
            return Done()
        try:
            if repository.is_deleting:
                return await self._finalize(repository)
            repository = await self._parts.status.add_finalizer(repository)
            if repository.spec.suspend:
                return await self._keep(repository)
            started = time.perf_counter()
            try:
                return await self._pass(repository)
            finally:
                duration = self._parts.metrics.reconcile_duration.labels(GitRepository.KIND, key[1], key[0])
                duration.observe(time.perf_counter() - started)
        except NotFound:
            self._forget(key)  # deleted while we looked at it
            return Done()

    def _forget(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._parts.metrics.forget(GitRepository.KIND, *key)
        self._parts.access.forget(*key)
        self._parts.registry.withdraw(SourceKey(GitRepository.KIND, *key))
        self._parts.tags.forget(SourceKey(GitRepository.KIND, *key))

    async def _finalize(self, repository: GitRepository) -> Result:
        await self._stored.remove(repository)
        await self._parts.status.remove_finalizer(repository)
        self._forget((repository.namespace, repository.name))
        return Done()

    async def _pass(self, repository: GitRepository) -> Result:
        key = (repository.namespace, repository.name)
        try:
            repository = await self._begin(repository)
            await self._steps(repository)
        except SourcePendingError as pending:
            return RequeueAfter(pending.after)
        except WeirError as error:
            return await self._fail(repository, error)
        except Exception as error:
            await self._fail(repository, UnexpectedError(error))
            raise
        self._failures.pop(key, None)
        return RequeueAfter(paced(repository.interval, self._parts.jitter))

    async def _begin(self, repository: GitRepository) -> GitRepository:
        """Say that a new spec is being worked on: the fetch may take a while."""
        old, new = repository.status.observed_generation, repository.metadata.generation
        message = f"processing object: new generation {old} -> {new}"
        known = c.find(repository.status.conditions, c.RECONCILING)
        if old == new or (known is not None and known.message == message):
            return repository
        return await self._publish(repository, Fetching(message=message))

    async def _keep(self, repository: GitRepository) -> Result:
        """Nobody wants news of a suspended source, but what it brought last stays available after a restart."""
        if await self._restoration.restore(repository):
            self._failures.pop((repository.namespace, repository.name), None)
            return Done()
        return self._again(repository)

    def _again(self, repository: GitRepository) -> Result:
        key = (repository.namespace, repository.name)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return RequeueAfter(min(self._parts.retry.delay(failures), paced(repository.interval)))

    async def _steps(self, repository: GitRepository) -> None:
        """The pipeline."""
        refuse_invalid(repository.spec.url)
        parts, spec = self._parts, repository.spec
        await self._stored.collect(repository)
        remote = await parts.access.remote(repository)
        reference = GitReference.from_spec(spec.ref)
        if spec.verify is not None:
            check_mode(spec.verify, reference)
        includes = await parts.includes.find(repository)
        artifact = await self._stored.usable(repository, includes)
        listed = await self._listed(repository, remote, reference, artifact)
        if artifact is not None and listed is not None and _names(listed, reference, remote, artifact):
            await self._unchanged(repository, _stored(artifact, includes))
            await self._tell_tags(repository, remote, reference)
            return
        recipe = Recipe.of_spec(repository, includes)
        checkout = await checked_out(parts.mirrors, remote, reference, recipe, repository.timeout, listed=listed)
        await check_folders(checkout)
        verified = await self._verified(repository, remote, checkout.commit)
        snapshot, artifact = await self._artifact(repository, checkout, artifact)
        await self._arrived(repository, snapshot, checkout.commit, _stored(artifact, includes, verified))
        await self._tell_tags(repository, remote, reference)

    async def _listed(
        self, repository: GitRepository, remote: GitRemote, reference: GitReference, artifact: Artifact | None
    ) -> RemoteRefs | None:
        """What the remote names, if the artifact may turn out to be of that: then nothing has to be fetched."""
        if artifact is None or repository.spec.verify is not None:
            return None
        snapshot = self._parts.registry.get(_key(repository))
        if snapshot is None or not same_revision(snapshot.revision, artifact.revision):
            return None
        if reference.commit:
            return RemoteRefs({})
        return await self._parts.mirrors.list_refs(remote, repository.timeout, reference)

    async def _unchanged(self, repository: GitRepository, stored: Stored) -> None:
        revision, recovered = stored.artifact.revision, _has_failed(repository)
        structlog.get_logger().info(f"no changes since last reconciliation: observed revision '{revision}'")
        await self._publish(repository, stored)
        if recovered:
            self._reports.normal(repository, c.SUCCEEDED, f"stored artifact for commit '{revision}'", stored.artifact)

    async def _verified(self, repository: GitRepository, remote: GitRemote, commit: GitCommitTree) -> Verified | None:
        wanted = repository.spec.verify
        if wanted is None:
            return None
        try:
            keys = await self._parts.access.secret(repository, wanted.secret_ref.name, "spec.verify.secretRef")
        except AuthenticationError as error:
            raise VerificationError(f"public keys secret error: {error.message}") from None
        return await verify(wanted, keys, self._parts.mirrors, remote, commit)

    async def _artifact(
        self, repository: GitRepository, checkout: Checkout, usable: Artifact | None
    ) -> tuple[SourceSnapshot, Artifact]:
        """The files, and their archive: the `usable` one if it is of this commit, else a new one."""
        commit = checkout.commit
        try:
            snapshot = await composed(checkout, None, self._parts.mirrors, repository.timeout)
            artifact = usable
            if artifact is None or not same_revision(artifact.revision, commit.revision):
                snapshot = await self._offered(repository, snapshot)
                artifact = await self._stored.pack(repository, commit.sha, commit.revision, snapshot.tree)
            else:
                message = f"artifact up-to-date with remote revision: '{artifact.revision}'"
                structlog.get_logger().info(message)
        except OperationError as error:
            raise NotStoredError(error, commit.revision) from error
        return dataclasses.replace(snapshot, revision=artifact.revision, digest=artifact.digest), artifact

    async def _offered(self, repository: GitRepository, snapshot: SourceSnapshot) -> SourceSnapshot:
        """Let builds begin with a new commit: they read the mirror, and need not wait until others have an archive."""
        known = self._parts.registry.get(_key(repository))
        if known is not None and same_revision(known.revision, snapshot.revision):
            return snapshot
        snapshot = await compared(known, snapshot)
        self._parts.registry.publish(_key(repository), snapshot)
        return snapshot

    async def _arrived(
        self, repository: GitRepository, snapshot: SourceSnapshot, commit: GitCommitTree, stored: Stored
    ) -> None:
        """Write the status, then let those know who do not know yet, then tell people."""
        before, artifact = repository.status.artifact, stored.artifact
        failed = _has_failed(repository)
        verified, known = stored.verified, c.find(repository.status.conditions, c.SOURCE_VERIFIED)
        if verified is not None and (known is None or known.message != verified.message):
            self._reports.trace(repository, c.SUCCEEDED, verified.message)
        repository = await self._publish(repository, stored)
        self._parts.registry.publish(_key(repository), snapshot)
        message = f"stored artifact for commit '{commit.subject[:_SUBJECT]}'"
        if before is None or before.digest != artifact.digest:
            structlog.get_logger().info(message, revision=artifact.revision)
            self._reports.normal(repository, "NewArtifact", message, artifact)
        elif failed:
            self._reports.normal(repository, c.SUCCEEDED, message, artifact)
        if before is not None and before.revision != artifact.revision:
            await self._tell_files(repository, snapshot, before.revision)

    async def _tell_files(self, repository: GitRepository, snapshot: SourceSnapshot, old: str) -> None:
        """Say which data files differ from an earlier revision. The artifact is there: this can no longer fail it."""
        source = f"{GitRepository.KIND}/{repository.namespace}/{repository.name}"
        involved, url = reference_to(repository), repository.spec.url
        try:
            await self._parts.changes.record_files(source, involved, snapshot, old, url=url)
        except WeirError as error:
            structlog.get_logger().info("earlier files cannot be compared", revision=old, error=error.message)

    async def _tell_tags(self, repository: GitRepository, remote: GitRemote, reference: GitReference) -> None:
        """Say what tags register and assign, with or without a commit. Nothing is asked for that was listed already."""
        snapshot = self._parts.registry.get(_key(repository))
        listed = self._parts.mirrors.last_listed(remote, reference)
        if snapshot is None or listed is None:
            return
        times = partial(self._parts.mirrors.tag_times, remote, timeout=repository.timeout)
        try:
            await self._parts.tags.look(repository, listed.refs, snapshot, times)
        except WeirError as error:
            structlog.get_logger().info("tags of models cannot be compared", error=error.message)

    async def _fail(self, repository: GitRepository, error: WeirError) -> Result:
        stalled = error.next is Next.STALL
        outcome: SourceOutcome = (
            SourceStalled(reason=error.reason, message=error.message, condition=_condition(error))
            if stalled
            else _failure(repository, error)
        )
        structlog.get_logger().error("reconciliation failed", error=error.message, reason=error.reason)
        repository = await self._publish(repository, outcome)
        tell = self._reports.normal if isinstance(error, IncludeError) else self._reports.warning
        tell(repository, error.reason, error.message)
        if not await self._restoration.restore(repository):
            await self._publish(repository, ArtifactLost())
        if isinstance(error, IncludeError):
            return RequeueAfter(error.after)
        return Done() if stalled else self._again(repository)

    async def _publish(self, repository: GitRepository, outcome: SourceOutcome) -> GitRepository:
        now = datetime.now(UTC).replace(microsecond=0)
        status = self._stored.located(fold_source(repository, outcome, now))
        return await self._parts.status.write(repository, status)


class NotStoredError(OperationError):
    """A commit was fetched, and its archive could not be made."""

    def __init__(self, error: OperationError, revision: str) -> None:
        super().__init__(error.message, reason=error.reason)
        self.revision = revision


def _key(repository: GitRepository) -> SourceKey:
    return SourceKey(GitRepository.KIND, repository.namespace, repository.name)


def _names(listed: RemoteRefs, reference: GitReference, remote: GitRemote, artifact: Artifact) -> bool:
    """True if the remote still names the revision of the artifact."""
    target = resolve(reference, listed, remote.address)
    return isinstance(target, Target) and target.revision == artifact.revision


def _failure(repository: GitRepository, error: WeirError) -> FetchFailed:
    artifact = repository.status.artifact
    newer = isinstance(error, NotStoredError) and artifact and not same_revision(artifact.revision, error.revision)
    return FetchFailed(
        reason=error.reason,
        message=error.message,
        condition=_condition(error),
        newer=error.revision if newer and isinstance(error, NotStoredError) else "",
    )


def _condition(error: WeirError) -> str:
    if isinstance(error, IncludeError):
        return c.INCLUDE_UNAVAILABLE
    if isinstance(error, VerificationError | VerificationModeError):
        return c.SOURCE_VERIFIED
    return c.STORAGE_FAILED if error.reason in _STORAGE_REASONS else c.FETCH_FAILED


def _has_failed(repository: GitRepository) -> bool:
    conditions = repository.status.conditions
    return any(c.is_true(conditions, kind) for kind in _FAILURES) or c.is_false(conditions, c.SOURCE_VERIFIED)


def _stored(artifact: Artifact, includes: tuple[IncludedArtifact, ...], verified: Verified | None = None) -> Stored:
    return Stored(artifact=artifact, included=tuple(one.artifact for one in includes), verified=verified)
