"""A Canary's status, field for field what Flagger keeps, and the ways in which it may change.

`Blocked` is an addition: a condition that exists only while something stands in the way (the target is missing,
metrics cannot be had). Flagger rewrites the conditions as a whole and ignores it. The other one is `judge`, which is
there only for runs that are not judged by Flagger's rule; `load`, where the size of a model is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from agent.api.canary import CanaryPhase
from agent.core.rollout.judgestate import JudgeState

PROMOTED = "Promoted"
BLOCKED = "Blocked"
Phase = CanaryPhase

_MESSAGES = {
    Phase.INITIALIZED: ("True", "{kind} initialization completed."),
    Phase.WAITING: ("Unknown", "Waiting for approval."),
    Phase.WAITING_PROMOTION: ("Unknown", "Waiting for approval."),
    Phase.PROGRESSING: ("Unknown", "New revision detected, progressing canary analysis."),
    Phase.PROMOTING: ("Unknown", "Canary analysis completed, starting primary rolling update."),
    Phase.FINALISING: ("Unknown", "Canary analysis completed, routing all traffic to primary."),
    Phase.SUCCEEDED: ("True", "Canary analysis completed successfully, promotion finished."),
    Phase.FAILED: ("False", "Canary analysis failed, {kind} scaled to zero."),
    Phase.TERMINATING: ("Unknown", "Canary deletion requested, restoring the {kind}."),
    Phase.TERMINATED: ("Unknown", "Canary deleted, {kind} restored."),
}
_STARTING = ("Unknown", "New {kind} detected, starting initialization.")


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A condition as Flagger writes it."""

    type: str
    status: str
    reason: str
    message: str
    last_update_time: datetime | None = None
    last_transition_time: datetime | None = None


