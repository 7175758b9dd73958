"""How a pass over a GitRepository ended, as one closed type, and the only place where that becomes a status.

Follows source-controller's summary rules (a true negative condition beats a false positive one beats a true positive
one), in one write: Ready never names a revision that `status.artifact` does not have yet.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from agent.api.gitrepository import GitRepository, GitRepositoryStatus
from agent.api.meta import Artifact, Condition
from agent.core import conditions as c

_NEGATIVE = (c.STORAGE_FAILED, c.FETCH_FAILED, c.INCLUDE_UNAVAILABLE, c.ARTIFACT_OUTDATED)


class Fetching(msgspec.Struct, frozen=True, kw_only=True):
    """Still going on."""

    message: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Signatures were found good: in which mode, and whose they are."""

    mode: str
    message: str


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact in storage is the one that the spec asks for; `included` are those copied in, in its order.

    `verified` tells of signatures, where the spec asks for them.
    """

    artifact: Artifact
    included: tuple[Artifact, ...] = ()
    verified: Verified | None = None


class FetchFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The pass failed and is tried again; an older artifact stays available.

    `condition` is FetchFailed, StorageOperationFailed, IncludeUnavailable, or SourceVerified (which is then False).
    `newer` is a revision that was found, and of which there is no artifact.
    """

    reason: str
    message: str
    condition: str = c.FETCH_FAILED
    newer: str = ""


class ArtifactLost(msgspec.Struct, frozen=True):
    """The last artifact is in storage no more, and could not be made again."""


class SourceStalled(msgspec.Struct, frozen=True, kw_only=True):
    """The spec is wrong; nothing happens until it changes."""

    reason: str
    message: str
    condition: str = c.FETCH_FAILED


SourceOutcome = Fetching | Stored | FetchFailed | SourceStalled | ArtifactLost


def fold_source(repository: GitRepository, outcome: SourceOutcome, now: datetime) -> GitRepositoryStatus:
    """The status after `outcome`."""
    match outcome:
        case Fetching():
            return _fetching(repository, outcome, now)
        case ArtifactLost():
            status = _with_conditions(repository, [], now, remove=(c.ARTIFACT_IN_STORAGE, c.ARTIFACT_OUTDATED))
            return msgspec.structs.replace(status, artifact=None)
        case Stored():
            status = _stored(repository, outcome, now)
        case FetchFailed():
            status = _failed(repository, outcome, now)
        case SourceStalled():
            status = _stalled(repository, outcome, now)
    requested = repository.requested_at
    return msgspec.structs.replace(status, last_handled_reconcile_at=requested) if requested else status


def stored_message(revision: str) -> str:
    """The message of Ready and ArtifactInStorage; scripts match it."""
    return f"stored artifact for revision '{revision}'"


def _with_conditions(
    repository: GitRepository, new: list[Condition], now: datetime, *, remove: tuple[str, ...] = ()
) -> GitRepositoryStatus:
    merged = c.merged(
        repository.status.conditions, new, remove=remove, generation=repository.metadata.generation, now=now
    )
    return msgspec.structs.replace(repository.status, conditions=merged)


def _fetching(repository: GitRepository, outcome: Fetching, now: datetime) -> GitRepositoryStatus:
    new = [c.true(c.RECONCILING, c.PROGRESSING, outcome.message)]
    ready = c.find(repository.status.conditions, c.READY)
    if ready is None or ready.status == "Unknown":
        new.append(c.unknown(c.READY, c.PROGRESSING, outcome.message))
    return _with_conditions(repository, new, now, remove=(c.STALLED,))


def _stored(repository: GitRepository, outcome: Stored, now: datetime) -> GitRepositoryStatus:
    message = stored_message(outcome.artifact.revision)
    new = [c.true(kind, c.SUCCEEDED, message) for kind in (c.READY, c.ARTIFACT_IN_STORAGE)]
    verified = outcome.verified
    if verified is not None:
        new.append(c.true(c.SOURCE_VERIFIED, c.SUCCEEDED, verified.message))
    gone = (c.RECONCILING, c.STALLED, c.SOURCE_VERIFIED, *_NEGATIVE)
    status = _with_conditions(repository, new, now, remove=gone)
    spec = repository.spec
    return msgspec.structs.replace(
        status,
        observed_generation=repository.metadata.generation,
        artifact=outcome.artifact,
        included_artifacts=outcome.included,
        source_verification_mode=verified.mode if verified is not None else None,
        observed_ignore=spec.ignore,
        observed_recurse_submodules=spec.recurse_submodules,
        observed_include=spec.include,
        observed_sparse_checkout=spec.sparse_checkout,
    )


def _failed(repository: GitRepository, outcome: FetchFailed, now: datetime) -> GitRepositoryStatus:
    old = repository.status.conditions
    new = [
        _bad(outcome),
        c.false(c.READY, outcome.reason, outcome.message),
    ]
    if outcome.newer:
        new.append(c.true(c.ARTIFACT_OUTDATED, "NewRevision", f"new upstream revision '{outcome.newer}'"))
    reconciling = c.find(old, c.RECONCILING)
    new.append(
        c.true(
            c.RECONCILING,
            c.PROGRESSING_WITH_RETRY,
            reconciling.message if reconciling else "reconciliation in progress",
        )
    )
    return _with_conditions(repository, new, now, remove=(c.STALLED, *_others(repository)))


def _stalled(repository: GitRepository, outcome: SourceStalled, now: datetime) -> GitRepositoryStatus:
    new = [c.true(c.STALLED, outcome.reason, outcome.message), _bad(outcome)]
    new.append(c.false(c.READY, outcome.reason, outcome.message))
    status = _with_conditions(repository, new, now, remove=(c.RECONCILING, *_others(repository)))
    return msgspec.structs.replace(status, observed_generation=repository.metadata.generation)


def _bad(outcome: FetchFailed | SourceStalled) -> Condition:
    say = c.false if outcome.condition == c.SOURCE_VERIFIED else c.true
    return say(outcome.condition, outcome.reason, outcome.message)


def _others(repository: GitRepository) -> tuple[str, ...]:
    """What went wrong last excludes what went wrong before; signatures that were good say so until they are not."""
    verified = c.is_true(repository.status.conditions, c.SOURCE_VERIFIED)
    before = (c.FETCH_FAILED, c.STORAGE_FAILED, c.INCLUDE_UNAVAILABLE)
    return before if verified else (*before, c.SOURCE_VERIFIED)
