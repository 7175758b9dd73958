"""A rollout as people and programs look at it from outside: frozen, complete, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from agent.api.judge import Conclusion, Finding
from agent.core.models.meanings import Meanings, Pods
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.judgesettings import JudgeMode
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.ledger import Period, Share
from agent.core.rollout.noted import Moment
from agent.core.rollout.plan import Plan
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import BLOCKED, PROMOTED, Phase, Status

JUDGEMENTS = 200
"""How many judgements of one run are kept, the latest."""
HISTORY = 20
"""How many finished runs of one Canary are kept."""
WARNINGS = 20
"""How many warnings of one run are kept, the latest."""
_DOWN = "Canary failed! "
"""How the event begins that a rollback is told with; what comes after it is no reason for it."""
_COUNTED = " failed checks threshold reached "
"""What the event has in it that counts the reasons told before."""


class CanaryKey(NamedTuple):
    """A Canary's name."""

    namespace: str
    name: str


class NamedChange(msgspec.Struct, frozen=True):
    """A change in terms of models and data, such as `model container[server].model of Deployment chat:
    hf://org/m@a1 -> hf://org/m@b2`, when it was seen, and how many bytes the new one has, 0 where that is unknown."""

    text: str
    at: datetime
    bytes: int = 0


class ChangeLookup(Protocol):
    """Where it is known what changed on an object."""

    async def ready(self) -> None:
        """Until it is known what processes before this one have seen."""

    def for_target(self, kind: str, namespace: str, name: str) -> Sequence[NamedChange]:
        """What is known of the object's changes, the newest first."""
        ...

    def meanings(self, kind: str, namespace: str, name: str, pods: Pods) -> Meanings:
        """What the object's references are known to mean in its pods."""
        ...


class NoChanges:
    """A lookup for where changes are not recorded."""

    def for_target(self, kind: str, namespace: str, name: str) -> Sequence[NamedChange]:  # noqa: ARG002 - protocol
        """Nothing is known."""
        return ()

    async def ready(self) -> None:
        """At once."""

    def meanings(
        self,
        kind: str,  # noqa: ARG002 - protocol
        namespace: str,  # noqa: ARG002
        name: str,  # noqa: ARG002
        pods: Pods,  # noqa: ARG002
    ) -> Meanings:
        """Nothing is known."""
        return {}


class Told(msgspec.Struct, frozen=True):
    """A warning about a run, word for word as its event."""

    at: Moment
    text: str


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick brought besides a status. `withheld` is None where it is not known anew, `trial` the period of the
    ledger in which the revision on trial has, or until this tick had, its share of the traffic; `rejected` is why a
    revision that is rejected now was, as the quarantine has it."""

    judgements: tuple[Judgement, ...] = ()
    warnings: tuple[Told, ...] = ()
    withheld: tuple[Withheld, ...] | None = None
    trial: Period | None = None
    rejected: str = ""


class RolloutView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of a Canary, or its rest after the last one.

    `weight` is the canary's share in percent as the router has it; `changes` say what was being judged; `judgements`
    are those of this run, the oldest first, `checks` how many there were and `checks_not_passed` how many of them did
    not pass; `warnings` are what was told of the run as warnings, and `cause` which of it a rollback followed from.
    `shares` are the percents of the traffic that the canary had, each from its time on. `blocked` says what stands in
    the way. `applied` and `promoted` are the template hashes of the status. `judge` is how the run is judged;
    `verdict`, `reason` and `findings` are those of the last check of a guarded or comparative one, at step `step`.
    `withheld` are the references that Git asks for and the primary does not serve.
    """

    namespace: str
    name: str
    target: str
    primary: str
    provider: str
    strategy: str
    phase: Phase
    weight: int = 0
    iterations: int = 0
    failed_checks: int = 0
    threshold: int = 0
    changes: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    checks: int = 0
    checks_not_passed: int = 0
    warnings: tuple[Told, ...] = ()
    cause: str = ""
    shares: tuple[Share, ...] = ()
    applied: str = ""
    promoted: str = ""
    judge: str = JudgeMode.COMPATIBILITY
    pack: str = ""
    step: int = 0
    verdict: Conclusion | None = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    blocked: str = ""
    message: str = ""
    started: Moment | None = None
    updated: Moment | None = None
    finished: Moment | None = None

    @property
    def key(self) -> CanaryKey:
        return CanaryKey(self.namespace, self.name)


