"""Rules that find out whether a run begins, goes on or begins again."""

from __future__ import annotations

import msgspec

from agent.api.analysis import HookType
from agent.core.rollout.actions import (
    HOME,
    Action,
    AskHooks,
    ClearGates,
    Decision,
    Emit,
    EnsureBaseline,
    Promote,
    Remember,
    Scale,
    SeekRoom,
    SendAlert,
    SetRoutes,
    WriteStatus,
)
from agent.core.rollout.changes import Change, change, identity_of
from agent.core.rollout.hashing import is_stable, revision_checksum
from agent.core.rollout.judging import chosen
from agent.core.rollout.loads import begun
from agent.core.rollout.preparing import blocked, resting
from agent.core.rollout.replacing import begun_anew, down, impossible, more_wanted, replaces, taking_places
from agent.core.rollout.snapshot import HookResult, Snapshot
from agent.core.rollout.status import Phase, Status
from agent.core.rollout.surge import INSUFFICIENT, Surge


def adoption(snapshot: Snapshot) -> Decision | None:
    """Flagger left a state that is what we would have left: write our hash beside it, start nothing."""
    if change(snapshot) is not Change.ADOPT:
        return None
    assert snapshot.target is not None
    status = snapshot.status
    here = snapshot.target.hash
    promoted = status.last_promoted_spec
    if status.phase in {Phase.INITIALIZED, Phase.SUCCEEDED} or snapshot.primary_matches:
        promoted = here
    adopted = msgspec.structs.replace(
        status, last_applied_spec=here, last_promoted_spec=promoted, tracked_configs=dict(snapshot.tracked)
    )
    promote = (Promote(identity_of(snapshot)),) if snapshot.plan.in_place else ()
    return Decision(actions=(*promote, WriteStatus(adopted)), again=True, rule="adopted")


def absorbed(snapshot: Snapshot) -> Decision | None:
    """The API server shows the same target in another form, as after an upgrade: our hash follows, nothing starts."""
    if change(snapshot) is not Change.ABSORB:
        return None
    assert snapshot.target is not None
    status, here = snapshot.status, snapshot.target.hash
    promoted = here if status.last_promoted_spec == status.last_applied_spec else status.last_promoted_spec
    same = msgspec.structs.replace(status, last_applied_spec=here, last_promoted_spec=promoted)
    return Decision(actions=(WriteStatus(same),), again=True, rule="absorbed")


def applied_past(snapshot: Snapshot) -> Decision | None:
    """A target that serves by itself was changed, and nobody withheld the change: there is nothing left to protect."""
    plan, target = snapshot.plan, snapshot.target
    assert target is not None
    if not plan.in_place or is_stable(target.hash) or not begins(snapshot):
        return None
    text = (
        f"{plan.target_kind} {plan.full_target} was changed without the rollout and serves without analysis: "
        "let Weir's kustomize controller apply it, which withholds new references"
    )
    status = snapshot.status.unblocked().synced(
        Phase.SUCCEEDED, kind=plan.target_kind, now=snapshot.now, applied=target.hash, tracked=snapshot.tracked
    )
    status = msgspec.structs.replace(status, last_promoted_spec=target.hash)
    actions = (Emit(text, "Warning"), Promote(identity_of(snapshot)), WriteStatus(status))
    return Decision(actions=actions, wait=plan.interval, rule="applied past the rollout")


def unchanged(snapshot: Snapshot) -> Decision | None:
    """At rest, and the target is the revision that the status speaks of."""
    if not snapshot.status.phase.resting or change(snapshot) is not Change.NONE:
        return None
    return resting(snapshot)


def promotion_under_way(snapshot: Snapshot) -> Decision | None:
    """The primary already has the revision on trial: the promotion was done, only its status was lost."""
    status = snapshot.status
    if not status.analysing or snapshot.plan.skip_analysis or change(snapshot) is not Change.NONE:
        return None
    assert snapshot.primary is not None
    if snapshot.primary.identity != identity_of(snapshot):
        return None
    promoting = status.entering(Phase.PROMOTING, kind=snapshot.plan.target_kind, now=snapshot.now)
    return Decision(actions=(WriteStatus(promoting),), wait=snapshot.plan.interval, rule="promotion under way")


def routes_unknown(snapshot: Snapshot) -> Decision | None:
    """Nothing moves while it is unknown where the traffic goes."""
    if not snapshot.routes_fault:
        return None
    return blocked(snapshot, "RoutesUnknown", snapshot.routes_fault)


def is_held_back(snapshot: Snapshot) -> bool:
    """At rest, and a new revision is not tried because of a reference that was rejected before."""
    status = snapshot.status
    return bool(snapshot.quarantined) and not status.analysing and change(snapshot) is Change.NEW


