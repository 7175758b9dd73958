"""What counts as a new revision of the target, and what as the return of an old one.

A revision is the hash of the pod template together with the checksums of the ConfigMaps and Secrets it uses. The
status keeps the applied one (on trial, or rejected when the phase is Failed) and the hash of the promoted one; the
checksums of the promoted one are those of the primary's copies.

Flagger's own hashes cannot be computed outside Go. Where the status still holds one, the state is adopted without a
run if target and primary use the same images, by the rule of Flagger's own planned migration to stable hashes.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping

from agent.core.rollout.hashing import is_stable
from agent.core.rollout.plan import Plan
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Phase

_NAMESPACE = uuid.UUID("6d1c2f1e-5ad4-5c0a-9f0f-3d7f1c0a4a11")


class Change(enum.Enum):
    """What the target's present revision means to a Canary in its present phase."""

    NONE = "none"
    NEW = "new"
    """A revision to analyse."""
    REVERTED = "reverted"
    """The promoted revision again, while another one is on trial, waits for approval or has been rejected; or, at any
    time, in other words."""
    REJECTED = "rejected"
    """The rejected revision again, while another one waits for approval."""
    ABSORB = "absorb"
    """The same revision with another hash: nobody has written it, the API server fills in other defaults."""
    ADOPT = "adopt"
    """The status was written by Flagger and describes what is there."""


def identity(plan: Plan, template_hash: str, tracked: Mapping[str, str]) -> str:
    """Names a promoted revision on the primary's pods; another one for every content, so that pods roll."""
    configs = ",".join(f"{name}={checksum}" for name, checksum in sorted(tracked.items()))
    return str(uuid.uuid5(_NAMESPACE, f"{plan.uid}/{plan.namespace}/{plan.name}/{template_hash}/{configs}"))


def identity_of(snapshot: Snapshot) -> str:
    """The identity of the target's present revision."""
    assert snapshot.target is not None
    return identity(snapshot.plan, snapshot.target.hash, snapshot.tracked)


def change(snapshot: Snapshot) -> Change:
    """What the target's present revision means. Before the stage PREPARED it may say NEW for what will turn out
    to be REVERTED, never NONE for what is a change."""
    assert snapshot.target is not None
    status, phase = snapshot.status, snapshot.status.phase
    if phase.promoting and is_stable(status.last_applied_spec):
        return Change.NONE
    applied = status.last_applied_spec
    if applied and not is_stable(applied) and applied != snapshot.target.hash:
        return _adopted(snapshot)
    if _absorbed(snapshot):
        return Change.ABSORB
    same = snapshot.target.hash == status.last_applied_spec and dict(snapshot.tracked) == dict(status.tracked)
    if status.awaiting_start:
        if _at_promoted(snapshot):
            return Change.REVERTED
        return Change.REJECTED if same else Change.NEW
    if same:
        return Change.NONE
    if _at_promoted(snapshot):
        return Change.REVERTED
    return Change.NEW


def _absorbed(snapshot: Snapshot) -> bool:
    target, status = snapshot.target, snapshot.status
    assert target is not None
    unwritten = bool(target.fence) and target.fence == status.last_tracked_revision
    return unwritten and target.hash != status.last_applied_spec and dict(snapshot.tracked) == dict(status.tracked)


def _at_promoted(snapshot: Snapshot) -> bool:
    """The target is what the primary serves; not so after a promotion that failed, when the primary is broken."""
    assert snapshot.target is not None
    status = snapshot.status
    if status.phase is Phase.FAILED and status.canary_weight > 0:
        return False
    if snapshot.reworded:
        return True
    if snapshot.plan.in_place or (status.last_promoted_spec and not is_stable(status.last_promoted_spec)):
        return snapshot.primary_matches
    here = snapshot.target.hash == status.last_promoted_spec or snapshot.primary_matches
    return here and dict(snapshot.tracked) == dict(snapshot.promoted_tracked)


def _adopted(snapshot: Snapshot) -> Change:
    phase = snapshot.status.phase
    if phase is Phase.FAILED or phase.promoting:
        return Change.ADOPT
    if phase.resting:
        target, primary = snapshot.target, snapshot.primary
        assert target is not None
        same = primary is not None and target.images == primary.images
        return Change.ADOPT if same else Change.NEW
    return Change.NEW