def updated(view: RolloutView | None, snapshot: Snapshot, status: Status, news: News) -> RolloutView:
    """The view after a tick that left `status` and brought `news`.

    `snapshot` has the status from before the tick and the routes from after it.
    """
    before = view
    plan, now, fresh = snapshot.plan, snapshot.now, news.judgements
    begins = _begins(snapshot.status, status)
    if view is None or begins:
        view = _empty(plan, status, snapshot.changes)
        view = msgspec.structs.replace(view, started=now if begins else _since(status, news.trial))
    blocked = status.condition(BLOCKED)
    ends = _ends(snapshot.status, status)
    warnings = _kept(view.warnings, news.warnings) if ends or not status.phase.resting else view.warnings
    return msgspec.structs.replace(
        _with_judge(view, status.judge),
        phase=status.phase,
        weight=snapshot.routes.canary if plan.routed else 0,
        iterations=status.iterations,
        failed_checks=status.failed_checks,
        threshold=plan.threshold,
        withheld=news.withheld if news.withheld is not None else before.withheld if before is not None else (),
        judgements=(*view.judgements, *fresh)[-JUDGEMENTS:],
        checks=view.checks + len(fresh),
        checks_not_passed=view.checks_not_passed + sum(one.verdict is not Verdict.PASS for one in fresh),
        warnings=warnings,
        cause=(_cause(warnings) or news.rejected) if ends and status.phase is Phase.FAILED else view.cause,
        shares=news.trial.shares if news.trial is not None else view.shares,
        applied=status.last_applied_spec,
        promoted=status.last_promoted_spec,
        blocked=blocked.message if blocked is not None else "",
        message=_message(status),
        updated=now if status is not snapshot.status or fresh else view.updated or status.last_transition_time,
        finished=now if ends else view.finished,
    )


def missed(plan: Plan, status: Status, trial: Period, changes: tuple[str, ...], rejected: str) -> RolloutView | None:
    """A run of which the end is in the status and the ledger alone, since who ended it died before anything else was
    written; None if it has not ended.

    `trial` is its period in the ledger, `changes` what was noted at its start, `rejected` the quarantine's verdict.
    """
    failed = trial.outcome == "rejected" or (not trial.outcome and status.phase is Phase.FAILED)
    phase = Phase.FAILED if failed else status.phase
    ended = trial.until if trial.until is not None and trial.outcome != "promoted" else status.last_transition_time
    if not status.phase.resting or ended is None:
        return None
    view = _with_judge(_empty(plan, status, ()), status.judge if phase is status.phase else None)
    return msgspec.structs.replace(
        view,
        phase=phase,
        threshold=plan.threshold,
        failed_checks=status.failed_checks if phase is status.phase else 0,
        changes=changes,
        cause=rejected if failed else "",
        shares=trial.shares,
        applied=trial.revision,
        promoted=status.last_promoted_spec,
        message=_message(status) if phase is status.phase else "",
        started=trial.since,
        updated=ended,
        finished=ended,
    )


def _message(status: Status) -> str:
    promoted = status.condition(PROMOTED)
    return promoted.message if promoted is not None else ""


def _since(status: Status, trial: Period | None) -> datetime | None:
    """When a run began that another process has begun, as well as that is known."""
    known = trial is not None and trial.until is None and trial.since is not None
    return trial.since if trial is not None and known else status.last_transition_time


def _kept(warnings: Sequence[Told], fresh: Sequence[Told]) -> tuple[Told, ...]:
    """The last warnings; one that is told again counts from then on."""
    again = {one.text: one for one in (*warnings, *fresh)}
    return tuple(sorted(again.values(), key=lambda one: one.at))[-WARNINGS:]


def _cause(warnings: Sequence[Told]) -> str:
    """The warning that a rollback followed from: the last one before it was told, but for the count of failed checks,
    which says nothing where what was counted is known."""
    texts = [one.text for one in warnings]
    ends = [place for place, text in enumerate(texts) if text.startswith(_DOWN)]
    said = texts[: ends[-1]] if ends else texts
    return next((text for text in reversed(said) if _COUNTED not in text), said[-1] if said else "")


def _with_judge(view: RolloutView, judge: JudgeState | None) -> RolloutView:
    if judge is None:
        return view
    return msgspec.structs.replace(
        view,
        judge=judge.mode.value,
        pack=judge.pack,
        step=judge.step,
        verdict=judge.verdict,
        reason=judge.reason,
        findings=judge.findings,
    )


def finishes(snapshot: Snapshot, status: Status) -> bool:
    """True if this tick ended a run."""
    return _ends(snapshot.status, status)


def _empty(plan: Plan, status: Status, changes: tuple[str, ...]) -> RolloutView:
    """A run without judgements. At rest nothing is being judged, whatever was seen to change before."""
    return RolloutView(
        namespace=plan.namespace,
        name=plan.name,
        target=f"{plan.target_kind}/{plan.target}",
        primary=f"{plan.target_kind}/{plan.primary}",
        provider=plan.provider,
        strategy=plan.strategy.value,
        phase=status.phase,
        changes=() if status.phase.resting or status.phase.initializing else changes,
    )


def _begins(before: Status, after: Status) -> bool:
    starts = after.phase is Phase.PROGRESSING and before.phase is not Phase.WAITING_PROMOTION
    return starts and (not before.analysing or before.last_applied_spec != after.last_applied_spec)


def _ends(before: Status, after: Status) -> bool:
    return after.phase.resting and not before.phase.resting and not before.phase.initializing
