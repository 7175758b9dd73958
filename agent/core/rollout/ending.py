"""Rules by which a run comes to an end: promoted, rolled back, cancelled."""

from __future__ import annotations

from typing import Final

import msgspec

from agent.api.analysis import HookType
from agent.core.rollout.actions import (
    HOME,
    Action,
    AskHooks,
    Count,
    Decision,
    Emit,
    EnsureScaler,
    KeepResults,
    Promote,
    Quarantine,
    Scale,
    SendAlert,
    SetRoutes,
    Weights,
    WriteStatus,
)
from agent.core.rollout.changes import Change, change, identity_of
from agent.core.rollout.hashing import revision_checksum
from agent.core.rollout.plan import TOTAL_WEIGHT
from agent.core.rollout.preparing import blocked
from agent.core.rollout.replacing import before_promotion, down, given_back
from agent.core.rollout.snapshot import Snapshot, Workload
from agent.core.rollout.status import Phase, Status

_OTHER_WORDS: Final = "is the promoted revision in other words."


def reverted(snapshot: Snapshot) -> Decision | None:
    """The target is what the primary serves, again or in other words (or, waiting for approval, what was rejected): no
    run."""
    found = change(snapshot)
    if found not in {Change.REVERTED, Change.REJECTED}:
        return None
    plan, status = snapshot.plan, snapshot.status
    phase = Phase.SUCCEEDED if found is Change.REVERTED else Phase.FAILED
    message = "" if phase is Phase.FAILED else _as_promoted(snapshot)
    new = status.unblocked().synced(
        phase,
        kind=plan.target_kind,
        now=snapshot.now,
        applied=_target(snapshot).hash,
        tracked=snapshot.tracked,
        message=message,
    )
    actions: list[Action] = [Emit(_why_no_run(snapshot, found))]
    if status.analysing:
        actions.append(SetRoutes(HOME))
    if _target(snapshot).replicas > 0:
        actions += down(snapshot)
    if phase is Phase.SUCCEEDED:
        new = msgspec.structs.replace(new, last_promoted_spec=new.last_applied_spec)
        actions += _results_of_promoted(snapshot)
    actions.append(WriteStatus(new))
    return Decision(actions=tuple(actions), wait=plan.interval, rule="reverted")


def _results_of_promoted(snapshot: Snapshot) -> tuple[KeepResults, ...]:
    """What gates have reported of the promoted revision, as that of its new words: the next one is compared with it."""
    if not snapshot.reworded and not in_other_words(snapshot.status):
        return ()
    before, now = (
        revision_checksum(snapshot.promoted_tracked, spec)
        for spec in (snapshot.status.last_promoted_spec, _target(snapshot).hash)
    )
    results = tuple(msgspec.structs.replace(one, revision=now) for one in snapshot.results if one.revision == before)
    return (KeepResults(results, now),) if results else ()


def _as_promoted(snapshot: Snapshot) -> str:
    kind = snapshot.plan.target_kind
    return f"{kind} {_OTHER_WORDS if snapshot.reworded else 'reverted to the promoted revision.'}"


def in_other_words(status: Status) -> bool:
    """Whether what the status speaks of is what the primary has in other words."""
    promoted = status.condition("Promoted")
    return status.phase is Phase.SUCCEEDED and promoted is not None and promoted.message.endswith(_OTHER_WORDS)


def _why_no_run(snapshot: Snapshot, found: Change) -> str:
    target = f"Target {snapshot.plan.full_target}"
    if found is Change.REVERTED and snapshot.reworded:
        return (
            f"{target} is the promoted revision in other words, no analysis is needed: {', '.join(snapshot.reworded)}"
        )
    revision = "the promoted" if found is Change.REVERTED else "the rejected"
    return f"{target} reverted to {revision} revision, no analysis is needed"


def primary_unready(snapshot: Snapshot) -> Decision | None:
    """Nothing advances on an unready primary. One that will not recover ends the run; during its own promotion the
    canary, the only healthy copy of the new revision, gets all the traffic. Not so if it has few pods because it took
    the place of others, and some of these answer: that is waited for."""
    plan, status = snapshot.plan, snapshot.status
    primary = snapshot.primary
    assert primary is not None
    if plan.skip_analysis or primary.ready.ready or _carried_by_canary(snapshot) or _is_over(snapshot):
        return None
    if not snapshot.due:
        return Decision(rule="not due")
    text = f"{plan.primary}.{plan.namespace} not ready: {primary.ready.text}"
    warning = Emit(text, "Warning")
    if primary.ready.retriable:
        return Decision(actions=(warning,), wait=plan.interval, rule="primary not ready")
    if status.phase.promoting:
        shared = primary.full_replicas is not None and primary.available
        return _promotion_waits(snapshot, text) if shared else _failed_promotion(snapshot, text)
    if status.analysing:
        return rollback(snapshot, (warning,), rule="primary broken")
    return blocked(snapshot, "PrimaryNotReady", text)


