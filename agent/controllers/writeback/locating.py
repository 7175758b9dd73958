"""Where in Git a rejected reference stands: found by trying, not by guessing.

Every place that could be it is edited on a copy of the tree, and built. The edit that makes the target's slots what
they were, and changes nothing else of any Kustomization of the same source, is the right one; if there are two, nobody
can tell, and nothing is written. Where none of the files does it, those are tried in which the variables of the
Kustomization stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agent.adapters.kube.client import KubeClient
from agent.adapters.renderer import Rendered
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.build import Builder
from agent.controllers.writeback.variables import Origin, Replaced
from agent.controllers.writeback.variables import given as given_by
from agent.core.models import RenderedSet
from agent.core.objects import ObjectKey
from agent.core.rollout import knative
from agent.core.rollout.quarantine import Rejected, references_in
from agent.core.tree import Tree
from agent.core.writeback.edits import Changed, TooManyPlacesError, proposals
from agent.core.writeback.overlay import OverlayTree
from agent.errors import WeirError

_GENERATED = frozenset({"ConfigMap", "Secret"})
_UNNAMED, _NAMED = "container[unnamed].", "container[user-container]."
"""Knative's default for the only container, `container-name-template` of its ConfigMap config-defaults."""


class Unlocatable(Exception):  # noqa: N818 - an answer, not a fault
    """There is nothing that may be written; the text says why, for a person."""


class Moved(Exception):  # noqa: N818 - an answer, not a fault
    """Git no longer asks for the rejected reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which Kustomization applies the target, under which key, who else builds from the same source, and where the
    Kustomization's variables come from."""

    kustomization: Kustomization
    target: ObjectKey
    neighbours: Sequence[Kustomization]
    home: Callable[[Kustomization], KubeClient]
    origins: Sequence[Origin] = ()


@dataclass(frozen=True, slots=True)
class _Given:
    """The target's Kustomization and the variables of ConfigMaps, as a tree has them."""

    kustomization: Kustomization
    variables: Replaced


@dataclass(frozen=True, slots=True)
class _Search:
    """One entry that is looked for, on a tree that may have edits for others already."""

    place: Place
    tree: Tree
    given: _Given
    build: Rendered
    entry: Rejected
    pending: Sequence[Rejected]

    def is_good(self, after: Rendered) -> bool:
        """Whether a build after an edit is what is wanted."""
        return _restores(self.build, after, self.place.target, self.entry, self.pending)


