"""Rules of the analysis: check, then one step by the Canary's strategy."""

from __future__ import annotations

import msgspec

from agent.api.analysis import HookType, Strategy
from agent.core.rollout import baseline, judging
from agent.core.rollout.actions import (
    Action,
    AskHooks,
    Decision,
    Emit,
    QueryMetrics,
    SendAlert,
    SetRoutes,
    Weights,
    WriteStatus,
)
from agent.core.rollout.ending import promote
from agent.core.rollout.judgement import Verdict
from agent.core.rollout.plan import TOTAL_WEIGHT
from agent.core.rollout.replacing import missing, within_reach
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.starting import first_refusal
from agent.core.rollout.status import Phase, Status

_CONFIRM_TRAFFIC = HookType.CONFIRM_TRAFFIC_INCREASE
_CONFIRM_PROMOTION = HookType.CONFIRM_PROMOTION
TRAFFIC_APPROVAL = "TrafficApprovalMissing"
"""Reason of the condition Blocked while a gate keeps the canary from getting more traffic."""
REPLACING = "replacing a pod"
"""The rule of a step for which the canary still lacks pods."""


def checks(snapshot: Snapshot) -> Decision | None:
    """Ask for what this tick is judged by: pre-rollout hooks before any traffic, then rollout hooks and metrics."""
    plan, answers, phase = snapshot.plan, snapshot.answers, Phase.PROGRESSING
    if snapshot.is_first:
        hooks = plan.hooks_of(HookType.PRE_ROLLOUT)
        if not hooks or HookType.PRE_ROLLOUT in answers.hooks:
            return None
        ask: tuple[Action, ...] = (_announcement(snapshot), AskHooks(HookType.PRE_ROLLOUT, hooks, phase))
        return Decision(actions=ask, again=True, rule="pre-rollout")
    hooks = plan.hooks_of(HookType.ROLLOUT)
    results = answers.hooks.get(HookType.ROLLOUT)
    if hooks and results is None:
        return Decision(actions=(AskHooks(HookType.ROLLOUT, hooks, phase),), again=True, rule="external checks")
    if results is not None and first_refusal(results) is not None:
        return None
    if snapshot.status.judge is not None:
        return judging.question(snapshot)
    if plan.metrics and answers.judgements is None:
        query = QueryMetrics(snapshot.pods, snapshot.routes.canary, snapshot.status.iterations)
        return Decision(actions=(query,), again=True, rule="metrics")
    return None


def failed_check(snapshot: Snapshot) -> Decision | None:
    """One failed check more, and no step in this tick."""
    plan = snapshot.plan
    text = _refused_by_hook(snapshot)
    if not text:
        judgements = snapshot.answers.judgements or ()
        text = next((item.text for item in judgements if item.verdict is not Verdict.PASS), "")
    weighed = snapshot.answers.weighed
    text = text or (weighed.failed if weighed is not None else "")
    if not text:
        return None
    status = _judged(judging.noted(snapshot)).one_more_failure(snapshot.now)
    return Decision(actions=(Emit(text, "Warning"), WriteStatus(status)), wait=plan.interval, rule="failed check")


def _refused_by_hook(snapshot: Snapshot) -> str:
    name = snapshot.plan.full_name
    for kind, label in ((HookType.PRE_ROLLOUT, "pre-rollout"), (HookType.ROLLOUT, "external")):
        refusal = first_refusal(snapshot.answers.hooks.get(kind, ()))
        if refusal is not None:
            return f"Halt {name} advancement {label} check {refusal.name} failed {refusal.error}"
    return ""


def _judged(snapshot: Snapshot) -> Status:
    """The status with or without the remark that metrics cannot be had."""
    broken = [item for item in snapshot.answers.judgements or () if item.verdict in {Verdict.ERROR, Verdict.NO_DATA}]
    if not broken:
        return snapshot.status.unblocked()
    reason = "MetricsUnavailable" if broken[0].verdict is Verdict.ERROR else "MetricsWithoutData"
    return snapshot.status.blocked(reason, broken[0].text, snapshot.now)


