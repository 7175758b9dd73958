"""Status conditions as values: merged, ordered and kept still when nothing changed.

The rules are those that kstatus and the `flux` CLI rely on (`fluxcd/pkg/runtime/conditions`): at most one condition a
type, lastTransitionTime moves when status, reason or message changes, order Stalled, Reconciling, Ready, then others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from agent.api.meta import Condition

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
HEALTHY = "Healthy"
ARTIFACT_IN_STORAGE = "ArtifactInStorage"
ARTIFACT_OUTDATED = "ArtifactOutdated"
FETCH_FAILED = "FetchFailed"
STORAGE_FAILED = "StorageOperationFailed"
INCLUDE_UNAVAILABLE = "IncludeUnavailable"
SOURCE_VERIFIED = "SourceVerified"

STALE_SERVING = "StaleServing"

PROGRESSING = "Progressing"
PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
SUCCEEDED = "Succeeded"

MESSAGE_LIMIT = 32768
_UNSET = datetime.fromtimestamp(0, UTC)
_ORDER = {STALLED: 0, RECONCILING: 1, READY: 2}


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """True if the condition is there with status True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def is_false(conditions: Iterable[Condition], kind: str) -> bool:
    """True if the condition is there with status False."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "False"


def true(kind: str, reason: str, message: str) -> Condition:
    """A condition with status True; generation and time are filled in by `merged`."""
    return _condition(kind, "True", reason, message)


def false(kind: str, reason: str, message: str) -> Condition:
    """A condition with status False."""
    return _condition(kind, "False", reason, message)


def unknown(kind: str, reason: str, message: str) -> Condition:
    """A condition with status Unknown."""
    return _condition(kind, "Unknown", reason, message)


def _condition(kind: str, status: str, reason: str, message: str) -> Condition:
    cut = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
    return Condition(type=kind, status=status, reason=reason, message=cut, last_transition_time=_UNSET)


def merged(
    old: Sequence[Condition], new: Iterable[Condition], *, remove: Iterable[str] = (), generation: int, now: datetime
) -> tuple[Condition, ...]:
    """`new` over `old`, without the types in `remove`; all other old conditions stay as they are.

    Every new condition carries `generation`; its lastTransitionTime is the old one unless status, reason or message
    differ. Lists come out in the same order whatever the order of `new`, so an unchanged status compares equal.
    """
    wanted = {condition.type: condition for condition in new}
    gone = frozenset(remove) - wanted.keys()
    kept = [condition for condition in old if condition.type not in gone and condition.type not in wanted]
    stamped = [_stamped(condition, find(old, kind), generation, now) for kind, condition in wanted.items()]
    return tuple(sorted(kept + stamped, key=lambda condition: (_ORDER.get(condition.type, 3), condition.type)))


def _stamped(condition: Condition, before: Condition | None, generation: int, now: datetime) -> Condition:
    same = before is not None and (before.status, before.reason, before.message) == (
        condition.status,
        condition.reason,
        condition.message,
    )
    since = before.last_transition_time if before is not None and same else now
    return msgspec.structs.replace(condition, observed_generation=generation, last_transition_time=since)