def _carried_by_canary(snapshot: Snapshot) -> bool:
    """The canary serves alone, as after a failed promotion: promoting is the way out, not a reason to wait."""
    weight = snapshot.routes.canary if snapshot.plan.routed else snapshot.status.canary_weight
    return weight == TOTAL_WEIGHT and not snapshot.status.phase.promoting


def _is_over(snapshot: Snapshot) -> bool:
    """The canary's pods have gone: nobody else can serve, and only the last status was lost."""
    gone = not snapshot.plan.in_place and _target(snapshot).replicas == 0
    return gone and snapshot.status.phase is Phase.FINALISING


def _promotion_waits(snapshot: Snapshot, why: str) -> Decision:
    """In place, a pod of the primary does not come. Whoever is woken by it has to know what helps."""
    plan = snapshot.plan
    text = (
        f"{why}; the promotion waits for it, and nothing else is begun until then: free room for one pod, "
        f"or scale {plan.target_kind} {plan.target} down by one, not to none"
    )
    waiting = blocked(snapshot, "PrimaryNotReady", text)
    told = any(isinstance(action, WriteStatus) for action in waiting.actions)
    alert = (SendAlert(f"Promotion waits, primary not ready: {text}", "error"),) if told else ()
    return msgspec.structs.replace(waiting, actions=(*waiting.actions, *alert))


def _failed_promotion(snapshot: Snapshot, why: str) -> Decision:
    plan = snapshot.plan
    status = snapshot.status.synced(
        Phase.FAILED,
        kind=plan.target_kind,
        now=snapshot.now,
        applied=snapshot.status.last_applied_spec,
        tracked=snapshot.status.tracked,
        weight=TOTAL_WEIGHT,
    )
    actions: tuple[Action, ...] = (
        Emit(why, "Warning"),
        Emit(f"Promotion of {plan.full_target} failed, primary not ready: {why}", "Warning"),
        SendAlert(f"Promotion failed, primary not ready: {why}", "error"),
        SetRoutes(Weights(0, TOTAL_WEIGHT)),
        WriteStatus(status),
        Count(success=False),
        *_post_rollout(snapshot, Phase.FAILED),
    )
    return Decision(actions=actions, wait=plan.interval, rule="failed promotion")


def canary_unready(snapshot: Snapshot) -> Decision | None:
    """Wait for the new revision's pods; what will not become ready is rolled back."""
    plan, ready = snapshot.plan, _target(snapshot).ready
    if ready.ready or snapshot.status.phase.promoting:
        return None
    warning = Emit(f"canary {plan.target_kind.lower()} {plan.full_target} not ready: {ready.text}", "Warning")
    if ready.retriable:
        return Decision(actions=(warning,), wait=plan.interval, rule="canary not ready")
    return rollback(snapshot, (warning,), rule="canary broken")


def analysis_skipped(snapshot: Snapshot) -> Decision | None:
    """skipAnalysis: promoted as soon as it is ready."""
    plan = snapshot.plan
    if not plan.skip_analysis:
        return None
    actions: list[Action] = [
        *(() if plan.in_place else (SetRoutes(HOME),)),
        *_copying(snapshot),
    ]
    if plan.autoscaled:
        actions.append(EnsureScaler(promote=True))
    actions += [
        Scale(0),
        WriteStatus(_entering(snapshot, Phase.SUCCEEDED)),
        Count(success=True, skipped=True),
        *_post_rollout(snapshot, Phase.SUCCEEDED),
        Emit(f"Promotion completed! Canary analysis was skipped for {plan.full_target}"),
        SendAlert("Canary analysis was skipped, promotion finished.", "info"),
    ]
    return Decision(actions=tuple(actions), wait=plan.interval, rule="analysis skipped")


def rollback_asked(snapshot: Snapshot) -> Decision | None:
    """A rollback hook that answers with success ends the run."""
    plan, phase = snapshot.plan, snapshot.status.phase
    hooks = plan.hooks_of(HookType.ROLLBACK)
    if not hooks or not snapshot.status.analysing:
        return None
    results = snapshot.answers.hooks.get(HookType.ROLLBACK)
    if results is None:
        ask = AskHooks(HookType.ROLLBACK, hooks, phase, stop=True)
        return Decision(actions=(ask,), again=True, rule="ask for rollback")
    signal = next((result for result in results if result.passed), None)
    if signal is None:
        return None
    before = (
        Emit(f"Rolling back {plan.full_name} manual webhook invoked", "Warning"),
        SendAlert("Rolling back manual webhook invoked", "warn"),
    )
    return rollback(snapshot, before, rule="rollback asked")


