"""A rollout as people and programs look at it from outside: frozen, complete, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from agent.api.judge import Conclusion, Finding
from agent.core.models.meanings import Meanings
from agent.core.rollout.judgement import Judgement
from agent.core.rollout.judgesettings import JudgeMode
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.plan import Plan
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import BLOCKED, Phase, Status

JUDGEMENTS = 200
"""How many judgements of one run are kept, the latest."""
HISTORY = 20
"""How many finished runs of one Canary are kept."""


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

    def meanings(self, kind: str, namespace: str, name: str) -> Meanings:
        """What the object's references are known to mean."""
        ...


class NoChanges:
    """A lookup for where changes are not recorded."""

    def for_target(self, kind: str, namespace: str, name: str) -> Sequence[NamedChange]:  # noqa: ARG002 - protocol
        """Nothing is known."""
        return ()

    async def ready(self) -> None:
        """At once."""

    def meanings(self, kind: str, namespace: str, name: str) -> Meanings:  # noqa: ARG002 - protocol
        """Nothing is known."""
        return {}


class RolloutView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One run of a Canary, or its rest after the last one.

    `weight` is the canary's share in percent as the router has it; `changes` say what was being judged; `judgements`
    are those of this run, the oldest first; `blocked` says what stands in the way. `applied` and `promoted` are the
    template hashes of the status. `judge` is how the run is judged; `verdict`, `reason` and `findings` are those of the
    last check of a guarded or comparative one, at step `step`. `withheld` are the references that Git asks for and the
    primary does not serve.
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
    started: datetime | None = None
    updated: datetime | None = None
    finished: datetime | None = None

    @property
    def key(self) -> CanaryKey:
        return CanaryKey(self.namespace, self.name)


def updated(
    view: RolloutView | None,
    snapshot: Snapshot,
    status: Status,
    fresh: Sequence[Judgement],
    withheld: tuple[Withheld, ...] | None = None,
) -> RolloutView:
    """The view after a tick that left `status` and made the `fresh` judgements.

    `snapshot` has the status from before the tick and the routes from after it; `withheld` is None where it is not
    known anew.
    """
    before = view
    plan, now = snapshot.plan, snapshot.now
    begins = _begins(snapshot.status, status)
    if view is None or begins:
        view = _empty(plan, status, snapshot.changes)
        view = msgspec.structs.replace(view, started=now if begins else status.last_transition_time)
    blocked = status.condition(BLOCKED)
    promoted = status.condition("Promoted")
    return msgspec.structs.replace(
        _with_judge(view, status.judge),
        phase=status.phase,
        weight=snapshot.routes.canary if plan.routed else 0,
        iterations=status.iterations,
        failed_checks=status.failed_checks,
        threshold=plan.threshold,
        withheld=withheld if withheld is not None else before.withheld if before is not None else (),
        judgements=(*view.judgements, *fresh)[-JUDGEMENTS:],
        applied=status.last_applied_spec,
        promoted=status.last_promoted_spec,
        blocked=blocked.message if blocked is not None else "",
        message=promoted.message if promoted is not None else "",
        updated=now if status is not snapshot.status or fresh else view.updated or status.last_transition_time,
        finished=now if _ends(snapshot.status, status) else view.finished,
    )


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