class Load(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The model that was last tried: its size in bytes, 0 where that is unknown; whether it is still `loading`; and the
    pace of the last load that ended, in bytes a second, 0 before the first."""

    bytes: int = 0
    rate: int = 0
    loading: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`Canary.status`. Weight in percent; checks and iterations are counts of the present run."""

    phase: Phase = Phase.NONE
    failed_checks: int = 0
    canary_weight: int = 0
    iterations: int = 0
    last_applied_spec: str = ""
    last_promoted_spec: str = ""
    last_tracked_revision: str | None = None
    """The target as it was stored when `last_applied_spec` was taken."""
    tracked_configs: Mapping[str, str] | None = None
    session_affinity_cookie: str | None = None
    primary_session_affinity_cookie: str | None = None
    previous_session_affinity_cookie: str | None = None
    last_transition_time: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    judge: JudgeState | None = None
    load: Load | None = None

    @property
    def held(self) -> bool:
        """A step that stayed inconclusive waits for a person or for more requests."""
        return self.phase is Phase.WAITING and self.judge is not None and self.judge.held

    @property
    def analysing(self) -> bool:
        """A run that a new template restarts and a rollback may end."""
        return self.phase.analysing or self.held

    @property
    def awaiting_start(self) -> bool:
        """A run waits for the consent to begin."""
        return self.phase is Phase.WAITING and not self.held

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def tracked(self) -> Mapping[str, str]:
        """Checksums of the tracked ConfigMaps and Secrets of the revision under `last_applied_spec`."""
        return self.tracked_configs or {}

    def weighing(self, weight: int, now: datetime) -> Status:
        """The canary has `weight` percent."""
        return msgspec.structs.replace(self, canary_weight=weight, last_transition_time=now)

    def iterated(self, count: int, now: datetime) -> Status:
        """`count` iterations are done."""
        return msgspec.structs.replace(self, iterations=count, last_transition_time=now)

    def one_more_failure(self, now: datetime) -> Status:
        """A check failed. A good check never takes this back."""
        return msgspec.structs.replace(self, failed_checks=self.failed_checks + 1, last_transition_time=now)

    def entering(self, phase: Phase, *, kind: str, now: datetime, iterations: int = 0, message: str = "") -> Status:
        """The next phase of the same revision.

        Weight and iterations survive only into phases in which traffic is still moving; Succeeded and Initialized
        make the applied revision the promoted one. `iterations` counts where an approval is waited for.
        """
        keep = phase in {Phase.PROGRESSING, Phase.WAITING, Phase.PROMOTING}
        done = phase in {Phase.INITIALIZED, Phase.SUCCEEDED}
        return msgspec.structs.replace(
            self,
            phase=phase,
            canary_weight=self.canary_weight if keep else 0,
            iterations=self.iterations if keep else max(iterations, 0),
            last_promoted_spec=self.last_applied_spec if done else self.last_promoted_spec,
            last_transition_time=now,
            conditions=self._conditions(phase, kind, now, message),
        )

    def synced(
        self,
        phase: Phase,
        *,
        kind: str,
        now: datetime,
        applied: str,
        tracked: Mapping[str, str],
        weight: int = 0,
        message: str = "",
    ) -> Status:
        """A phase that begins with another revision of the target: all counters start again."""
        promoted = applied if phase is Phase.INITIALIZED else self.last_promoted_spec
        return msgspec.structs.replace(
            self,
            phase=phase,
            canary_weight=weight,
            failed_checks=0,
            iterations=0,
            last_applied_spec=applied,
            last_promoted_spec=promoted,
            tracked_configs=dict(tracked),
            last_transition_time=now,
            conditions=self._conditions(phase, kind, now, message),
        )

    def blocked(self, reason: str, message: str, now: datetime) -> Status:
        """Something stands in the way. The same object if that is already said."""
        old = self.condition(BLOCKED)
        if old is not None and (old.reason, old.message) == (reason, message):
            return self
        since = old.last_transition_time if old is not None else now
        new = Condition(
            type=BLOCKED,
            status="True",
            reason=reason,
            message=message,
            last_update_time=now,
            last_transition_time=since,
        )
        rest = tuple(condition for condition in self.conditions if condition.type != BLOCKED)
        return msgspec.structs.replace(self, conditions=(*rest, new))

    def unblocked(self) -> Status:
        """Nothing stands in the way any more. The same object if nothing did."""
        if self.condition(BLOCKED) is None:
            return self
        rest = tuple(condition for condition in self.conditions if condition.type != BLOCKED)
        return msgspec.structs.replace(self, conditions=rest)

    def _conditions(self, phase: Phase, kind: str, now: datetime, message: str) -> tuple[Condition, ...]:
        status, text = _MESSAGES.get(phase, _STARTING)
        old = self.condition(PROMOTED)
        if old is not None and (old.status, old.reason) == (status, phase.value) and not message:
            return self.conditions
        since = old.last_transition_time if old is not None and old.status == status else now
        new = Condition(
            type=PROMOTED,
            status=status,
            reason=phase.value,
            message=message or text.format(kind=kind),
            last_update_time=now,
            last_transition_time=since,
        )
        return (new, *(condition for condition in self.conditions if condition.type != PROMOTED))


def decode_status(value: Mapping[str, Any] | None) -> Status:
    """The status found on an object; a field that is null counts as unset. Raises msgspec.ValidationError."""
    given = {name: item for name, item in (value or {}).items() if item is not None}
    return msgspec.convert(given, Status)


def encode_status(status: Status) -> dict[str, Any]:
    """The status as it goes to the API server: times in whole seconds."""
    encoded: dict[str, Any] = _plain(msgspec.to_builtins(status, builtin_types=(datetime,)))
    return encoded


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def status_patch(old: Mapping[str, Any] | None, new: Status) -> dict[str, Any]:
    """A JSON merge patch of the status subresource that leads from `old` to `new`; empty if there is nothing to say.

    Only fields of this type are touched: fields of later Flagger versions stay.
    """
    before = dict(old or {})
    patch = {name: value for name, value in encode_status(new).items() if before.get(name) != value}
    stale = set(before.get("trackedConfigs") or {}) - set(new.tracked)
    if before.get("judge") and "judge" in patch:
        patch["judge"] = {**dict.fromkeys(sorted(set(before["judge"]) - set(patch["judge"]))), **patch["judge"]}
    elif before.get("judge") and new.judge is None:
        patch["judge"] = None
    if stale and "trackedConfigs" in patch:
        patch["trackedConfigs"] = {**patch["trackedConfigs"], **dict.fromkeys(sorted(stale))}
    return {"status": patch} if patch else {}
