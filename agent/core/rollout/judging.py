"""Rules of runs that are judged guarded or comparative: which judge, when to ask, what follows from the verdict.

A run that Flagger's rule judges has no judge in its status, and none of these rules has anything to say.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from agent.api.analysis import Strategy
from agent.api.duration import format_duration
from agent.api.judge import Conclusion, Finding
from agent.core.judge.packs import ENDPOINT_PICKER, pack_for
from agent.core.rollout.actions import Action, Decision, Emit, EventType, SendAlert, WeighEvidence, WriteStatus
from agent.core.rollout.ending import rollback
from agent.core.rollout.judgesettings import ON_INCONCLUSIVE, Baseline, JudgeMode, OnInconclusive
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Phase, Status
from agent.core.rollout.weighing import Doubt, Weighed

VERDICT = "weir.dev/verdict"
FINDINGS = "weir.dev/findings"
"""Annotations of events: the verdict in a word, and the findings that decided, as JSON."""
_SHOWN = 3
_LONGEST = 900
"""Characters of a verdict in an event's text, which Kubernetes bounds at 1024."""


def chosen(snapshot: Snapshot) -> JudgeState | None:
    """The judge of a run that begins; None for Flagger's rule.

    Without an annotation, a change of what the model answers is guarded unless the Canary has thresholds of its own, or
    no request of a client reaches the canary before the promotion.
    """
    plan, target = snapshot.plan, snapshot.target
    assert target is not None
    mode = plan.judging.mode
    if mode is None:
        bare = not any(metric.explicit for metric in plan.metrics)
        guarded = bare and snapshot.content_changed and plan.routed
        mode = JudgeMode.GUARDED if guarded else JudgeMode.COMPATIBILITY
    if mode is JudgeMode.COMPATIBILITY or plan.skip_analysis:
        return None
    fresh = mode is JudgeMode.COMPARATIVE and plan.judging.baseline is Baseline.FRESH
    by_name = target.fleet is not None and target.fleet.model
    pack = ENDPOINT_PICKER if by_name else pack_for(target.server)
    return JudgeState(mode=mode, fresh=fresh, pack=plan.judging.pack or pack.name)


def settled(snapshot: Snapshot) -> Snapshot:
    """With the judge that the Canary asks for when the first step is taken; from then on it is fixed.

    One commit may change the target and the Canary: the target's change is seen first as often as not.
    """
    present = snapshot.status.judge
    if not snapshot.is_first or snapshot.plan.judging.mode is None:
        return snapshot
    wanted = chosen(snapshot)
    if _kind(wanted) == _kind(present):
        return snapshot
    return msgspec.structs.replace(snapshot, status=msgspec.structs.replace(snapshot.status, judge=wanted))


def _kind(state: JudgeState | None) -> tuple[JudgeMode, bool]:
    return (JudgeMode.COMPATIBILITY, False) if state is None else (state.mode, state.fresh)


def question(snapshot: Snapshot) -> Decision | None:
    """Ask for the verdict, once the warm-up of the step is over."""
    state = snapshot.status.judge
    if state is None or snapshot.answers.weighed is not None:
        return None
    if _warms_up(snapshot, state) or _lost(snapshot, state):
        return None
    ask = WeighEvidence(state, snapshot.pods, snapshot.routes.canary, snapshot.status.iterations)
    return Decision(actions=(ask,), again=True, rule="weigh evidence")


def worse(snapshot: Snapshot) -> Decision | None:
    """The canary is worse, and surely so: no second check."""
    weighed = snapshot.answers.weighed
    if weighed is None or weighed.conclusion is not Conclusion.FAIL:
        return None
    text = f"Rolling back {snapshot.plan.full_name} judged worse: {weighed.text}"
    return _given_up(snapshot, weighed, text, rule="judged worse")


def warming_up(snapshot: Snapshot) -> Decision | None:
    """What happens during the warm-up is not counted."""
    state = snapshot.status.judge
    if state is None or snapshot.is_first:
        return None
    if _lost(snapshot, state):
        status = stepped(snapshot, snapshot.status.weighing(snapshot.routes.canary, snapshot.now))
        return Decision(actions=(WriteStatus(status),), wait=snapshot.plan.interval, rule="step found")
    return Decision(wait=snapshot.plan.interval, rule="warming up") if _warms_up(snapshot, state) else None


def undecided(snapshot: Snapshot) -> Decision | None:
    """No step and no failed check: more requests have to tell, until the step has had its longest time."""
    weighed, status = snapshot.answers.weighed, snapshot.status
    if weighed is None or weighed.conclusion is not Conclusion.INCONCLUSIVE:
        return None
    plan, state = snapshot.plan, status.judge
    assert state is not None
    overdue = state.started is not None and snapshot.now >= state.started + timedelta(seconds=plan.judging.max_step)
    if not overdue:
        return _hold(snapshot, weighed, [])
    longest = format_duration(plan.judging.max_step)
    match plan.judging.on_inconclusive:
        case OnInconclusive.PASS:
            return None
        case OnInconclusive.FAIL:
            text = f"Rolling back {plan.full_name} inconclusive after {longest}: {_cut(weighed.text)}"
            return _given_up(snapshot, weighed, text, rule="inconclusive for too long")
        case OnInconclusive.HOLD:
            return _wait(snapshot, weighed, longest)


