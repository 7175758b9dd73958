"""Which model answered when: periods in which a revision served as primary or had a share of the traffic as canary.

Kept on the Canary, bounded, and brought up to date from the status alone: a process that dies between the status and
the ledger repairs it at its next look. Nothing is known from before the first change that Weir has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from agent.core.rollout.noted import Moment, noted
from agent.core.rollout.quarantine import Reference
from agent.core.rollout.status import Phase, Status

LEDGER = "weir.dev/ledger"
"""Annotation on a Canary: the periods as JSON, the oldest first."""
REVERT = "weir.dev/revert"
"""Annotation on a Canary: `fast` has a revision with only proven references analysed in one step, `full` as any."""
KEPT = 20
SHARES = 20
"""How many shares of the traffic a period remembers, the last ones."""
_MODELS = 8
_LONGEST = 300

Role = Literal["primary", "canary"]
Outcome = Literal["", "replaced", "promoted", "rejected", "reverted", "superseded"]
Models = Callable[[Role], Sequence[Reference] | None]
"""What the target (as canary) and the primary refer to now; None where that was not read."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """From `at` on a canary had `percent` of the traffic; None where nobody noted that."""

    at: Moment
    percent: int | None


class Period(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A revision in one role. `since` is None where it served before anybody looked, `until` while it still does.

    A primary is `replaced`; a canary is `promoted`, `rejected`, `reverted` (Git went back) or `superseded` by another.
    `shares` are a canary's, the oldest first; it begins with none, and has none where requests are not split by weight.
    """

    role: Role
    revision: str
    since: Moment | None = None
    until: Moment | None = None
    outcome: Outcome = ""
    models: tuple[Reference, ...] = ()
    shares: tuple[Share, ...] = ()

    def covers(self, moment: datetime) -> bool:
        """Whether it answered at that moment."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A period of one Canary, as it is shown. `canary` is `namespace/name`."""

    canary: str
    role: Role
    revision: str
    since: datetime | None
    until: datetime | None
    outcome: Outcome
    models: tuple[Reference, ...]
    shares: tuple[Share, ...] = ()

    def covers(self, moment: datetime) -> bool:
        """Whether it answered at that moment."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


def decode_ledger(annotations: Mapping[str, str]) -> tuple[Period, ...]:
    """The periods on a Canary; an annotation that somebody has broken holds none."""
    return tuple(noted(annotations, LEDGER, list[Period]) or ())


def encode_ledger(periods: Sequence[Period]) -> str:
    """The annotation's value."""
    return msgspec.json.encode(periods).decode()


def entries_of(canary: str, annotations: Mapping[str, str]) -> tuple[LedgerEntry, ...]:
    """The periods on a Canary as they are shown, the newest first."""
    return tuple(
        LedgerEntry(
            canary=canary,
            role=period.role,
            revision=period.revision,
            since=period.since,
            until=period.until,
            outcome=period.outcome,
            models=period.models,
            shares=period.shares,
        )
        for period in reversed(decode_ledger(annotations))
    )


def kept(periods: Sequence[Period], before: Status, after: Status, models: Models, now: datetime) -> tuple[Period, ...]:
    """The ledger of a Canary whose status is `after`, and was `before` at the beginning of the tick.

    The same periods where nothing has changed, or where what changed cannot be named yet.
    """
    serving, trying = _serving(after), _trying(after)
    if not serving or (not periods and before.phase is after.phase and not trying):
        return tuple(periods)
    at = (after.last_transition_time or now).replace(microsecond=0)  # as the status is stored
    result = list(periods)
    old, new = _open(result, "primary"), models("primary" if serving != after.last_applied_spec else "canary")
    if new is None or (trying and models("canary") is None):
        return tuple(periods)
    _end_trial(result, after, serving, trying, at)
    if old is None or old.revision != serving:
        begun = before.last_transition_time if before.phase.resting else None  # else it was there before the run was
        since = at if periods or before.phase.initializing else begun
        if old is not None:
            result[result.index(old)] = msgspec.structs.replace(old, until=at, outcome="replaced")
        result.append(Period(role="primary", revision=serving, since=since, models=_bounded(new)))
    if trying and _open(result, "canary") is None:
        result.append(Period(role="canary", revision=trying, since=at, models=_bounded(models("canary") or ())))
    _note_share(result, before.canary_weight, after.canary_weight, at)
    return _cut(result)


def last_trial(periods: Sequence[Period]) -> Period | None:
    """The last period of a canary, over or not."""
    return next((period for period in reversed(periods) if period.role == "canary"), None)


def proven(periods: Sequence[Period], references: Sequence[Reference]) -> Period | None:
    """The last period in which a primary served with exactly these references; None if it never did."""
    wanted = {(one.slot, one.digest) for one in _bounded(references)}
    served = (period for period in reversed(periods) if period.role == "primary" and period.until is not None)
    return next((one for one in served if {(ref.slot, ref.digest) for ref in one.models} == wanted and wanted), None)


def _serving(status: Status) -> str:
    """The revision that the primary has, or that answers in its place after a promotion that failed."""
    phase = status.phase
    arrived = phase.promoting or phase in {Phase.INITIALIZED, Phase.SUCCEEDED}
    if arrived or (phase is Phase.FAILED and status.canary_weight > 0):
        return status.last_applied_spec
    return status.last_promoted_spec


def _trying(status: Status) -> str:
    return status.last_applied_spec if status.analysing else ""


def _end_trial(periods: list[Period], after: Status, serving: str, trying: str, at: datetime) -> None:
    trial = _open(periods, "canary")
    if trial is None or trial.revision == trying:
        return
    outcome: Outcome = "superseded"
    if trial.revision == serving:
        outcome = "promoted"
    elif after.phase is Phase.FAILED and after.last_applied_spec == trial.revision:
        outcome = "rejected"
    elif after.phase is Phase.SUCCEEDED:
        outcome = "reverted"
    periods[periods.index(trial)] = msgspec.structs.replace(trial, until=at, outcome=outcome)


def _note_share(periods: list[Period], before: int, percent: int, at: datetime) -> None:
    trial = _open(periods, "canary")
    if trial is None:
        return
    noted = trial.shares
    if not noted and before and trial.since is not None and trial.since < at:
        noted = (Share(at=trial.since, percent=None),)  # of a version that noted none, or of a tick that was cut off
    if percent == (noted[-1].percent if noted else 0):
        return
    shares = (*noted, Share(at=at, percent=percent))[-SHARES:]
    periods[periods.index(trial)] = msgspec.structs.replace(trial, shares=shares)


def _cut(periods: Sequence[Period]) -> tuple[Period, ...]:
    """The last ones, with the primary that serves, however many canaries have been tried beside it."""
    last, serving = tuple(periods[-KEPT:]), _open(periods, "primary")
    return last if serving is None or serving in last else (serving, *last[1:])


def _open(periods: Sequence[Period], role: Role) -> Period | None:
    return next((period for period in reversed(periods) if period.role == role and period.until is None), None)


def _bounded(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """What is served: models first, each of bearable length."""
    told = [one for one in references if one.kind not in {"scale", "traffic", "credential", "config"}]
    ordered = sorted(told, key=lambda one: one.kind != "model")[:_MODELS]
    return tuple(
        msgspec.structs.replace(one, spelling=one.spelling[:_LONGEST], digest=one.digest[:_LONGEST]) for one in ordered
    )
