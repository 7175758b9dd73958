"""A new revision of the target that is the promoted one in other words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from agent.adapters.kube.resource import Object
from agent.api.canary import Canary
from agent.controllers.canary.kinds import WORKLOADS
from agent.controllers.canary.observing import World
from agent.controllers.canary.quarantining import asked_for, revision_of, serving
from agent.core.models import Resolve
from agent.core.models.meanings import Known, Pods
from agent.core.rollout import objects
from agent.core.rollout.hashing import is_stable
from agent.core.rollout.plan import Plan
from agent.core.rollout.rewording import Objects, reworded
from agent.core.rollout.status import Status
from agent.core.rollout.view import ChangeLookup

_JUST: Final = timedelta(minutes=10)
"""From when a commit is told to when the Canary has looked at what it changes; few pods are started meanwhile."""


def known(changes: ChangeLookup, canary: Canary, plan: Plan, now: datetime | None = None) -> Known:
    """What is known of the target's references, in the pods of a primary, which is made after its Canary; where the
    target itself serves, they may be of any time. With *now*, pods may have been started until then."""
    first = canary.metadata.creation_timestamp if plan.target_kind in WORKLOADS else None
    last = now - _JUST if now is not None else None
    return Known(changes.meanings(plan.target_kind, plan.namespace, plan.target, Pods(first, last)))


def rewording(
    world: World, status: Status, selector_labels: tuple[str, ...], resolve: Resolve | None
) -> tuple[str, ...]:
    """The slots whose references are written differently, if the target's revision is else the promoted one.

    Empty where it is no new revision, and for a target that serves by itself and was changed past the rollout.
    """
    sides = _sides(world, selector_labels)
    if sides is None:
        return ()
    revision = revision_of(world)
    known = revision == status.last_applied_spec and world.tracked == dict(status.tracked)
    if known or not is_stable(revision):
        return ()
    return reworded(*sides, resolve)


def _sides(world: World, selector_labels: tuple[str, ...]) -> tuple[Objects, Objects] | None:
    """What serves and what is asked for, without the differences that a promotion makes; None if not both are known."""
    if world.services is not None or world.revisions is not None:
        before, after = serving(world), asked_for(world)
        return (before, after) if before and after else None
    if (
        world.target is None
        or world.primary is None
        or world.selector is None
        or world.copies.keys() != world.configs.keys()
    ):
        return None
    copied = frozenset(ref.key for ref in world.configs)
    template = objects.primary_template(world.target, world.selector, copied, selector_labels=selector_labels)
    refs = sorted(world.configs, key=lambda ref: ref.key)
    names = {ref: objects.primary_name(ref.name) for ref in refs}
    return (
        [_with(world.target, objects.template_of(world.primary)),
         *(objects.told_by_config(world.copies[ref], names[ref]) for ref in refs)],
        [_with(world.target, template),
         *(objects.told_by_config(world.configs[ref], names[ref]) for ref in refs)],
    )  # fmt: skip


def _with(target: Object, template: Mapping[str, Any]) -> Object:
    return {**target, "spec": {**target["spec"], "template": template}}