def quarantined(snapshot: Snapshot) -> Decision | None:
    """A rejected reference in a new revision starts nothing, and ends what is being analysed for another one."""
    if not snapshot.quarantined or change(snapshot) is not Change.NEW:
        return None
    plan, status = snapshot.plan, snapshot.status
    if is_held_back(snapshot):
        return blocked(snapshot, "Quarantined", snapshot.quarantined)
    assert snapshot.target is not None
    failed = status.unblocked().synced(
        Phase.FAILED,
        kind=plan.target_kind,
        now=snapshot.now,
        applied=snapshot.target.hash,
        tracked=snapshot.tracked,
        message=snapshot.quarantined,
    )
    actions = (Emit(snapshot.quarantined, "Warning"), SetRoutes(HOME), *down(snapshot), WriteStatus(failed))
    return Decision(actions=actions, wait=plan.interval, rule="quarantined")


def obstructed(snapshot: Snapshot) -> Decision | None:
    """No run begins that could only wait, for accelerators or for its model; nor is anybody asked for consent to it."""
    return None if snapshot.status.awaiting_start else _obstructed(snapshot)


def obstructed_since(snapshot: Snapshot) -> Decision | None:
    """The same for a run that has waited for consent. Meanwhile nobody looked: it reads the whole cluster."""
    return _obstructed(snapshot) if snapshot.status.awaiting_start else None


def _obstructed(snapshot: Snapshot) -> Decision | None:
    if not begins(snapshot):
        return None
    never = impossible(snapshot)
    if never:
        more = more_wanted(snapshot)
        if more:
            return Decision(actions=more, wait=snapshot.plan.interval, rule="replicas before a run")
        return blocked(snapshot, INSUFFICIENT, never)
    obstacles = snapshot.answers.obstacles
    if obstacles is None:
        return Decision(actions=(SeekRoom(),), again=True, rule="seek room")
    return blocked(snapshot, *obstacles[0]) if obstacles else None


def confirmation(snapshot: Snapshot) -> Decision | None:
    """A run begins only with the consent of every confirm-rollout hook."""
    if not begins(snapshot):
        return None
    plan, status = snapshot.plan, snapshot.status
    hooks = plan.hooks_of(HookType.CONFIRM_ROLLOUT)
    results = snapshot.answers.hooks.get(HookType.CONFIRM_ROLLOUT)
    if not hooks:
        return None
    if status.awaiting_start and not snapshot.due:
        return Decision(rule="waiting for approval")
    if results is None:
        return Decision(actions=(AskHooks(HookType.CONFIRM_ROLLOUT, hooks, status.phase),), again=True, rule="confirm")
    refusal = first_refusal(results)
    if refusal is None:
        return None
    if status.awaiting_start:
        unblocked = status.unblocked()  # what stood in the way is looked at once there is consent
        news = (WriteStatus(unblocked),) if unblocked is not status else ()
        return Decision(actions=news, wait=plan.interval, rule="still waiting for approval")
    actions: list[Action] = [
        WriteStatus(status.entering(Phase.WAITING, kind=plan.target_kind, now=snapshot.now)),
        Emit(f"Halt {plan.full_name} advancement waiting for approval {refusal.name}", "Warning"),
    ]
    if not refusal.mute_alert:
        actions.append(SendAlert("Canary is waiting for approval.", "warn"))
    return Decision(actions=tuple(actions), wait=plan.interval, rule="waiting for approval")


def start(snapshot: Snapshot) -> Decision | None:
    """A new revision: bring it up."""
    return begin(snapshot, detected(snapshot)) if begins(snapshot) else None


def detected(snapshot: Snapshot) -> Emit:
    """How a run is announced."""
    return Emit(f"New revision detected! Scaling up {snapshot.plan.full_target}")


def begin(snapshot: Snapshot, *announced: Emit) -> Decision:
    """The first tick of a run of the target's present revision."""
    actions: tuple[Action, ...] = (
        *announced,
        *_naming(snapshot),
        SendAlert("New revision detected, progressing canary analysis.", "info", metadata=True),
        *_cleared(snapshot),
        _up(snapshot),
        *_tracked(snapshot),
    )
    return Decision(actions=actions, wait=snapshot.plan.interval, rule="start")