def promoting(snapshot: Snapshot) -> Decision | None:
    """The primary has the new revision and is ready: give it the traffic, at once or in steps."""
    plan, status = snapshot.plan, snapshot.status.unblocked()
    if status.phase is not Phase.PROMOTING:
        return None
    actions: list[Action] = [EnsureScaler(promote=True)] if plan.autoscaled else []
    if not plan.routed:
        actions.append(WriteStatus(_entering(snapshot, Phase.FINALISING)))
        return Decision(actions=tuple(actions), wait=plan.interval, rule="promoted")
    back = given_back(snapshot)
    if back is not None:
        weights, exchanged = back
        actions += [*exchanged, Emit(f"Advance {plan.full_name} primary weight {weights.primary}")]
        actions.append(WriteStatus(status.weighing(weights.canary, snapshot.now)))
        return Decision(actions=tuple(actions), wait=plan.interval, rule="shifting to primary")
    step = plan.step_weight_promotion
    canary = max(snapshot.routes.canary - step, 0) if step > 0 else 0
    if step > 0 and snapshot.routes.canary > 0:
        text = f"Advance {plan.full_name} primary weight {TOTAL_WEIGHT - canary}"
        actions += [SetRoutes(Weights(TOTAL_WEIGHT - canary, canary)), Emit(text)]
    else:
        actions += [Emit("Routing all traffic to primary"), SetRoutes(HOME)]
    done = canary == 0
    new = _entering(snapshot, Phase.FINALISING) if done else status.weighing(canary, snapshot.now)
    actions.append(WriteStatus(new))
    return Decision(actions=tuple(actions), wait=plan.interval, rule="promoted" if done else "shifting to primary")


def finalising(snapshot: Snapshot) -> Decision | None:
    """The primary serves all traffic: the canary's pods go, the run is over."""
    plan = snapshot.plan
    if snapshot.status.phase is not Phase.FINALISING:
        return None
    actions: tuple[Action, ...] = (
        *down(snapshot),
        WriteStatus(_entering(snapshot, Phase.SUCCEEDED)),
        Count(success=True),
        *_post_rollout(snapshot, Phase.SUCCEEDED),
        Emit(f"Promotion completed! Scaling down {plan.full_target}"),
        SendAlert("Canary analysis completed successfully, promotion finished.", "info"),
    )
    return Decision(actions=actions, wait=plan.interval, rule="finished")


def half_rolled_back(snapshot: Snapshot) -> Decision | None:
    """A process died between taking the canary down and saying so. A model that failed is not loaded once more."""
    if _target(snapshot).replicas > 0 or not snapshot.status.analysing:
        return None
    return threshold_reached(snapshot)


def threshold_reached(snapshot: Snapshot) -> Decision | None:
    """Too many failed checks."""
    if snapshot.status.failed_checks < snapshot.plan.threshold:
        return None
    return rollback(snapshot, (), rule="threshold reached")


def rollback(snapshot: Snapshot, before: tuple[Action, ...], *, rule: str) -> Decision:
    """All traffic to the primary, the canary down, the revision remembered as rejected."""
    plan, status = snapshot.plan, snapshot.status
    actions: list[Action] = list(before)
    if status.failed_checks >= plan.threshold:
        reached = f"ailed checks threshold reached {status.failed_checks}"
        actions.append(Emit(f"Rolling back {plan.full_name} f{reached}", "Warning"))
        actions.append(SendAlert(f"F{reached}", "error"))
    failed = status.unblocked().synced(
        Phase.FAILED,
        kind=plan.target_kind,
        now=snapshot.now,
        applied=_target(snapshot).hash,
        tracked=snapshot.tracked,
    )
    said = [action.text for action in actions if isinstance(action, Emit)]
    actions += [
        SetRoutes(HOME),
        Emit(f"Canary failed! Scaling down {plan.full_name}", "Warning"),
        *down(snapshot),
        Quarantine(said[0] if said else ""),
        WriteStatus(failed),
        Count(success=False),
        *_post_rollout(snapshot, Phase.FAILED),
    ]
    return Decision(actions=tuple(actions), wait=plan.interval, rule=rule)


def promote(snapshot: Snapshot, *before: Action) -> Decision:
    """The verdict is good: the primary gets the revision that was judged."""
    actions: tuple[Action, ...] = (
        *before,
        *before_promotion(snapshot),
        *_copying(snapshot),
        WriteStatus(_entering(snapshot, Phase.PROMOTING)),
    )
    return Decision(actions=actions, wait=snapshot.plan.interval, rule="promote")


def _copying(snapshot: Snapshot) -> tuple[Action, ...]:
    """Told once it is written: somebody else may write to the primary at the same time, and then it is tried again."""
    plan = snapshot.plan
    text = f"Copying {plan.full_target} template spec to {plan.primary}.{plan.namespace}"
    if plan.in_place:
        text = f"Promoting the new revision of {plan.full_target}"
    return Promote(identity_of(snapshot)), Emit(text)


def _entering(snapshot: Snapshot, phase: Phase) -> Status:
    return snapshot.status.unblocked().entering(phase, kind=snapshot.plan.target_kind, now=snapshot.now)


def _post_rollout(snapshot: Snapshot, phase: Phase) -> tuple[AskHooks, ...]:
    hooks = snapshot.plan.hooks_of(HookType.POST_ROLLOUT)
    return (AskHooks(HookType.POST_ROLLOUT, hooks, phase),) if hooks else ()


def _target(snapshot: Snapshot) -> Workload:
    assert snapshot.target is not None
    return snapshot.target