class Locator:
    """Builds with the agent's own renderer, so that what is found is what will be applied."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    async def locate(self, place: Place, tree: Tree, entries: Sequence[Rejected]) -> Changed:
        """New contents of the files to change. Raises Unlocatable, Moved, and what builds raise."""
        given = await self._given(place, tree)
        before = await self._build(given, tree, place)
        if not await asyncio.to_thread(_has, before, place.target):
            raise Unlocatable(f"{_named(place.kustomization)} does not make {place.target.kind} {place.target.name}")
        _refuse_secrets(before, entries)
        pending = [entry for entry in entries if await asyncio.to_thread(_asks_for, before, place.target, entry)]
        if not pending:
            raise Moved("Git asks for the rejected reference no longer")
        changed: Changed = {}
        for entry in pending:
            if not entry.restore:
                raise Unlocatable(f"{entry.slot} was empty before: remove {entry.rejected} by hand")
            now = OverlayTree(tree, changed)
            given = await self._given(place, now) if changed else given
            build = await self._build(given, now, place) if changed else before
            if changed and not await asyncio.to_thread(_asks_for, build, place.target, entry):
                continue  # one place held both references
            changed |= await self._one(_Search(place, now, given, build, entry, pending))
        await self._spare_others(place, tree, changed)
        return changed

    async def _given(self, place: Place, tree: Tree) -> _Given:
        """An origin that cannot be built leaves what the cluster has."""
        kustomization, variables = place.kustomization, dict[tuple[str, str], Mapping[str, str]]()
        for origin in place.origins:
            if origin.applied_by is None:
                continue
            try:
                build = await self._build(_Given(origin.applied_by, {}), tree, place)
            except WeirError:
                continue
            kustomization, more = given_by(kustomization, origin, RenderedSet.from_json(build.objects))
            variables.update(more)
        return _Given(kustomization, variables)

    async def _one(self, search: _Search) -> Changed:
        entry = search.entry
        good = await self._good(search, search.build, partial(self._is_good, search))
        if not good:
            for origin in search.place.origins:
                good += await self._good_at(origin, search)
        if len(good) == 1:
            return good[0]
        files_named = ", ".join(sorted({path for changed in good for path in changed}))
        if good:
            raise Unlocatable(f"{entry.rejected} can be put back in {len(good)} places ({files_named}): do it by hand")
        raise Unlocatable(_not_found(search.place, entry))

    async def _good_at(self, origin: Origin, search: _Search) -> list[Changed]:
        """The edits of an origin's files after which nothing but its variables differs there."""
        if origin.applied_by is None or not origin.names(search.entry):
            return []
        applier = _Given(origin.applied_by, {})
        before = await self._build(applier, search.tree, search.place)

        async def is_good(tree: Tree) -> bool:
            after = await self._build(applier, tree, search.place)
            if not await asyncio.to_thread(_differs_at, origin.key, before, after):
                return False
            given = await self._given(search.place, tree)
            return await self._is_good(replace(search, given=given), tree)

        return await self._good(search, before, is_good)

    async def _good(
        self, search: _Search, build: Rendered, is_good: Callable[[Tree], Awaitable[bool]]
    ) -> list[Changed]:
        """The edits of the files of a build that are right."""
        entry = search.entry
        files = {path: await asyncio.to_thread(search.tree.read, path) for path, _ in build.inputs.files}
        try:
            items = await asyncio.to_thread(proposals, files, entry.rejected, entry.restore)
        except TooManyPlacesError:
            raise Unlocatable(f"{entry.rejected} may stand in many places: put {entry.restore} back by hand") from None
        tried = [await _first_good(search.tree, variants, is_good) for variants in items]
        return [changed for changed in tried if changed is not None]

    async def _is_good(self, search: _Search, tree: Tree) -> bool:
        after = await self._build(search.given, tree, search.place)
        return await asyncio.to_thread(search.is_good, after)

    async def _spare_others(self, place: Place, tree: Tree, changed: Changed) -> None:
        """Raises Unlocatable if another Kustomization would be built differently, but for what has the variables."""
        later = OverlayTree(tree, changed)
        variables = (await self._given(place, tree)).variables, (await self._given(place, later)).variables
        for other in place.neighbours:
            known = variables if other.namespace == place.kustomization.namespace else ({}, {})
            try:
                before = await self._build(_Given(other, known[0]), tree, place)
            except WeirError:
                continue  # it is not applied now, and will not be changed by this
            read = {path for path, _ in before.inputs.files}
            if read.isdisjoint(changed) and known[0] == known[1]:
                continue
            after = await self._build(_Given(other, known[1]), later, place)
            if after.objects == before.objects or _holds_variables(place, other, before, after):
                continue
            where = ", ".join(sorted(read & changed.keys() or changed))
            raise Unlocatable(
                f"the reference stands in {where}, which {_named(other)} "
                f"uses as well: put it back by hand, or give each its own"
            )

    async def _build(self, given: _Given, tree: Tree, place: Place) -> Rendered:
        home = place.home(given.kustomization)
        return await self._builder.rebuild(given.kustomization, tree, home, given.variables)


async def _first_good(
    tree: Tree, variants: Iterable[Changed], is_good: Callable[[Tree], Awaitable[bool]]
) -> Changed | None:
    for changed in variants:
        try:
            if await is_good(OverlayTree(tree, changed)):
                return changed
        except WeirError:
            continue  # what cannot be built is not what was meant
    return None


def _not_found(place: Place, entry: Rejected) -> str:
    for origin in place.origins:
        name = origin.names(entry)
        if name and origin.problem:
            key = origin.key
            return (
                f"{entry.rejected} comes from the variable {name} of {key.kind} {key.namespace}/{key.name}, "
                f"{origin.problem}: put {entry.restore} back there by hand"
            )
    return (
        f"no single edit of the files of {_named(place.kustomization)} puts {entry.restore} back in "
        f"{entry.slot} alone: do it by hand"
    )


