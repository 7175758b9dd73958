"""Rules of a tick before the run itself: may it work on this Canary, and does everything exist that it needs?"""

from __future__ import annotations

from agent.core.rollout.actions import (
    HOME,
    Action,
    AddFinalizer,
    CheckProviders,
    Decision,
    Emit,
    EnsureApex,
    EnsurePrimary,
    EnsureRoutes,
    EnsureScaler,
    EnsureServices,
    Look,
    RemoveFinalizer,
    RestoreApex,
    Scale,
    ScalePrimary,
    SendAlert,
    SetRoutes,
    WriteStatus,
)
from agent.core.rollout.changes import Change, change, identity_of
from agent.core.rollout.commands import hold_told
from agent.core.rollout.flagger import FLAGGER_RUNNING
from agent.core.rollout.hashing import is_stable
from agent.core.rollout.replacing import down, whole
from agent.core.rollout.snapshot import Snapshot, Stage, Workload
from agent.core.rollout.status import BLOCKED, Phase

TARGET_TAKEN = "TargetTaken"
"""Why a Canary is refused whose target an older one has."""


def left_to_flagger(snapshot: Snapshot) -> Decision | None:
    """A running Flagger has the Canary, and its end too."""
    if snapshot.refused is None or snapshot.refused[0] != FLAGGER_RUNNING:
        return None
    if snapshot.deleting:
        return Decision(wait=snapshot.plan.interval, rule="left to Flagger")
    return blocked(snapshot, *snapshot.refused)


def deletion(snapshot: Snapshot) -> Decision | None:
    """A deleted Canary gives the traffic back to its target before it goes, if it promised so by its finalizer."""
    if not snapshot.deleting:
        return None
    if not snapshot.finalizer:
        return Decision(rule="deleted")
    plan, status = snapshot.plan, snapshot.status
    if status.phase is not Phase.TERMINATING:
        ending = status.entering(Phase.TERMINATING, kind=plan.target_kind, now=snapshot.now)
        actions: tuple[Action, ...] = (WriteStatus(ending), Emit(f"Terminating canary {plan.full_name}"))
        return Decision(actions=actions, again=True, rule="terminating")
    if snapshot.target is None or snapshot.target_fault is not None or _never_acted(snapshot):
        return Decision(actions=(*_goodbye(snapshot), RemoveFinalizer()), rule="nothing to restore")
    if snapshot.refused is not None:
        return blocked(snapshot, *snapshot.refused)
    return _restoring(snapshot, snapshot.target)


def _restoring(snapshot: Snapshot, target: Workload) -> Decision:
    plan = snapshot.plan
    if snapshot.stage is Stage.GLANCE:
        return Decision(actions=(Look(),), again=True, rule="look before restoring")
    if plan.in_place:
        return Decision(actions=(RestoreApex(), *_goodbye(snapshot), RemoveFinalizer()), rule="given back")
    wanted = whole(snapshot.primary) if snapshot.primary is not None else max(target.replicas, 1)
    if target.replicas != wanted:
        return Decision(actions=(Scale(wanted),), wait=plan.interval, rule="restore replicas")
    if not target.ready.ready:
        return Decision(wait=plan.interval, rule="restoring target")
    return Decision(actions=(RestoreApex(), *_goodbye(snapshot), RemoveFinalizer()), rule="restored")


def _never_acted(snapshot: Snapshot) -> bool:
    """A Canary that was refused from the beginning, or whose target is another one's, has taken nothing over."""
    if snapshot.refused is None:
        return False
    return not snapshot.status.last_promoted_spec or snapshot.refused[0] == TARGET_TAKEN


def _goodbye(snapshot: Snapshot) -> tuple[Action, ...]:
    return (Emit(f"Terminated canary {snapshot.plan.full_name}"),)


