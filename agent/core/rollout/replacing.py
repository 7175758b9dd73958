"""A canary that takes the place of pods of the primary: `weir.dev/surge: in-place`.

Both sides together never have more pods than the primary has alone, and at most one of these is on its way at a time:
whichever side gives one up does so first, and the next one waits until all are ready. How many there are in all is
noted on the primary in the write that takes its first pod away, so a process that dies leaves nothing to guess; and
whether the primary is to be whole again follows from that note and the phase.
"""

from __future__ import annotations

from agent.core.rollout.actions import Action, Emit, Exchange, Scale, ScalePrimary, SetRoutes, Weights
from agent.core.rollout.plan import TOTAL_WEIGHT
from agent.core.rollout.snapshot import Snapshot, Workload
from agent.core.rollout.surge import Surge

_LEAST = 2
"""With a single pod nobody would answer while it is replaced."""


def replaces(snapshot: Snapshot) -> bool:
    """Whether canary pods take the place of others; also where some have and the annotation is gone."""
    noted = snapshot.primary is not None and snapshot.primary.full_replicas is not None
    return noted or snapshot.plan.surge is Surge.IN_PLACE


def whole(primary: Workload) -> int:
    """How many replicas the primary has when no canary takes the place of some."""
    return primary.replicas if primary.full_replicas is None else primary.full_replicas


def impossible(snapshot: Snapshot) -> str:
    """Why no pod can be replaced; empty if one can."""
    if not replaces(snapshot) or whole(_primary(snapshot)) >= _LEAST:
        return ""
    plan = snapshot.plan
    return (
        f"{plan.target_kind} {plan.primary}.{plan.namespace} has one replica, and nobody would answer while it is "
        f"replaced: have two, or set annotation weir.dev/surge to {Surge.ONE_POD.value} and have room for one more"
    )


def more_wanted(snapshot: Snapshot) -> tuple[Action, ...]:
    """What is impossible becomes possible: Git asks for more pods, perhaps in the commit that has the new revision."""
    assert snapshot.target is not None
    wanted = snapshot.target.wanted_replicas or 0
    if wanted < _LEAST:
        return ()
    plan = snapshot.plan
    return Emit(f"Scaling {plan.primary}.{plan.namespace} to {wanted} before a run"), ScalePrimary(wanted)


def taking_places(snapshot: Snapshot) -> Exchange:
    """The canary has a pod, or all those that the primary lacks already."""
    primary = _primary(snapshot)
    full = whole(primary)
    left = min(primary.replicas, full - 1)
    return Exchange(primary=left, target=full - left, full=full)


def begun_anew(snapshot: Snapshot) -> Exchange:
    """Another revision: the pods of the one before go, all but one of their places are the primary's again."""
    full = whole(_primary(snapshot))
    return Exchange(primary=full - 1, target=0, full=full)


def within_reach(snapshot: Snapshot, weight: int) -> int:
    """How far a step to `weight` goes for now: no further than the pods that the canary has and one more, for those of
    the primary carry the rest while it takes them over one by one."""
    if not replaces(snapshot):
        return weight
    target, full, now = snapshot.target, whole(_primary(snapshot)), snapshot.routes.canary
    assert target is not None
    pods = target.replicas if now < _share(target.replicas, full) else target.replicas + 1
    return max(min(weight, snapshot.plan.max_weight, _share(pods, full)), min(now + 1, TOTAL_WEIGHT))


def _share(pods: int, full: int) -> int:
    """The percentage that so many of all pods make up, rounded up."""
    return -(-TOTAL_WEIGHT * pods // full) if full else TOTAL_WEIGHT


def missing(snapshot: Snapshot, weight: int) -> tuple[Action, ...]:
    """One pod more for the canary, if it has too few for its next weight: each pod of either side should have about
    the same share of the traffic."""
    if not replaces(snapshot):
        return ()
    primary, target = _primary(snapshot), snapshot.target
    assert target is not None
    full = whole(primary)
    wanted = min(max((full * weight + TOTAL_WEIGHT // 2) // TOTAL_WEIGHT, 1), full - 1)
    if target.replicas >= wanted:
        return ()
    more = Exchange(primary=full - target.replicas - 1, target=target.replicas + 1, full=full)
    if primary.replicas + target.replicas > full:  # the canary began beside the primary, which gives up one at a time
        more = Exchange(primary=primary.replicas - 1, target=target.replicas, full=full)
    plan = snapshot.plan
    text = f"Replacing a pod of {plan.primary}.{plan.namespace} by one of the canary: {more.target} of {full}"
    return more, Emit(text)


def before_promotion(snapshot: Snapshot) -> tuple[Action, ...]:
    """The pods of the primary are replaced one at a time while it has its share of the traffic; not so the last one."""
    if not replaces(snapshot) or _primary(snapshot).replicas > 1 or snapshot.routes.canary == TOTAL_WEIGHT:
        return ()
    return Emit("Routing all traffic to canary"), SetRoutes(Weights(0, TOTAL_WEIGHT))


def given_back(snapshot: Snapshot) -> tuple[Weights, tuple[Action, ...]] | None:
    """After the promotion: a pod of the canary makes room for one of the primary. The weights that are left, and what
    to do; None where the primary takes all of the traffic next."""
    primary, target = _primary(snapshot), snapshot.target
    if primary.full_replicas is None or target is None:
        return None
    taken = primary.replicas + target.replicas
    left = target.replicas - (taken >= primary.full_replicas)  # less: a process died between two writes
    share = min(snapshot.routes.canary, TOTAL_WEIGHT * left // max(primary.full_replicas - 1, 1))  # one is on its way
    if left <= 0 or share <= 0:
        return None
    weights = Weights(TOTAL_WEIGHT - share, share)
    back = Exchange(primary=primary.full_replicas - left, target=left, full=primary.full_replicas)
    return weights, (SetRoutes(weights), back)


def down(snapshot: Snapshot) -> tuple[Action, ...]:
    """The canary goes, and what it took the place of comes back."""
    primary = snapshot.primary
    whole_again = primary is not None and primary.full_replicas is not None
    return (Scale(0), *((ScalePrimary(whole(_primary(snapshot))),) if whole_again else ()))


def _primary(snapshot: Snapshot) -> Workload:
    assert snapshot.primary is not None
    return snapshot.primary
