"""Deletes what left the inventory, and only what is still ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from agent.adapters.kube.errors import Conflict, NoMatch, NotFound, silent
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.core.changeset import Action, Change, ChangeSet
from agent.core.claims import deletable
from agent.core.inventory import Entry, Inventory
from agent.core.objects import ObjectKey
from agent.core.ordering import rank
from agent.errors import ConfigurationError, OperationError, PruneError

ALLOW_EMPTY = "weir.dev/allow-empty"
_ATTEMPTS = 5  # for an object whose status is written all the time


class Pruned:
    """What a prune did: `changes` in order, the keys `left` to others, and those that `failed` with the reason."""

    def __init__(self) -> None:
        self.changes = ChangeSet()
        self.left: set[ObjectKey] = set()
        self.failed: dict[ObjectKey, str] = {}

    def raise_on_failure(self) -> None:
        """Raises PruneError naming every object that is still there."""
        if self.failed:
            raise PruneError("\n".join(f"{key} delete failed: {why}" for key, why in self.failed.items()))


async def prune(
    target: Target,
    owner: tuple[str, str],
    stale: Iterable[Entry],
    *,
    kept: Iterable[Entry] = (),
    heirs: Collection[ObjectKey] = (),
) -> Pruned:
    """Delete `stale` in reverse apply order, with background propagation, without waiting for the end.

    An object that is gone, or whose kind is, counts as deleted; one that no longer carries both owner labels, or that
    forbids it, is skipped. A cluster-wide object that is also in `kept` stays: manifests may give it a namespace, which
    the API server drops, so two entries can mean one object. What is still ours, but in `heirs`, is left as it is.
    Nothing is raised for a failed deletion: see Pruned.
    """
    result = Pruned()
    applied = frozenset(_without_namespace(entry.key) for entry in kept)
    ordered = sorted(stale, key=lambda entry: rank(entry.key), reverse=True)
    for position, entry in enumerate(ordered):
        try:
            action = await _delete(target, owner, entry, applied, heirs)
        except (NotFound, ConfigurationError):
            # Gone in the meantime, or a name or a scope under which nothing can exist.
            action = Action.DELETED
        except OperationError as error:
            result.failed[entry.key] = error.message
            if silent(error):
                # each of the others would wait for as long
                rest = ordered[position + 1 :]
                result.failed |= {other.key: f"not tried, {error.message}" for other in rest}
                break
            continue
        if action is None:
            result.left.add(entry.key)
        elif action is not Action.UNCHANGED:
            result.changes += ChangeSet((Change(entry.key, action),))
    return result


async def _delete(
    target: Target,
    owner: tuple[str, str],
    entry: Entry,
    applied: frozenset[ObjectKey],
    heirs: Collection[ObjectKey],
) -> Action | None:
    """What was done, nothing (UNCHANGED) to an object that is still applied; None if it is left to an heir."""
    resource = await _resource(target, entry)
    if resource is None:
        return Action.DELETED
    if not resource.namespaced and _without_namespace(entry.key) in applied:
        return Action.UNCHANGED
    for attempt in range(_ATTEMPTS):
        live = await target.client.find(resource, entry.key.namespace, entry.key.name, metadata_only=True)
        if live is None:
            return Action.DELETED
        if not deletable(live, owner):
            return Action.SKIPPED
        if entry.key in heirs:
            return None
        try:
            # The very version that was judged: it may have got another owner since.
            await target.client.delete(
                resource,
                entry.key.namespace,
                entry.key.name,
                uid=live["metadata"]["uid"],
                resource_version=live["metadata"]["resourceVersion"],
            )
        except Conflict:
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            break
    return Action.DELETED


def _without_namespace(key: ObjectKey) -> ObjectKey:
    return key._replace(namespace="")


async def _resource(target: Target, entry: Entry) -> Resource | None:
    """The resource of an entry, under another version if its own is no longer served; None if the kind is gone."""
    try:
        return await target.discovery.resource(entry.api_version, entry.key.kind)
    except NoMatch:
        try:
            return await target.discovery.preferred(entry.key.group, entry.key.kind)
        except NoMatch:
            return None


def refuse_empty(kustomization: Kustomization, new: Inventory, old: Inventory) -> None:
    """An empty render is far more often a mistake than a wish, and pruning after it cannot be undone: PruneError."""
    allowed = kustomization.metadata.annotations.get(ALLOW_EMPTY, "").lower() == "true"
    if new.entries or not old.entries or not kustomization.spec.prune or allowed:
        return
    raise PruneError(
        f"the build of path {kustomization.spec.path or './'} has no objects, but {len(old.entries)} are applied; "
        f'nothing was pruned. If they are all meant to go, set the annotation {ALLOW_EMPTY}: "true"'
    )