def suspended(snapshot: Snapshot) -> Decision | None:
    """A suspended Canary stays as it is, traffic included."""
    if not snapshot.plan.suspended:
        return None
    actions = (Emit("skipping canary run as object is suspended"),) if snapshot.due else ()
    return Decision(
        actions=(*actions, *_repaired(snapshot)),
        wait=snapshot.plan.interval if snapshot.due else None,
        rule="suspended",
    )


def _repaired(snapshot: Snapshot) -> tuple[Action, ...]:
    """Pods that lack what requests are sent to get it, whatever else waits."""
    target = snapshot.target
    return (EnsureRoutes(),) if target is not None and target.lacking else ()


def finalizer(snapshot: Snapshot) -> Decision | None:
    """revertOnDeletion needs a finalizer as long as it is asked for."""
    if snapshot.plan.revert_on_deletion == snapshot.finalizer:
        return None
    action = AddFinalizer() if snapshot.plan.revert_on_deletion else RemoveFinalizer()
    return Decision(actions=(action,), again=True, rule="finalizer")


def refused(snapshot: Snapshot) -> Decision | None:
    """The spec asks for something that cannot be done here."""
    if snapshot.refused is None:
        return None
    return blocked(snapshot, *snapshot.refused)


def target_unusable(snapshot: Snapshot) -> Decision | None:
    """Without a target that can be read there is nothing to decide; traffic stays where it is."""
    if snapshot.target_fault is not None:
        return blocked(snapshot, *snapshot.target_fault)
    if snapshot.target is None:
        return blocked(snapshot, "TargetNotFound", f"{snapshot.plan.target_kind} {snapshot.plan.full_target} not found")
    return None


def blocked(snapshot: Snapshot, reason: str, text: str) -> Decision:
    """Say once per interval, and keep in the status, what stands in the way."""
    status = snapshot.status.blocked(reason, text, snapshot.now)
    news = status is not snapshot.status
    actions: list[Action] = []
    if news or snapshot.due:
        actions.append(Emit(text, "Warning"))
    if news:
        actions.append(WriteStatus(status))
    return Decision(
        actions=tuple(actions), wait=snapshot.plan.interval if news or snapshot.due else None, rule="blocked"
    )


def nothing_to_look_at(snapshot: Snapshot) -> Decision | None:
    """Woken before the interval has passed, and the target is what it was."""
    if snapshot.due or snapshot.stage is not Stage.GLANCE or snapshot.status.phase.initializing:
        return None
    if snapshot.command is not None or _hold_untold(snapshot):
        return None
    stable = is_stable(snapshot.status.last_applied_spec)
    if stable and change(snapshot) is Change.NONE:
        return Decision(actions=_repaired(snapshot), rule="not due")
    return None


def _hold_untold(snapshot: Snapshot) -> bool:
    """A pause was asked for or taken back, and the status of a run does not say so yet."""
    wanted = snapshot.hold.text if snapshot.hold is not None else ""
    return hold_told(snapshot.status) != wanted and not snapshot.status.phase.resting


def objects(snapshot: Snapshot) -> Decision | None:
    """Services for both sides, and the primary."""
    if snapshot.stage is not Stage.GLANCE:
        return None
    actions: list[Action] = []
    if snapshot.status.phase is Phase.NONE:
        starting = snapshot.status.entering(Phase.INITIALIZING, kind=snapshot.plan.target_kind, now=snapshot.now)
        actions.append(WriteStatus(starting))
        if not snapshot.plan.skip_analysis:
            actions.append(CheckProviders(snapshot.pods))
    actions.append(EnsureServices())
    if snapshot.status.phase.initializing or _may_become_primary(snapshot):
        actions.append(EnsurePrimary(identity_of(snapshot)))
    return Decision(actions=tuple(actions), again=True, rule="objects")


def _may_become_primary(snapshot: Snapshot) -> bool:
    """After the first time only what was promoted may serve as a primary that has gone missing."""
    return snapshot.target is not None and snapshot.target.hash == snapshot.status.last_promoted_spec


