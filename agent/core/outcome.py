"""How a pass over a Kustomization ended, as one closed type, and the only place where that becomes a status.

Reasons, messages, and which field moves when follow kustomize-controller, except that a pass is written with one
patch: a reader never sees Ready at a revision that `lastAppliedRevision` and the inventory do not have yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from agent.api.duration import format_elapsed
from agent.api.kustomization import Kustomization, KustomizationStatus, Snapshot
from agent.api.meta import Condition
from agent.core import conditions as c
from agent.core.inventory import Inventory, from_status, to_status

RECONCILIATION_SUCCEEDED = "ReconciliationSucceeded"
HEALTH_CHECK_CANCELED = "HealthCheckCanceled"
HISTORY_LIMIT = 5
_STALE_LISTED = 5
_IN_HISTORY = frozenset({RECONCILIATION_SUCCEEDED, "ReconciliationFailed", "PruneFailed", "HealthCheckFailed"})


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass knows once it has built: it is carried by every later outcome."""

    revision: str
    origin_revision: str | None = None
    digest: str = ""
    started: datetime


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Still going on: `message` says at which step. `inventory` is written ahead of the first apply.

    `attempt` is None as long as it is not known whether the source has the path.
    """

    attempt: Attempt | None = None
    message: str
    inventory: Inventory | None = None
    checking_health: bool = False


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is applied, pruned and, if it was to be checked, healthy.

    `healthy_after` is the length of the health check in seconds, None if there was none. `noteworthy` is False for a
    pass without news: its history counters are not written.
    """

    attempt: Attempt
    inventory: Inventory
    healthy_after: float | None = None
    noteworthy: bool = True


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Something went wrong and is tried again later.

    `attempt` is None if the pass ended before the source was found to have the path; `progress` is the step at which it
    ended; `inventory` None leaves the stored one alone; `health` is the message of the Healthy condition where the
    health check is what failed.
    """

    reason: str
    message: str
    attempt: Attempt | None = None
    progress: str = ""
    inventory: Inventory | None = None
    health: str = ""


class Stalled(msgspec.Struct, frozen=True, kw_only=True):
    """The spec is wrong; nothing happens until it changes. `observed` if that is known of its present generation."""

    reason: str
    message: str
    observed: bool = True


class Canceled(msgspec.Struct, frozen=True):
    """A health check was given up because there are news; `by` is who has them. The next pass is already due.

    It answers no request: the pass that follows does.
    """

    attempt: Attempt
    by: str


class Suspended(msgspec.Struct, frozen=True):
    """Nobody wants a pass; only the request is acknowledged."""


Outcome = Progress | Applied | Failed | Canceled | Stalled | Suspended


def fold(kustomization: Kustomization, outcome: Outcome, now: datetime) -> KustomizationStatus:
    """The status after `outcome`. Pure: equal inputs give equal statuses, and nothing new means nothing changed.

    Times are stored in whole seconds, as Kubernetes keeps them; durations are not cut.
    """
    match outcome:
        case Progress():
            return _progress(kustomization, outcome, now)
        case Applied():
            return _acknowledged(kustomization, _applied(kustomization, outcome, now))
        case Failed():
            return _acknowledged(kustomization, _failed(kustomization, outcome, now))
        case Canceled():
            message = f"New reconciliation triggered by {outcome.by}"
            ended = Failed(reason=HEALTH_CHECK_CANCELED, message=message, attempt=outcome.attempt)
            return _failed(kustomization, ended, now)
        case Stalled():
            return _acknowledged(kustomization, _stalled(kustomization, outcome, now))
        case Suspended():
            return _acknowledged(kustomization, _suspended(kustomization))


def with_stale(
    kustomization: Kustomization, status: KustomizationStatus, lines: Sequence[str] | None, now: datetime
) -> KustomizationStatus:
    """The status with what pods run instead of what Git asks for: a condition that is there only while they do.

    None leaves the condition as it is: nobody has looked yet.
    """
    if lines is None:
        return status
    shown = "; ".join(lines[:_STALE_LISTED]) + (
        f"; and {len(lines) - _STALE_LISTED} more" if lines[_STALE_LISTED:] else ""
    )
    new = [c.true(c.STALE_SERVING, c.STALE_SERVING, shown)] if lines else []
    merged = c.merged(
        status.conditions,
        new,
        remove=(c.STALE_SERVING,),
        generation=kustomization.metadata.generation,
        now=_second(now),
    )
    return msgspec.structs.replace(status, conditions=merged)


def stored_inventory(status: KustomizationStatus) -> Inventory:
    """The inventory in a status. Raises ValueError if an entry cannot be read."""
    return from_status(status.inventory)


def _acknowledged(kustomization: Kustomization, status: KustomizationStatus) -> KustomizationStatus:
    requested = kustomization.requested_at
    return msgspec.structs.replace(status, last_handled_reconcile_at=requested) if requested else status


def _with_conditions(
    kustomization: Kustomization,
    new: list[Condition],
    now: datetime,
    *,
    remove: tuple[str, ...] = (),
) -> KustomizationStatus:
    status = kustomization.status
    merged = c.merged(
        status.conditions, new, remove=remove, generation=kustomization.metadata.generation, now=_second(now)
    )
    return msgspec.structs.replace(status, conditions=merged)


def _progress(kustomization: Kustomization, outcome: Progress, now: datetime) -> KustomizationStatus:
    new = [
        c.true(c.RECONCILING, c.PROGRESSING, outcome.message),
        c.unknown(c.READY, c.PROGRESSING, "Reconciliation in progress"),
    ]
    if outcome.checking_health:
        new.append(c.unknown(c.HEALTHY, c.PROGRESSING, outcome.message))
    status = _with_conditions(kustomization, new, now, remove=(c.STALLED,))
    if outcome.attempt is not None:
        status = msgspec.structs.replace(status, last_attempted_revision=outcome.attempt.revision)
    if outcome.inventory is not None:
        status = msgspec.structs.replace(status, inventory=to_status(outcome.inventory))
    return status


def _applied(kustomization: Kustomization, outcome: Applied, now: datetime) -> KustomizationStatus:
    attempt = outcome.attempt
    new = [c.true(c.READY, RECONCILIATION_SUCCEEDED, f"Applied revision: {attempt.revision}")]
    remove: tuple[str, ...] = (c.RECONCILING, c.STALLED)
    if outcome.healthy_after is None:
        remove += (c.HEALTHY,)
    elif outcome.noteworthy or not c.is_true(kustomization.status.conditions, c.HEALTHY):
        new.append(c.true(c.HEALTHY, c.SUCCEEDED, f"Health check passed in {format_elapsed(outcome.healthy_after)}"))
    status = _with_conditions(kustomization, new, now, remove=remove)
    history = status.history
    if outcome.noteworthy:
        history = _recorded(status, attempt, RECONCILIATION_SUCCEEDED, now)
    return msgspec.structs.replace(
        status,
        observed_generation=kustomization.metadata.generation,
        last_applied_revision=attempt.revision,
        last_applied_origin_revision=attempt.origin_revision,
        last_attempted_revision=attempt.revision,
        inventory=to_status(outcome.inventory),
        history=history,
    )


def _failed(kustomization: Kustomization, outcome: Failed, now: datetime) -> KustomizationStatus:
    new = [c.false(c.READY, outcome.reason, outcome.message)]
    reconciling = c.find(kustomization.status.conditions, c.RECONCILING)
    step = outcome.progress or (reconciling.message if reconciling else "")
    if step:
        new.append(c.true(c.RECONCILING, c.PROGRESSING_WITH_RETRY, step))
    if outcome.health:
        new.append(c.false(c.HEALTHY, outcome.reason, outcome.health))
    status = _with_conditions(kustomization, new, now, remove=(c.STALLED,))
    if outcome.attempt is not None:
        status = msgspec.structs.replace(status, last_attempted_revision=outcome.attempt.revision)
        if outcome.reason in _IN_HISTORY and outcome.attempt.digest:
            status = msgspec.structs.replace(status, history=_recorded(status, outcome.attempt, outcome.reason, now))
    if outcome.inventory is not None:
        status = msgspec.structs.replace(status, inventory=to_status(outcome.inventory))
    return status


def _stalled(kustomization: Kustomization, outcome: Stalled, now: datetime) -> KustomizationStatus:
    new = [
        c.true(c.STALLED, outcome.reason, outcome.message),
        c.false(c.READY, outcome.reason, outcome.message),
    ]
    status = _with_conditions(kustomization, new, now, remove=(c.RECONCILING,))
    if not outcome.observed:
        return status
    return msgspec.structs.replace(status, observed_generation=kustomization.metadata.generation)


def _suspended(kustomization: Kustomization) -> KustomizationStatus:
    status = kustomization.status
    if c.is_true(status.conditions, c.READY):
        return msgspec.structs.replace(status, observed_generation=kustomization.metadata.generation)
    return status


def _recorded(status: KustomizationStatus, attempt: Attempt, reason: str, now: datetime) -> tuple[Snapshot, ...]:
    """The history with this pass in it: same digest and same ending are one entry, newest first."""
    metadata = {"revision": attempt.revision}
    if attempt.origin_revision:
        metadata["originRevision"] = attempt.origin_revision
    same = next((s for s in status.history if s.digest == attempt.digest and s.last_reconciled_status == reason), None)
    snapshot = Snapshot(
        digest=attempt.digest,
        first_reconciled=same.first_reconciled if same else _second(now),
        last_reconciled=_second(now),
        last_reconciled_duration=format_elapsed((now - attempt.started).total_seconds()),
        last_reconciled_status=reason,
        total_reconciliations=(same.total_reconciliations if same else 0) + 1,
        metadata=metadata,
    )
    others = tuple(entry for entry in status.history if entry is not same)
    return (snapshot, *others)[:HISTORY_LIMIT]


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
