"""Rejected references on a Canary: noted at a rollback, held against new revisions, released by a promotion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import Object
from agent.api.canary import JUDGE_ANNOTATION, Canary
from agent.controllers.canary.kinds import CANARIES
from agent.controllers.canary.observing import World
from agent.controllers.canary.tick import Tick
from agent.core.models import Resolve
from agent.core.rollout import quarantine as core
from agent.core.rollout.ending import in_other_words
from agent.core.rollout.hashing import template_hash
from agent.core.rollout.knative import before_and_after, latest_name, revision_hash
from agent.core.rollout.kserve.content import asked_of, serving_on, with_content
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.status import Status

_HOLDING = frozenset({"guarded", "comparative"})
"""Judges, asked for or those of the last run, under which a rejected reference is held. With Flagger's rules, any edit
of the template is a new try."""


def reason_to_hold(canary: Canary, world: World) -> str:
    """Why the target's present revision is not to be tried; empty if nothing is held against it."""
    last = canary.status.judge.mode if canary.status.judge is not None else ""
    wanted = asked_for(world)
    if canary.metadata.annotations.get(JUDGE_ANNOTATION, last) not in _HOLDING or not wanted:
        return ""
    entries = core.decode_quarantine(canary.metadata.annotations)
    entry = core.held(entries, core.references_of(wanted)) if entries else None
    if entry is None:
        return ""
    return (
        f"{entry.slot} is {entry.rejected}, which was rejected at {entry.at:%Y-%m-%dT%H:%M:%SZ}"
        f"{': ' if entry.verdict else ''}{entry.verdict}; change the reference, or remove the annotation "
        f"{core.QUARANTINE} to try it again"
    )


def changes_content(world: World, status: Status, resolve: Resolve | None) -> bool:
    """Whether the target's present revision makes another model answer than the one that serves.

    Read off the objects themselves, so that it does not matter who applied them, and whether anybody was watching.
    """
    after = asked_for(world)
    if not after or (revision_of(world) == status.last_promoted_spec and world.tracked == world.promoted_tracked):
        return False
    before = serving(world)
    return bool(before) and core.changes_content(before, after, resolve)


async def quarantine(client: KubeClient, tick: Tick, verdict: str, at: datetime) -> None:
    """Note what the revision on trial had changed. Doing it twice is doing it once. Raises ApiError."""
    before, after = serving(tick.world), asked_for(tick.world)
    if not before or not after:
        return
    fresh = core.rejected_by(before, after, revision_of(tick.world), at, verdict, resolve=tick.resolve)
    entries = core.decode_quarantine(tick.canary.metadata.annotations)
    await _write(client, tick, core.added(entries, fresh))


async def release(client: KubeClient, tick: Tick) -> None:
    """What has been promoted has proven itself. Raises ApiError."""
    entries = core.decode_quarantine(tick.canary.metadata.annotations)
    wanted = asked_for(tick.world)
    if entries and wanted:
        await _write(client, tick, core.without(entries, core.references_of(wanted)))


def withheld(world: World, status: Status, resolve: Resolve | None) -> tuple[core.Withheld, ...] | None:
    """What Git asks for and the primary does not serve, in whatever words; None where the primary was not read.

    That it was found to be the same in other words counts for as long as Git asks for it, known or not by now.
    """
    before, after = serving(world), asked_for(world)
    if not before or not after:
        return None
    same = core.same_slots(before, after, resolve)
    found = core.withheld(core.references_of(after), core.references_of(before))
    lacking = tuple(one for one in found if one.slot not in same)
    return () if lacking and in_other_words(status) and revision_of(world) == status.last_promoted_spec else lacking


def asked_for(world: World) -> Sequence[Object]:
    """The target as Git has it, with its configs; empty if it is not there. Of a Knative Service, the latest revision.

    That may be older than the Service is, and is what can be on trial.
    """
    if world.revisions is not None:
        return (before_and_after(world.revisions) or ())[1:]
    if world.services is not None:
        target = world.services.target
        return [with_content(target, asked_of(target)[1])]
    return [world.target, *world.configs.values()] if world.target is not None else []


def serving(world: World) -> Sequence[Object]:
    """The target as the primary serves it, with its configs; empty if that was not read."""
    if world.revisions is not None:
        return (before_and_after(world.revisions) or ())[:1]
    if world.services is not None:
        target = world.services.target
        return [with_content(target, serving_on(target).content)]
    if world.target is None or world.primary is None:
        return []
    return core.as_target(world.target, world.primary, world.copies)


def revision_of(world: World) -> str:
    """The hash of what Git asks for, as the status has it."""
    if world.services is not None:
        return asked_of(world.services.target)[0]
    if world.revisions is not None:
        return revision_hash(latest_name(world.revisions.service))
    assert world.target is not None
    return template_hash(world.target["spec"]["template"])


async def _write(client: KubeClient, tick: Tick, entries: Sequence[core.Rejected]) -> None:
    canary, value = tick.canary, core.encode_quarantine(entries)
    annotations = dict(canary.metadata.annotations)
    if annotations.get(core.QUARANTINE) == value:
        return
    patch = {"metadata": {"annotations": {core.QUARANTINE: value}}}
    await client.merge_patch(CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER)
    kept = {**annotations, core.QUARANTINE: value} if value is not None else annotations
    if value is None:
        kept.pop(core.QUARANTINE, None)
    metadata = msgspec.structs.replace(canary.metadata, annotations=kept)
    tick.canary = msgspec.structs.replace(canary, metadata=metadata)
