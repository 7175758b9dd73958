"""The rule of the offline gates: a revision gets no traffic before each of them has let it pass.

A gate that runs holds no worker and is no failed check; one that fails ends the run at once, for its evaluation would
not come out better in the next interval. Whoever promotes by hand goes past the gates.
"""

from __future__ import annotations

from agent.core.rollout.actions import Action, AskGates, Decision, Emit, KeepResults, SendAlert, WriteStatus
from agent.core.rollout.ending import rollback
from agent.core.rollout.gates import Opinion, Result, opinion, result_of
from agent.core.rollout.hashing import revision_checksum
from agent.core.rollout.reports import Answer
from agent.core.rollout.snapshot import Snapshot

RUNNING, UNKNOWN = "GateRunning", "GateUnknown"


def gated(snapshot: Snapshot) -> Decision | None:
    """Ask the gates while the canary has had no traffic."""
    plan = snapshot.plan
    if not plan.gates or not snapshot.is_first:
        return None
    if snapshot.answers.gates is None:
        return Decision(actions=(AskGates(plan.gates, _revision(snapshot)),), again=True, rule="gates")
    opinions = _opinions(snapshot)
    failed = [one for one in opinions if one.effect is Answer.FAIL]
    if failed:
        told = [Emit(f"Gate {one.gate} of {plan.full_name} failed: {one.text}", "Warning") for one in failed]
        alert = SendAlert(f"Gate {failed[0].gate} failed: {failed[0].text}", "error")
        return rollback(snapshot, (*told, alert), rule="gate failed")
    for effect, reason in ((Answer.UNKNOWN, UNKNOWN), (Answer.RUNNING, RUNNING)):
        open_ones = [one for one in opinions if one.effect is effect]
        if open_ones:
            return _waiting(snapshot, reason, "; ".join(f"gate {one.gate}: {one.text}" for one in open_ones))
    return _passed(snapshot, opinions)


def _opinions(snapshot: Snapshot) -> list[Opinion]:
    found = {one.gate: one for one in snapshot.answers.gates or ()}
    promoted = revision_checksum(snapshot.promoted_tracked, snapshot.status.last_promoted_spec)
    opinions = []
    for gate in snapshot.plan.gates:
        before = result_of(snapshot.results, gate.name, promoted)
        opinions.append(opinion(gate, found[gate.name], before.metrics if before is not None else None, snapshot.now))
    return opinions


def _waiting(snapshot: Snapshot, reason: str, text: str) -> Decision:
    status = snapshot.status.blocked(reason, text, snapshot.now)
    actions: tuple[Action, ...] = ()
    if status is not snapshot.status:
        unknown = reason == UNKNOWN
        said = Emit(f"Halt {snapshot.plan.full_name} advancement {text}", "Warning" if unknown else "Normal")
        alert = (SendAlert(f"Canary is waiting: {text}", "warn"),) if unknown else ()
        actions = (said, *alert, WriteStatus(status))
    return Decision(actions=actions, wait=snapshot.plan.interval, rule="waiting for gates")


def _passed(snapshot: Snapshot, opinions: list[Opinion]) -> Decision | None:
    """What passed is kept, to compare the next revision with, and told once."""
    revision = _revision(snapshot)
    fresh = [one for one in opinions if result_of(snapshot.results, one.gate, revision) is None]
    if not fresh:
        return None
    results = tuple(
        Result(gate=one.gate, revision=revision, answer=one.answer, metrics=dict(one.metrics), at=snapshot.now)
        for one in fresh
    )
    promoted = revision_checksum(snapshot.promoted_tracked, snapshot.status.last_promoted_spec)
    told = [Emit(f"Gate {one.gate} of {snapshot.plan.full_name} {_how(one)}") for one in fresh]
    return Decision(actions=(*told, KeepResults(results, promoted)), again=True, rule="gates passed")


def _how(one: Opinion) -> str:
    told = f": {one.text}" if one.text else ""
    return f"passed{told}" if one.answer is Answer.PASS else f"cannot tell and lets pass{told}"


def _revision(snapshot: Snapshot) -> str:
    return revision_checksum(snapshot.tracked, snapshot.status.last_applied_spec)