def restart(snapshot: Snapshot) -> Decision | None:
    """Another revision in mid-run: all traffic to the primary (if it can serve), and from the beginning."""
    if not snapshot.status.analysing or change(snapshot) is not Change.NEW:
        return None
    assert snapshot.primary is not None
    assert snapshot.target is not None
    plan, up = snapshot.plan, snapshot.target.replicas > 0
    home: tuple[Action, ...] = (SetRoutes(HOME),) if snapshot.primary.ready.ready else ()
    if home and up and replaces(snapshot) and not impossible(snapshot):
        home = (*home, begun_anew(snapshot))
    actions: tuple[Action, ...] = (
        Emit(f"New revision detected! Restarting analysis for {plan.full_target}"),
        *_naming(snapshot),
        *_cleared(snapshot),
        *home,
        *(() if up else (_up(snapshot),)),
        *_tracked(snapshot),
    )
    return Decision(actions=actions, wait=plan.interval, rule="restart")


def too_early(snapshot: Snapshot) -> Decision | None:
    """The interval has not passed, and what could not wait has been looked at."""
    return None if snapshot.due or snapshot.command is not None else Decision(rule="not due")


def scaled_away(snapshot: Snapshot) -> Decision | None:
    """Something scaled the target to zero in mid-run; its traffic would be lost."""
    assert snapshot.target is not None
    phase = snapshot.status.phase
    if snapshot.target.replicas > 0 or phase is Phase.FINALISING or (snapshot.plan.in_place and phase.promoting):
        return None
    return Decision(actions=(_up(snapshot), *_judged_anew(snapshot)), wait=snapshot.plan.interval, rule="scaled away")


def _judged_anew(snapshot: Snapshot) -> tuple[WriteStatus, ...]:
    """The way in which a revision is tried may be another one by now, and so may be who counts its requests."""
    before, now = snapshot.status.judge, chosen(snapshot)
    if before is None or now is None or before.pack == now.pack:
        return ()
    return (WriteStatus(msgspec.structs.replace(snapshot.status, judge=now)),)


def _up(snapshot: Snapshot) -> Action:
    """The canary gets its pods; in mid-run beside those of a primary that has none to spare."""
    placed = replaces(snapshot) and not impossible(snapshot)
    return taking_places(snapshot) if placed else Scale(replicas_up(snapshot))


def replicas_up(snapshot: Snapshot) -> int:
    """How many replicas the target comes up with: one if the Canary says so, its own if any, else the primary's, else
    the autoscaler's minimum."""
    target, primary = snapshot.target, snapshot.primary
    assert target is not None
    assert primary is not None
    if snapshot.plan.surge is Surge.ONE_POD:
        return 1
    if target.wanted_replicas and not snapshot.plan.autoscaled:
        return target.wanted_replicas
    if target.replicas > 0:
        return target.replicas
    if not snapshot.plan.autoscaled:
        return max(primary.replicas, 1)
    return max(snapshot.scaler_minimum, 1)


def first_refusal(results: tuple[HookResult, ...]) -> HookResult | None:
    """The first hook that did not pass."""
    return next((result for result in results if not result.passed), None)


def _cleared(snapshot: Snapshot) -> tuple[ClearGates, ...]:
    """A revision that was tried before is evaluated anew."""
    assert snapshot.target is not None
    revision = revision_checksum(snapshot.tracked, snapshot.target.hash)
    return (ClearGates(snapshot.plan.gates, revision),) if snapshot.plan.gates else ()


def _naming(snapshot: Snapshot) -> tuple[Action, ...]:
    """What is being judged, where that is known."""
    assert snapshot.target is not None
    way = snapshot.target.way
    told = (Emit(f"{snapshot.plan.full_target}: {way}"),) if way else ()
    return (*told, *(Emit(f"Analysing {text}") for text in snapshot.changes), Remember(snapshot.changes))


def begins(snapshot: Snapshot) -> bool:
    """There is a new revision, and no run of it yet."""
    status = snapshot.status
    return (status.phase.resting or status.awaiting_start) and change(snapshot) is Change.NEW


def _tracked(snapshot: Snapshot) -> tuple[Action, ...]:
    """The status of a run that begins; then what the canary will be compared with, which begins with it."""
    status = _fresh(snapshot)
    if status.judge is None or not status.judge.fresh:
        return (WriteStatus(status),)
    return WriteStatus(status), EnsureBaseline(status.last_applied_spec, replicas_up(snapshot))


def _fresh(snapshot: Snapshot) -> Status:
    assert snapshot.target is not None
    status = msgspec.structs.replace(
        snapshot.status.unblocked(), judge=chosen(snapshot), load=begun(snapshot.status.load, snapshot.bytes)
    )
    return status.synced(
        Phase.PROGRESSING,
        kind=snapshot.plan.target_kind,
        now=snapshot.now,
        applied=snapshot.target.hash,
        tracked=snapshot.tracked,
    )