def _holds_variables(place: Place, other: Kustomization, before: Rendered, after: Rendered) -> bool:
    """Whether what differs in another Kustomization's build are the variables themselves."""
    name = (other.namespace, other.name)
    return any(
        origin.applied_by is not None
        and (origin.applied_by.namespace, origin.applied_by.name) == name
        and _differs_at(origin.key, before, after)
        for origin in place.origins
    )


def _differs_at(key: ObjectKey, before: Rendered, after: Rendered) -> bool:
    """Whether texts of one object differ, and nothing else."""
    old, new = RenderedSet.from_json(before.objects), RenderedSet.from_json(after.objects)
    found = _different(old, new)
    return {old.paired(key)} == found and all(_same_shape(_object(old, one), _object(new, one)) for one in found)


def _refuse_secrets(build: Rendered, entries: Sequence[Rejected]) -> None:
    texts = [text for entry in entries for text in (entry.rejected, entry.restore)]
    if any(value in text for value in build.exposed for text in texts):
        raise Unlocatable("the reference is encrypted in Git, and is not written in plain text")


def _named(kustomization: Kustomization) -> str:
    return f"Kustomization {kustomization.namespace}/{kustomization.name}"


def _has(build: Rendered, target: ObjectKey) -> bool:
    return RenderedSet.from_json(build.objects).get(*target) is not None


def _asks_for(build: Rendered, target: ObjectKey, entry: Rejected) -> bool:
    """Whether the build has the target (which may be gone) with the rejected reference in its slot."""
    return _slots(RenderedSet.from_json(build.objects), target).get(entry.slot) == entry.digest


def _restores(
    before: Rendered, after: Rendered, target: ObjectKey, entry: Rejected, pending: Sequence[Rejected]
) -> bool:
    """Whether the slot is as it was, and what else differs are other rejected slots and configs of the target."""
    old, new = RenderedSet.from_json(before.objects), RenderedSet.from_json(after.objects)
    slots, earlier = _slots(new, target), _slots(old, target)
    if slots.get(entry.slot) != entry.restore_digest or slots.keys() != earlier.keys():
        return False
    wanted = {one.slot: one.restore_digest for one in pending}
    for slot, meaning in slots.items():
        if meaning != earlier[slot] and wanted.get(slot) != meaning and not _is_config(meaning):
            return False
    return all(
        _is_part(key, target) and _same_shape(_object(old, key), _object(new, key)) for key in _different(old, new)
    )


def _is_part(key: ObjectKey, target: ObjectKey) -> bool:
    """What may change with a reference of the target: itself, and ConfigMaps and Secrets generated for it."""
    return key == target or key.kind in _GENERATED


def _object(rendered: RenderedSet, key: ObjectKey) -> object:
    entry = rendered.entries.get(key)
    return entry.object if entry is not None else None


def _same_shape(old: object, new: object) -> bool:
    """Whether only texts differ: no field came or went, whatever the reference that was put in may hold."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same_shape(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same_shape, old, new))
    return old == new or (isinstance(old, str) and isinstance(new, str))


def _slots(rendered: RenderedSet, target: ObjectKey) -> Mapping[str, str]:
    """By the names of slots as they are in the cluster: Knative names a container that has no name in Git."""
    found = {reference.slot: reference.digest for reference in references_in(rendered, target)}
    if target.group != knative.GROUP:
        return found
    return {slot.replace(_UNNAMED, _NAMED): meaning for slot, meaning in found.items()}


def _is_config(meaning: str) -> bool:
    """A generated ConfigMap has another name whenever its content changes."""
    return meaning.startswith("configmap://")


def _different(old: RenderedSet, new: RenderedSet) -> set[ObjectKey]:
    hashes = [{key: entry.hash for key, entry in rendered.entries.items()} for rendered in (old, new)]
    return {key for key in hashes[0].keys() | hashes[1].keys() if hashes[0].get(key) != hashes[1].get(key)}
