"""Rules by which a rollout does what a person asks for: promote, abort, retry, pause.

Every command is acknowledged in the decision that carries it out, behind what it does: a process that dies in between
finds the command again and the work done, and says so. A command that has no meaning in the present phase is refused
at once, so none is left lying about to act on a later run. Only a promotion may wait, for a canary that is not ready
yet.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.core.rollout import advancing, baseline
from agent.core.rollout.actions import Acknowledge, Decision, Emit, EventType, SendAlert, WriteStatus
from agent.core.rollout.changes import Change, change
from agent.core.rollout.commands import DONE, HELD, REFUSED, Command, Verb, hold_told
from agent.core.rollout.ending import promote, rollback
from agent.core.rollout.gating import RUNNING, UNKNOWN
from agent.core.rollout.replacing import impossible
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.starting import begin, begins, detected, is_held_back
from agent.core.rollout.status import BLOCKED, Phase, Status

_AWAITED = frozenset({RUNNING, UNKNOWN, advancing.TRAFFIC_APPROVAL})
"""Reasons of the condition Blocked that a person may put an end to."""
_REFUSED: Final = "command refused"


def refused(snapshot: Snapshot) -> Decision | None:
    """A command that cannot be carried out in this phase."""
    command = snapshot.command
    why = _objection(snapshot, command) if command is not None else ""
    if command is None or not why:
        return None
    what = command.verb.value if command.verb is not None else "command"
    text = f"{command.who} asked to {what} {snapshot.plan.full_name}, which is not possible: {why}"
    return Decision(actions=(Emit(text, "Warning"), Acknowledge(command.text, REFUSED, why)), rule=_REFUSED)


def _objection(snapshot: Snapshot, command: Command) -> str:
    status = snapshot.status
    if command.verb is None:
        return f"{command.text.split()[0][:40]!r} is not a command, use {', '.join(Verb)}"
    if command.revision and command.revision != status.last_applied_spec:
        return f"it was asked for revision {command.revision}, now it is {status.last_applied_spec or 'none'}"
    if command.verb is Verb.RETRY:
        return _not_to_be_retried(snapshot)
    if status.phase.promoting:
        return "the promotion is under way"
    if status.phase.resting:
        return f"nothing is being rolled out (phase {status.phase.value})"
    if command.verb is Verb.PROMOTE_FULL and status.awaiting_start:
        return "the run waits for its approval to begin: promote approves that"
    if command.verb is Verb.PROMOTE:
        return _not_to_be_approved(snapshot)
    return ""


def _not_to_be_approved(snapshot: Snapshot) -> str:
    status = snapshot.status
    if status.awaiting_start:
        return snapshot.quarantined or impossible(snapshot)
    if status.phase is Phase.WAITING_PROMOTION or _awaited(status):
        return ""
    paused = " while it is paused" if snapshot.hold is not None else ""
    return f"nothing waits for an approval{paused}; promote-full leaves out the rest of the analysis"


def _awaited(status: Status) -> bool:
    """A step waits that a person may allow."""
    blocked = status.condition(BLOCKED)
    return status.held or (blocked is not None and blocked.reason in _AWAITED)


def _not_to_be_retried(snapshot: Snapshot) -> str:
    phase = snapshot.status.phase
    if is_held_back(snapshot):
        return impossible(snapshot)
    if phase is not Phase.FAILED:
        return f"only a failed rollout can be tried again (phase {phase.value})"
    if change(snapshot) is not Change.NONE:
        return "the target is no longer the revision that failed"
    return impossible(snapshot)


def aborted(snapshot: Snapshot) -> Decision | None:
    """Back to the primary, now. Another revision that has come meanwhile is not what was meant: it starts anew."""
    command, status = snapshot.command, snapshot.status
    if command is None or command.verb is not Verb.ABORT or not (status.analysing or status.awaiting_start):
        return None
    if change(snapshot) is not (Change.NONE if status.analysing else Change.NEW):
        return None
    said = _said(snapshot, command, "abort the rollout of", "Warning")
    return _acknowledged(rollback(snapshot, (said,), rule="aborted"), command, "rolled back")


def retried(snapshot: Snapshot) -> Decision | None:
    """The rejected revision once more, from the beginning, or one that is held for a rejected reference; who asks for
    it has confirmed it."""
    command = snapshot.command
    if command is None or command.verb is not Verb.RETRY:
        return None
    if snapshot.status.phase is not Phase.FAILED and not is_held_back(snapshot):
        return None
    said = _said(snapshot, command, "try again the rollout of")
    return _acknowledged(begin(snapshot, said), command, "started again")


def approved(snapshot: Snapshot) -> Decision | None:
    """A run that waits for its approval begins."""
    command = snapshot.command
    if command is None or command.verb is not Verb.PROMOTE or not snapshot.status.awaiting_start:
        return None
    if not begins(snapshot):
        return None
    said = _said(snapshot, command, "start the rollout of")
    return _acknowledged(begin(snapshot, said, detected(snapshot)), command, "approved, the analysis begins")


def promoted(snapshot: Snapshot) -> Decision | None:
    """The canary is ready: the rest of the analysis is left out, or the promotion that was waited for is approved."""
    command, status = snapshot.command, snapshot.status
    if command is None or not status.analysing:
        return None
    approved = command.verb is Verb.PROMOTE and status.phase is Phase.WAITING_PROMOTION
    if not approved and command.verb is not Verb.PROMOTE_FULL:
        return None
    outcome = "approved, promoted" if approved else "promoted without further analysis"
    return _acknowledged(promote(snapshot, _said(snapshot, command, "promote")), command, outcome)


def step_approved(snapshot: Snapshot) -> Decision | None:
    """One step, as if what it waited for had let it pass; the analysis goes on behind it.

    Checks before the first traffic have not been made while gates were waited for, and the word is not about them.
    """
    command = snapshot.command
    if command is None or command.verb is not Verb.PROMOTE or not _awaited(snapshot.status):
        return None
    nothing_to_compare = baseline.unready(snapshot)
    if nothing_to_compare is not None:
        return _still_awaited(nothing_to_compare)
    if snapshot.is_first:
        asked = advancing.checks(snapshot)
        if asked is not None:
            return asked
        failed = advancing.failed_check(snapshot)
        if failed is not None:
            refusal = Acknowledge(command.text, REFUSED, "a pre-rollout check has failed, see the events")
            return msgspec.structs.replace(failed, actions=(*failed.actions, refusal), rule=_REFUSED)
    decision = advancing.approved_step(snapshot)
    if decision.again:  # a gate of the promotion is still to be asked
        return decision
    if decision.rule == advancing.REPLACING:
        return _still_awaited(decision)
    said = _said(snapshot, command, "approve a step of")
    decision = msgspec.structs.replace(decision, actions=(said, *decision.actions))
    return _acknowledged(decision, command, "approved, one step further")


def _still_awaited(decision: Decision) -> Decision:
    """What was approved waits for something else: meanwhile the status goes on to say that it is awaited, and so nobody
    is alerted, which would be at each look."""
    kept = (
        one
        for one in decision.actions
        if not isinstance(one, SendAlert) and (not isinstance(one, WriteStatus) or _awaited(one.status))
    )
    return msgspec.structs.replace(decision, actions=tuple(kept))


def pause_told(snapshot: Snapshot) -> Decision | None:
    """The status says whether the rollout is held, before anything else happens."""
    status, held = snapshot.status, snapshot.hold
    told = hold_told(status)
    if held is None:
        if not told:
            return None
        resumed = Emit(f"Rollout of {snapshot.plan.full_name} resumed")
        return Decision(actions=(resumed, WriteStatus(status.unblocked())), again=True, rule="resumed")
    if told == held.text or not (status.analysing or begins(snapshot)):
        return None
    said = Emit(f"Rollout of {snapshot.plan.full_name} {held.text}")
    return Decision(
        actions=(said, WriteStatus(status.blocked(HELD, held.text, snapshot.now))), again=True, rule="paused"
    )


def not_begun(snapshot: Snapshot) -> Decision | None:
    """No run begins while the rollout is held."""
    if snapshot.hold is None or not begins(snapshot):
        return None
    return _still(snapshot)


def held(snapshot: Snapshot) -> Decision | None:
    """Traffic stays where it is and nothing is judged; a promotion that has begun goes on to its end."""
    if snapshot.hold is None or not snapshot.status.analysing:
        return None
    return _still(snapshot)


def _still(snapshot: Snapshot) -> Decision:
    return Decision(wait=snapshot.plan.interval if snapshot.due else None, rule="held")


def _said(snapshot: Snapshot, command: Command, what: str, kind: EventType = "Normal") -> Emit:
    return Emit(f"{command.who} asked to {what} {snapshot.plan.full_name}{command.because}", kind)


def _acknowledged(decision: Decision, command: Command, outcome: str) -> Decision:
    actions = (*decision.actions, Acknowledge(command.text, DONE, outcome))
    return msgspec.structs.replace(decision, actions=actions, rule=command.verb or decision.rule)
