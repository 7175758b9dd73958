"""The ledger and the finished runs on a Canary, and the shorter analysis of what it has seen serving before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent.adapters.kube.client import KubeClient
from agent.controllers.canary.kinds import CANARIES
from agent.controllers.canary.quarantining import asked_for, serving
from agent.controllers.canary.rollouts import RolloutLog
from agent.controllers.canary.tick import Tick
from agent.core.rollout.ledger import (
    LEDGER,
    REVERT,
    Period,
    Role,
    decode_ledger,
    encode_ledger,
    kept,
    last_trial,
    proven,
)
from agent.core.rollout.ownership import ANALYSING, FIELD_MANAGER
from agent.core.rollout.plan import Plan, in_one_step
from agent.core.rollout.quarantine import Reference, references_of, rejected_because
from agent.core.rollout.runs import RUNS, encode_runs
from agent.core.rollout.status import Status
from agent.core.rollout.view import RolloutView, missed


def ledger_after(tick: Tick, before: Status, now: datetime) -> tuple[Period, ...]:
    """Who answers since when; `before` is the status at the beginning of the tick."""
    old = decode_ledger(tick.canary.metadata.annotations)
    return kept(old, before, tick.status, lambda role: _references(tick, role), now)


async def keep_books(client: KubeClient, tick: Tick, periods: Sequence[Period], runs: Sequence[RolloutView]) -> None:
    """Write down the ledger, if it has changed, and the finished runs, if there are any, at once. Raises ApiError."""
    canary = tick.canary
    noted: dict[str, str] = {}
    if tuple(periods) != decode_ledger(canary.metadata.annotations):
        noted[LEDGER] = encode_ledger(periods)
    if runs:
        noted[RUNS] = encode_runs(runs)
    if not noted or canary.is_deleting:
        return
    patch = {"metadata": {"annotations": noted}}
    await client.merge_patch(CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER)


def missed_run(tick: Tick, log: RolloutLog) -> RolloutView | None:
    """The last run, if all that is left of it is what the status and the ledger say. Its end was the last thing that
    a process did, or that of a version which kept no runs."""
    canary, plan, status = tick.canary, tick.plan, tick.status
    annotations = canary.metadata.annotations
    trial = last_trial(decode_ledger(annotations)) if status.phase.resting else None
    if trial is None or trial.since is None or not log.lacks(plan.namespace, plan.name, trial.since):
        return None
    changes = tuple(annotations.get(ANALYSING, "").splitlines())
    run = missed(plan, status, trial, changes, rejected_because(annotations, trial.revision))
    if run is None or run.finished is None or not log.lacks(plan.namespace, plan.name, run.finished):
        return None  # also where a clock that was behind ended it before its beginning
    return run


def shortened(tick: Tick) -> tuple[Plan, str]:
    """The plan for the target's present revision, and why it is a short one; empty where it is not."""
    plan, annotations = tick.plan, tick.canary.metadata.annotations
    if annotations.get(REVERT) != "fast":
        return plan, ""
    period = proven(decode_ledger(annotations), _references(tick, "canary") or ())
    if period is None or period.until is None:
        return plan, ""
    return in_one_step(plan), f"what has served before, until {period.until:%Y-%m-%dT%H:%M:%SZ}, in one step"


def _references(tick: Tick, role: Role) -> Sequence[Reference] | None:
    objects = asked_for(tick.world) if role == "canary" else serving(tick.world)
    return references_of(objects) if objects else None