def step(snapshot: Snapshot) -> Decision:
    """The checks passed: one step further."""
    snapshot = judging.settled(judging.released(snapshot))
    plan = snapshot.plan
    if judging.early(snapshot):
        return _promotion(snapshot)
    if plan.strategy is Strategy.AB_TESTING:
        return _by_match(snapshot)
    if plan.strategy is Strategy.BLUE_GREEN:
        return _blue_green(snapshot)
    return _progressive(snapshot)


def approved_step(snapshot: Snapshot) -> Decision:
    """One step further by a person's word instead of by checks and gates of traffic."""
    hooks = {**snapshot.answers.hooks, _CONFIRM_TRAFFIC: ()}
    answers = msgspec.structs.replace(snapshot.answers, hooks=hooks, weighed=None)
    decision = step(msgspec.structs.replace(snapshot, answers=answers))
    if decision.again or decision.rule == REPLACING:
        return decision
    return msgspec.structs.replace(decision, rule="step approved")


def _announcement(snapshot: Snapshot) -> Emit:
    return Emit(f"Starting canary analysis for {snapshot.plan.full_target}")


def _preamble(snapshot: Snapshot) -> list[Action]:
    """What a tick that takes a step says first."""
    notes: list[Action] = [Emit(text, "Warning") for text in snapshot.plan.warnings]
    notes += judging.notes(snapshot)
    if not snapshot.is_first:
        return notes
    if HookType.PRE_ROLLOUT in snapshot.answers.hooks:
        return notes
    return [_announcement(snapshot), *notes]


def _progressive(snapshot: Snapshot) -> Decision:
    """Move a step of the traffic to the canary; at the last weight, promote."""
    plan, routes = snapshot.plan, snapshot.routes
    size = plan.next_step(routes.canary)
    if size <= 0:
        return _finish(snapshot, [], snapshot.status, rule="no steps")
    halted = _traffic_approval(snapshot)
    if halted is not None:
        return halted
    if routes.canary >= plan.max_weight:
        return _promotion(snapshot)
    if plan.mirror and routes.canary == 0 and not routes.mirrored:
        weights = Weights(TOTAL_WEIGHT, 0, mirrored=True)
    else:
        wanted = within_reach(snapshot, min(routes.canary + size, TOTAL_WEIGHT))
        weights = baseline.weights(snapshot, wanted)
    more = missing(snapshot, weights.canary)
    if more:
        return _finish(snapshot, [*more], snapshot.status, rule=REPLACING)
    actions: list[Action] = [
        SetRoutes(weights),
        Emit(f"Advance {plan.full_name} canary weight {weights.canary}"),
    ]
    status = judging.stepped(snapshot, snapshot.status.weighing(weights.canary, snapshot.now))
    return _finish(snapshot, actions, status, rule="advance")


def _traffic_approval(snapshot: Snapshot) -> Decision | None:
    """More traffic needs consent where a hook asks for it; a refusal is no failed check."""
    plan, status = snapshot.plan, snapshot.status
    hooks = plan.hooks_of(_CONFIRM_TRAFFIC)
    if not hooks or snapshot.routes.mirrored or status.phase is Phase.WAITING_PROMOTION:
        return None
    results = snapshot.answers.hooks.get(_CONFIRM_TRAFFIC)
    if results is None:
        ask = AskHooks(_CONFIRM_TRAFFIC, hooks, Phase.PROGRESSING)
        return Decision(actions=(ask,), again=True, rule="confirm traffic increase")
    refusal = first_refusal(results)
    if refusal is None:
        return None
    text = f"Halt {plan.full_name} advancement waiting for traffic increase approval {refusal.name}"
    actions: list[Action] = [Emit(text, "Warning")]
    if not refusal.mute_alert:
        actions.append(SendAlert("Canary traffic increase is waiting for approval.", "warn"))
    blocked = status.blocked(TRAFFIC_APPROVAL, text, snapshot.now)
    write = [WriteStatus(blocked)] if blocked is not status or blocked.judge is not None else []
    everything = (*_preamble(snapshot), *actions, *write)
    return Decision(actions=everything, wait=plan.interval, rule="traffic increase refused")


