"""Rules of the fresh baseline: it comes with the canary, gets as much traffic as that, and goes with the run.

Whether it may be there follows from the state alone. What a process that died has left behind is taken away at the
next look, whatever came in between.
"""

from __future__ import annotations

import msgspec

from agent.core.rollout import judging
from agent.core.rollout.actions import (
    HOME,
    Decision,
    DropBaseline,
    Emit,
    EnsureBaseline,
    Look,
    SendAlert,
    SetRoutes,
    Weights,
    WriteStatus,
)
from agent.core.rollout.changes import Change, change
from agent.core.rollout.judgesettings import Baseline
from agent.core.rollout.plan import TOTAL_WEIGHT
from agent.core.rollout.snapshot import Snapshot, Stage

NOT_READY = "BaselineNotReady"


def weights(snapshot: Snapshot, canary: int) -> Weights:
    """The split that gives the canary so much. The baseline gets the same, or what is left; the primary the rest."""
    state, found = snapshot.status.judge, snapshot.baseline
    serves = state is not None and state.fresh and found is not None and found.ready.ready
    baseline = min(canary, TOTAL_WEIGHT - canary) if serves else 0
    return Weights(TOTAL_WEIGHT - canary - baseline, canary, baseline=baseline)


def left_over(snapshot: Snapshot) -> Decision | None:
    """No run wants it: its traffic goes to the primary; an interval later, when every gateway knows, it goes itself."""
    routes, found = snapshot.routes, snapshot.baseline
    if snapshot.routes_fault or _is_wanted(snapshot):
        return None
    forgotten = _is_forgotten(snapshot)
    if not routes.baseline:
        if found is None:
            return None
        if not snapshot.due and forgotten:
            return Decision(rule="not due")
        # once a run of a Canary that does not ask for it has begun, nobody looks for it any more
        if not snapshot.due and snapshot.plan.judging.baseline is Baseline.FRESH:
            return None
        return Decision(actions=(DropBaseline(),), again=True, rule="baseline left over")
    if snapshot.status.phase.promoting and found is not None:
        return None  # the primary is being replaced: its share stays until that can take it, see `ending.promoting`
    home = msgspec.structs.replace(routes, primary=routes.primary + routes.baseline, baseline=0)
    if forgotten and snapshot.primary is not None and snapshot.primary.ready.ready:
        home = HOME  # the pods of the revision that had the traffic are going
    return Decision(actions=(SetRoutes(home),), wait=snapshot.plan.interval, rule="baseline left over")


def put_away(snapshot: Snapshot) -> Decision | None:
    """A suspended Canary stays as it is, but for what the run before has left: by now it has no traffic."""
    state, status = snapshot.status.judge, snapshot.status
    if not snapshot.plan.suspended or not status.phase.resting or state is None or not state.fresh or not snapshot.due:
        return None
    if snapshot.stage is Stage.GLANCE:
        return Decision(actions=(Look(),), again=True, rule="look for a baseline")
    return Decision(actions=(DropBaseline(),), again=True, rule="baseline left over") if snapshot.baseline else None


def unready(snapshot: Snapshot) -> Decision | None:
    """The canary gets no traffic, and no more of it, before there is something to compare it with."""
    plan, status, target = snapshot.plan, snapshot.status, snapshot.target
    if not _is_wanted(snapshot) or status.phase.promoting:
        return None
    assert target is not None
    settled = judging.settled(snapshot).status
    found = snapshot.baseline
    if found is None or (found.identity, found.replicas) != (target.hash, target.replicas):
        kept = () if settled is status else (WriteStatus(settled),)  # first, or nobody would know of it after a crash
        ensured = EnsureBaseline(target.hash, target.replicas)
        return Decision(actions=(*kept, ensured), wait=plan.interval, rule="baseline")
    if found.ready.ready:
        return None
    text = f"baseline {plan.target_kind.lower()} {plan.baseline}.{plan.namespace} not ready: {found.ready.text}"
    new = status.blocked(NOT_READY, text, snapshot.now)
    if new is status:
        return Decision(wait=plan.interval, rule="baseline not ready")
    alert = () if found.ready.retriable else (SendAlert(f"Canary is waiting: {text}", "warn"),)
    actions = (Emit(text, "Warning"), *alert, WriteStatus(new))
    return Decision(actions=actions, wait=plan.interval, rule="baseline not ready")


def _is_wanted(snapshot: Snapshot) -> bool:
    state = judging.settled(snapshot).status.judge
    return snapshot.status.analysing and state is not None and state.fresh and not _is_forgotten(snapshot)


def _is_forgotten(snapshot: Snapshot) -> bool:
    """The run begins again with another revision, of a Canary that asks for no copy any more: its status will not
    tell of this one."""
    if not snapshot.status.analysing or snapshot.plan.judging.baseline is Baseline.FRESH:
        return False
    return change(snapshot) is Change.NEW
