"""The ledger on a Canary, and the shorter analysis of what it has seen serving before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent.adapters.kube.client import KubeClient
from agent.controllers.canary.kinds import CANARIES
from agent.controllers.canary.quarantining import asked_for, serving
from agent.controllers.canary.tick import Tick
from agent.core.rollout.ledger import LEDGER, REVERT, Role, decode_ledger, encode_ledger, kept, proven
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.plan import Plan, in_one_step
from agent.core.rollout.quarantine import Reference, references_of
from agent.core.rollout.status import Status


async def keep_ledger(client: KubeClient, tick: Tick, before: Status, now: datetime) -> None:
    """Write down who answers since when, if that has changed. Raises ApiError."""
    canary = tick.canary
    old = decode_ledger(canary.metadata.annotations)
    new = kept(old, before, tick.status, lambda role: _references(tick, role), now)
    if new == old or canary.is_deleting:
        return
    patch = {"metadata": {"annotations": {LEDGER: encode_ledger(new)}}}
    await client.merge_patch(CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER)


def shortened(tick: Tick) -> tuple[Plan, str]:
    """The plan for the target's present revision, and why it is a short one; empty where it is not."""
    plan, annotations = tick.plan, tick.canary.metadata.annotations
    if annotations.get(REVERT) != "fast":
        return plan, ""
    period = proven(decode_ledger(annotations), _references(tick, "canary") or ())
    if period is None or period.until is None:
        return plan, ""
    return in_one_step(plan), f"what has served before, until {period.until:%Y-%m-%dT%H:%M:%SZ}, in one step"


def _references(tick: Tick, role: Role) -> Sequence[Reference] | None:
    objects = asked_for(tick.world) if role == "canary" else serving(tick.world)
    return references_of(objects) if objects else None