def _by_match(snapshot: Snapshot) -> Decision:
    """A/B testing: the matched requests all go to the canary, for a number of iterations."""
    if snapshot.status.iterations < snapshot.plan.iterations:
        return _iterate(snapshot, SetRoutes(Weights(0, TOTAL_WEIGHT)))
    return _promotion(snapshot)


def _blue_green(snapshot: Snapshot) -> Decision:
    """Checks for a number of iterations, then all traffic to the canary for one more, then the promotion."""
    plan, status, routes = snapshot.plan, snapshot.status, snapshot.routes
    if status.iterations < plan.iterations:
        if plan.routed and plan.mirror and not routes.mirrored:
            return _iterate(snapshot, SetRoutes(Weights(TOTAL_WEIGHT, 0, mirrored=True)))
        return _iterate(snapshot)
    if status.iterations > plan.iterations:
        return _promotion(snapshot)
    waiting = _promotion_approval(snapshot)
    if waiting is not None:
        return waiting
    actions: list[Action] = []
    if plan.routed:
        if plan.mirror:
            actions.append(Emit("Stop traffic mirroring and route all traffic to canary"))
        else:
            actions.append(Emit("Routing all traffic to canary"))
        actions.append(SetRoutes(Weights(0, TOTAL_WEIGHT)))
    new = judging.stepped(snapshot, status.iterated(status.iterations + 1, snapshot.now))
    return _finish(snapshot, actions, new, rule="all to canary")


def _iterate(snapshot: Snapshot, *before: Action) -> Decision:
    plan, done = snapshot.plan, snapshot.status.iterations + 1
    actions: list[Action] = [*before, Emit(f"Advance {plan.full_name} canary iteration {done}/{plan.iterations}")]
    status = judging.stepped(snapshot, snapshot.status.iterated(done, snapshot.now))
    return _finish(snapshot, actions, status, rule="iterate")


def _promotion(snapshot: Snapshot) -> Decision:
    waiting = _promotion_approval(snapshot)
    if waiting is not None:
        return waiting
    return promote(snapshot, *_preamble(snapshot))


def _promotion_approval(snapshot: Snapshot) -> Decision | None:
    """The promotion needs consent where a hook asks for it; checks go on meanwhile and may still fail the run."""
    plan, status = snapshot.plan, snapshot.status
    hooks = plan.hooks_of(_CONFIRM_PROMOTION)
    if not hooks:
        return None
    results = snapshot.answers.hooks.get(_CONFIRM_PROMOTION)
    if results is None:
        ask = AskHooks(_CONFIRM_PROMOTION, hooks, Phase.PROGRESSING)
        return Decision(actions=(ask,), again=True, rule="confirm promotion")
    refusal = first_refusal(results)
    if refusal is None:
        return None
    back = max(plan.iterations - 1, 0)
    if status.phase is Phase.WAITING_PROMOTION:
        return _finish(snapshot, [], status.iterated(back, snapshot.now), rule="still waiting for promotion")
    text = f"Halt {plan.full_name} advancement waiting for promotion approval {refusal.name}"
    actions: list[Action] = [Emit(text, "Warning")]
    if not refusal.mute_alert:
        actions.append(SendAlert("Canary promotion is waiting for approval.", "warn"))
    new = status.entering(Phase.WAITING_PROMOTION, kind=plan.target_kind, now=snapshot.now, iterations=back)
    return _finish(snapshot, actions, new, rule="waiting for promotion")


def _finish(snapshot: Snapshot, actions: list[Action], status: Status, *, rule: str) -> Decision:
    """The end of a tick whose checks passed; the status is written if it says something new."""
    new = status.unblocked()
    write = [WriteStatus(new)] if new is not snapshot.status or new.judge is not None else []
    everything = (*_preamble(snapshot), *actions, *write)
    return Decision(actions=everything, wait=snapshot.plan.interval, rule=rule)