def primary_lost(snapshot: Snapshot) -> Decision | None:
    """The primary was deleted and the target is not the revision it served."""
    if snapshot.primary is not None:
        return None
    text = (
        f"{snapshot.plan.target_kind} {snapshot.plan.primary}.{snapshot.plan.namespace} not found and the target is "
        "not the promoted revision: return to that to have it created again"
    )
    return blocked(snapshot, "PrimaryNotFound", text)


def primary_not_initialized(snapshot: Snapshot) -> Decision | None:
    """The first time, clients are sent to the primary only once it is ready."""
    if not snapshot.status.phase.initializing or snapshot.plan.skip_analysis:
        return None
    ready = _primary(snapshot).ready
    if ready.ready:
        return None
    if not ready.retriable:
        return blocked(snapshot, "PrimaryNotReady", _not_ready(snapshot, ready.text).text)
    actions = (_not_ready(snapshot, ready.text),) if snapshot.due else ()
    return Decision(actions=actions, wait=snapshot.plan.interval if snapshot.due else None, rule="initializing")


def _not_ready(snapshot: Snapshot, text: str) -> Emit:
    return Emit(f"{snapshot.plan.primary}.{snapshot.plan.namespace} not ready: {text}", "Warning")


def routing(snapshot: Snapshot) -> Decision | None:
    """Autoscaler, the clients' Service, the router; the target goes down once the primary has taken over."""
    if snapshot.stage is not Stage.PREPARED:
        return None
    actions: list[Action] = []
    if snapshot.plan.autoscaled:
        actions.append(EnsureScaler())
    actions.append(EnsureApex())
    if snapshot.status.phase.initializing:
        actions.append(Scale(0))
    actions.append(EnsureRoutes())
    return Decision(actions=tuple(actions), again=True, rule="routing")


def initialized(snapshot: Snapshot) -> Decision | None:
    """Everything is there: from now on changes are rolled out."""
    if not snapshot.status.phase.initializing:
        return None
    assert snapshot.target is not None
    plan = snapshot.plan
    status = snapshot.status.unblocked().synced(
        Phase.INITIALIZED,
        kind=plan.target_kind,
        now=snapshot.now,
        applied=snapshot.target.hash,
        tracked=snapshot.tracked,
    )
    actions: list[Action] = []
    if plan.routed and not snapshot.routes_fault and snapshot.routes != HOME:
        actions.append(SetRoutes(HOME))
    actions += [
        WriteStatus(status),
        Emit(f"Initialization done! {plan.full_name}"),
        SendAlert(f"New {plan.target_kind} detected, initialization completed.", "info", metadata=True),
    ]
    return Decision(actions=tuple(actions), wait=plan.interval, rule="initialized")


def resting(snapshot: Snapshot) -> Decision:
    """Nothing is to be done until something changes; what once stood in the way no longer does."""
    plan, status = snapshot.plan, snapshot.status
    actions: list[Action] = []
    fence = snapshot.target.fence if snapshot.target is not None else ""
    if status.condition(BLOCKED) is not None or (fence and fence != status.last_tracked_revision):
        actions.append(WriteStatus(status.unblocked()))
    actions += _replicas_at_rest(snapshot)
    return Decision(actions=tuple(actions), wait=plan.interval if snapshot.due else None, rule="unchanged")


def _replicas_at_rest(snapshot: Snapshot) -> tuple[Action, ...]:
    """The primary has what Git asks for, and what a canary had the place of that is gone, or that never began."""
    target, primary = snapshot.target, _primary(snapshot)
    if primary.full_replicas is not None:
        return () if snapshot.status.canary_weight else down(snapshot)  # after a failed promotion the canary serves
    wanted = target.wanted_replicas if target is not None and not snapshot.plan.autoscaled else None
    return (ScalePrimary(wanted),) if wanted and wanted != primary.replicas else ()


def _primary(snapshot: Snapshot) -> Workload:
    assert snapshot.primary is not None
    return snapshot.primary