def noted(snapshot: Snapshot) -> Snapshot:
    """With the verdict in the status."""
    return msgspec.structs.replace(snapshot, status=_noted(snapshot))


def released(snapshot: Snapshot) -> Snapshot:
    """With the verdict in the status, and no longer held."""
    status = _noted(snapshot)
    if status.held:
        assert status.judge is not None
        status = msgspec.structs.replace(status, judge=msgspec.structs.replace(status.judge, held=False))
        status = status.entering(Phase.PROGRESSING, kind=snapshot.plan.target_kind, now=snapshot.now)
    return msgspec.structs.replace(snapshot, status=status)


def notes(snapshot: Snapshot) -> tuple[Emit, ...]:
    """What there is to say about a step that is taken without a verdict."""
    weighed = snapshot.answers.weighed
    if weighed is None or weighed.conclusion is Conclusion.PASS:
        return ()
    longest = format_duration(snapshot.plan.judging.max_step)
    text = f"Inconclusive after {longest}, passed as {ON_INCONCLUSIVE} says: {_cut(weighed.text)}"
    return (Emit(text, "Warning", annotations=_annotations(weighed)),)


def stepped(snapshot: Snapshot, status: Status) -> Status:
    """The canary gets more, or another iteration begins: evidence is counted anew."""
    if status.judge is None:
        return status
    warm_up = snapshot.plan.judging.warm_up_of(status.judge.step + 1)
    judge = status.judge.stepping(snapshot.now, warm_up)
    return msgspec.structs.replace(status, judge=judge)


def early(snapshot: Snapshot) -> bool:
    """The remaining steps may be left out: that is wished for, and twice the evidence is there."""
    weighed = snapshot.answers.weighed
    return snapshot.plan.judging.early_promotion and weighed is not None and weighed.ample


def _warms_up(snapshot: Snapshot, state: JudgeState) -> bool:
    return state.since is None or snapshot.now <= state.since


def _lost(snapshot: Snapshot, state: JudgeState) -> bool:
    """The traffic was moved, but the status that should have told of the step was never written."""
    if not state.step:
        return not snapshot.is_first
    weighted = snapshot.plan.strategy is Strategy.CANARY and snapshot.status.phase is Phase.PROGRESSING
    return weighted and snapshot.routes.canary != snapshot.status.canary_weight


def _noted(snapshot: Snapshot) -> Status:
    status, weighed = snapshot.status, snapshot.answers.weighed
    if weighed is None or status.judge is None:
        return status
    judge = status.judge.judged(weighed.conclusion, weighed.text, weighed.findings, weighed.looks, snapshot.now)
    judge = msgspec.structs.replace(judge, since=weighed.since or judge.since)
    return msgspec.structs.replace(status, judge=judge)


def _hold(snapshot: Snapshot, weighed: Weighed, before: list[Action]) -> Decision:
    """Say so once for each reason in a step; the condition says it for as long as it is so."""
    plan, status = snapshot.plan, _noted(snapshot)
    doubt = weighed.doubt or Doubt.UNCONFIRMED
    assert status.judge is not None
    actions = list(before)
    if doubt not in status.judge.said:
        text = f"Hold {plan.full_name} advancement {_cut(weighed.text)}"
        kind: EventType = "Normal" if doubt is Doubt.TOO_FEW else "Warning"
        actions.append(Emit(text, kind, annotations=_annotations(weighed)))
        judge = msgspec.structs.replace(status.judge, said=(*status.judge.said, doubt.value))
        status = msgspec.structs.replace(status, judge=judge)
    actions.append(WriteStatus(status.blocked(doubt.value, _cut(weighed.text), snapshot.now)))
    return Decision(actions=tuple(actions), wait=plan.interval, rule="inconclusive")


def _wait(snapshot: Snapshot, weighed: Weighed, longest: str) -> Decision:
    """More requests or a person have to decide; where an approval is waited for already, that goes on."""
    status, plan = snapshot.status, snapshot.plan
    if status.judge is None or status.judge.held or status.phase is not Phase.PROGRESSING:
        return _hold(snapshot, weighed, [])
    text = (
        f"Hold {plan.full_name} inconclusive after {longest}, waiting for more requests or for the annotation "
        f"{ON_INCONCLUSIVE}: {_cut(weighed.text)}"
    )
    held = msgspec.structs.replace(status, judge=msgspec.structs.replace(status.judge, held=True))
    message = f"Inconclusive after {longest}, waiting for more requests or a decision."
    held = held.entering(Phase.WAITING, kind=plan.target_kind, now=snapshot.now, message=message)
    before: list[Action] = [Emit(text, "Warning", annotations=_annotations(weighed)), SendAlert(text, "warn")]
    return _hold(msgspec.structs.replace(snapshot, status=held), weighed, before)


def _given_up(snapshot: Snapshot, weighed: Weighed, text: str, *, rule: str) -> Decision:
    before = (Emit(_cut(text), "Warning", annotations=_annotations(weighed)), SendAlert(_cut(text), "error"))
    return rollback(msgspec.structs.replace(snapshot, status=_noted(snapshot)), before, rule=rule)


def _annotations(weighed: Weighed) -> dict[str, str]:
    decisive = [finding for finding in weighed.findings if finding.conclusion is not Conclusion.PASS]
    shown: list[Finding] = (decisive or list(weighed.findings))[:_SHOWN]
    return {VERDICT: weighed.conclusion.value, FINDINGS: msgspec.json.encode(shown).decode()}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
