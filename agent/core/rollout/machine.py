"""The state machine of a Canary: one question, "what now?", answered by the first rule that has something to say.

The order of the rules is the order of Flagger's tick, because users read its effects: the check that reaches the
threshold rolls back one tick later, metrics for a weight are judged one interval after it was set, pre-rollout hooks
run while the weight is 0. The routes as read from the router, never the status, are the truth about weights, so a
process that dies between moving traffic and writing the status goes on from where the traffic is.

Where this differs from Flagger 1.44 on purpose:

* a target that goes back to the promoted revision in mid-run ends the run (100/0, scaled down, Succeeded, "reverted")
  instead of analysing old code; one that goes back while Failed ends as Succeeded, too, without a run;
* a promotion whose status write was lost is recognised by the identity on the primary;
* a run whose target was scaled to zero behind its back is scaled up again, unless it is being rolled back;
* where the judge is guarded or comparative, a revision with a reference that was rejected before is held;
* a missing primary is made anew only from the promoted revision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from agent.core.rollout import advancing, baseline, commanded, ending, gating, judging, loads, preparing, starting
from agent.core.rollout.actions import Decision, WriteStatus
from agent.core.rollout.affinity import remembering
from agent.core.rollout.snapshot import Snapshot

Rule: TypeAlias = Callable[[Snapshot], Decision | None]

_ANALYSIS: tuple[Rule, ...] = (
    gating.gated,
    advancing.checks,
    judging.worse,
    advancing.failed_check,
    judging.warming_up,
    judging.undecided,
    advancing.step,
)
RULES: tuple[Rule, ...] = (
    preparing.left_to_flagger,
    preparing.deletion,
    baseline.put_away,
    preparing.suspended,
    preparing.finalizer,
    preparing.refused,
    preparing.target_unusable,
    preparing.nothing_to_look_at,
    preparing.objects,
    preparing.primary_lost,
    preparing.primary_not_initialized,
    preparing.routing,
    preparing.initialized,
    baseline.left_over,
    starting.adoption,
    starting.absorbed,
    starting.applied_past,
    commanded.refused,
    commanded.aborted,
    commanded.retried,
    commanded.pause_told,
    starting.unchanged,
    ending.reverted,
    starting.promotion_under_way,
    ending.primary_unready,
    starting.routes_unknown,
    starting.quarantined,
    commanded.approved,
    commanded.not_begun,
    starting.obstructed,
    starting.confirmation,
    starting.obstructed_since,
    starting.start,
    starting.restart,
    starting.too_early,
    ending.half_rolled_back,
    starting.scaled_away,
    ending.canary_unready,
    loads.loaded,
    commanded.promoted,
    commanded.step_approved,
    commanded.held,
    ending.analysis_skipped,
    ending.rollback_asked,
    ending.promoting,
    ending.finalising,
    ending.threshold_reached,
    baseline.unready,
    *_ANALYSIS,
)


def step(snapshot: Snapshot) -> Decision:
    """The next thing to do. Synchronous and free of effects; see `Decision` for how to go on."""
    for rule in RULES:
        decision = rule(snapshot)
        if decision is not None:
            decision = msgspec.structs.replace(decision, analysed=rule in _ANALYSIS)
            return remembering(snapshot, _fenced(snapshot, decision))
    raise AssertionError("the last rule always decides")


def _fenced(snapshot: Snapshot, decision: Decision) -> Decision:
    """The decision with the target as it is stored beside its hash, wherever that is written."""
    target = snapshot.target
    if target is None or not target.fence:
        return decision
    actions = tuple(
        WriteStatus(msgspec.structs.replace(action.status, last_tracked_revision=target.fence))
        if isinstance(action, WriteStatus) and action.status.last_applied_spec == target.hash
        else action
        for action in decision.actions
    )
    return msgspec.structs.replace(decision, actions=actions)
