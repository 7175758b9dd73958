"""What the sources of a DataTrigger refer to now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from msgspec.structs import replace

from agent.api.datatrigger import DataTrigger, TriggerSlot
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.applied import AppliedObjects
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.sources import SourceKey, SourceRegistry
from agent.core.models import FileChange, Ref
from agent.core.models.extract.files import file_slots
from agent.core.models.extract.slot import MalformedError, Slot
from agent.core.outcome import RECONCILIATION_SUCCEEDED
from agent.core.trigger.selection import KUSTOMIZATION, REPOSITORY, Place, listens_to, object_name, selected
from agent.core.trigger.sent import Mark, sent, standing
from agent.core.trigger.sighting import Sighting
from agent.runtime.store import Store

Key = tuple[str, str]


class _Looked(NamedTuple):
    """Which versions of what Kustomizations have applied a trigger has seen, at which generation of its spec."""

    uid: str
    generation: int
    versions: dict[Key, int]


class _Sent(NamedTuple):
    """What policies have a trigger run: with what stood there before, and the slots that it has of that already.

    Where it is `open`, registries are asked whether some of it has other content at all.
    """

    new: Mapping[Mark, Ref | None]
    standing: Mapping[Mark, TriggerSlot]
    open: bool = False

    def of(self, places: Collection[Place]) -> list[Place]:
        """Those of the places that are sent, each with what it changed from."""
        found = []
        for place in places:
            mark = place.object, place.slot
            if mark in self.new:
                found.append(place._replace(old=self.new[mark], sent=True))
            elif (slot := self.standing.get(mark)) is not None and _refers(slot, place.ref):
                found.append(place._replace(old=place.ref, sent=True))
        return found


class Lookout:
    """Reads what Kustomizations have applied, and which files of GitRepositories differ from those looked at before.

    `meant` tells what the references of a Kustomization mean, by canonical form, as far as registries were asked.
    Policies may send what is in the `log` to a trigger. What a trigger has seen already is not read again, so that a
    commit costs what it changes.
    """

    def __init__(
        self,
        kustomizations: Store[Kustomization],
        repositories: Store[GitRepository],
        applied: AppliedObjects,
        registry: SourceRegistry,
        meant: Callable[[Key], Mapping[str, Ref]],
        *,
        log: ChangeLog,
    ) -> None:
        self._kustomizations = kustomizations
        self._repositories = repositories
        self._applied = applied
        self._registry = registry
        self._meant = meant
        self._log = log
        self._looked: dict[Key, _Looked] = {}

    def forget(self, key: Key) -> None:
        """The trigger is gone, or what it has seen did not get into its status: everything is looked at again."""
        self._looked.pop(key, None)

    def present(self, trigger: DataTrigger) -> frozenset[str]:
        """The sources of the namespace that the trigger listens to, as `Kind/name`."""
        found = {f"{source.KIND}/{source.name}" for source in self._sources(trigger, self._sent(trigger))}
        stores = ((KUSTOMIZATION, self._kustomizations), (REPOSITORY, self._repositories))
        unknown = tuple(f"{kind}/" for kind, store in stores if not store.synced.is_set())
        # Before a store is filled nothing in it counts as gone.
        return frozenset(found | {known.name for known in trigger.status.sources if known.name.startswith(unknown)})

    async def look(self, trigger: DataTrigger) -> list[Sighting]:
        """One sighting for each source with news that can be looked at now, once the log of changes is known.

        If these do not get into the status of the trigger, `forget` has to be called.
        """
        await self._log.restored.wait()
        found, versions = [], self._begin(trigger)
        revisions = {known.name: known.revision for known in trigger.status.sources}
        by_policies = self._sent(trigger)
        for source in self._sources(trigger, by_policies):
            seen = revisions.get(f"{source.KIND}/{source.name}", "")
            if isinstance(source, Kustomization):
                sighting = await self._objects(trigger, source, seen, versions, by_policies.get(source.name))
            else:
                sighting = await self._files(trigger, source, seen)
            if sighting is not None:
                found.append(sighting)
        return found

    def _begin(self, trigger: DataTrigger) -> dict[Key, int]:
        """The versions that the trigger has seen."""
        key, metadata = (trigger.namespace, trigger.name), trigger.metadata
        known = self._looked.get(key)
        asked = trigger.requested_at not in {None, trigger.status.last_handled_reconcile_at}
        if known is None or asked or (known.uid, known.generation) != (metadata.uid, metadata.generation):
            known = self._looked[key] = _Looked(metadata.uid, metadata.generation, {})
        return known.versions

    def _sources(self, trigger: DataTrigger, by_policies: Collection[str]) -> Iterator[Kustomization | GitRepository]:
        for kustomization in self._kustomizations.list(trigger.namespace):
            if _listens(trigger, kustomization) or kustomization.name in by_policies:
                yield kustomization
        for repository in self._repositories.list(trigger.namespace):
            if listens_to(trigger, REPOSITORY, repository.name, repository.metadata.labels):
                yield repository

    async def _objects(
        self,
        trigger: DataTrigger,
        kustomization: Kustomization,
        seen: str,
        versions: dict[Key, int],
        by_policies: _Sent | None,
    ) -> Sighting | None:
        key = (kustomization.namespace, kustomization.name)
        if by_policies is not None and by_policies.open:
            return None
        applied, version = self._applied.get(key), self._applied.version(key)
        if applied is None or (versions.get(key) == version and seen):
            return None
        if not _is_current(applied.revision, kustomization, seen):
            return None
        versions[key] = version
        meant = self._meant(key)
        places = [
            Place(
                object_name(reference.key.kind, reference.key.namespace, reference.key.name),
                reference.slot.name,
                reference.slot.kind,
                _meaning(reference.slot.ref, meant),
            )
            for reference in await self._applied.references(key, applied)
        ]
        ordered = by_policies.of(places) if by_policies is not None else []
        if _listens(trigger, kustomization):
            taken = {(place.object, place.slot) for place in ordered}
            ordered += [place for place in selected(trigger, places) if (place.object, place.slot) not in taken]
        return Sighting(f"{KUSTOMIZATION}/{kustomization.name}", applied.revision, ordered)

    def _sent(self, trigger: DataTrigger) -> dict[str, _Sent]:
        """What policies have the trigger run, by Kustomization of its namespace.

        Of what changed before there was a trigger, only a revision that still waits to be applied needs a run.
        """
        made, changed = trigger.metadata.creation_timestamp, dict[str, list[ChangeEntry]]()
        for entry in self._log.entries():
            namespace, _, name = entry.kustomization.partition("/")
            if namespace == trigger.namespace:
                changed.setdefault(name, []).append(entry)
        slots = [slot.source.partition("/")[2] for slot in trigger.status.slots if slot.sent]
        found = {}
        for name in {*changed, *slots}:
            kustomization, entries = self._kustomizations.get(trigger.namespace, name), changed.get(name, ())
            if kustomization is None:
                continue
            fresh = [entry for entry in entries if made is None or entry.at >= made or _waits(entry, kustomization)]
            new = sent((entry.record for entry in fresh), trigger)
            asked = any(self._log.is_asked(entry) and sent([entry.record], trigger) for entry in fresh)
            known = standing((entry.record for entry in entries), trigger, f"{KUSTOMIZATION}/{name}")
            if new or known:
                found[name] = _Sent(new, known, asked)
        return found

    async def _files(self, trigger: DataTrigger, repository: GitRepository, seen: str) -> Sighting | None:
        """The files that have changed since they were looked at; at the first look there is nothing to compare with.

        And what tags have changed since there is the trigger, with or without a commit.
        """
        snapshot = self._registry.get(SourceKey(REPOSITORY, repository.namespace, repository.name))
        if snapshot is None or snapshot.history is None:
            return None
        tagged = self._tagged(trigger, repository)
        if seen == snapshot.revision:
            return Sighting(f"{REPOSITORY}/{repository.name}", seen, tagged, whole=False) if tagged else None
        source = f"{REPOSITORY}/{repository.name}"
        changed = await snapshot.history.files_changed(seen) if seen else ()
        known: Collection[Mark] | None = None
        if changed is None:  # gone with a force-push: what was dealt with tells as much
            changed = await snapshot.history.files()
            known = {(slot.object, slot.slot) for slot in trigger.status.slots if slot.source == source}
        places = await asyncio.to_thread(lambda: [place for change in changed for place in _places(change)])
        if known is not None:
            places = [place for place in places if (place.object, place.slot) in known]
        return Sighting(source, snapshot.revision, [*selected(trigger, places), *tagged], whole=False)

    def _tagged(self, trigger: DataTrigger, repository: GitRepository) -> list[Place]:
        """What tags last made of each slot, of those that the trigger watches."""
        source, made = f"{REPOSITORY}/{repository.namespace}/{repository.name}", trigger.metadata.creation_timestamp
        found: dict[Mark, Place] = {}
        for entry in self._log.entries():
            record = entry.record
            if entry.source == source and record.cause == "tag-event" and (made is None or entry.at >= made):
                shown = object_name("File", "", record.object.name)
                found.setdefault((shown, record.slot), Place(shown, record.slot, record.kind, record.new, record.old))
        return selected(trigger, found.values())


def _listens(trigger: DataTrigger, kustomization: Kustomization) -> bool:
    return listens_to(trigger, KUSTOMIZATION, kustomization.name, kustomization.metadata.labels)


def _is_current(revision: str, kustomization: Kustomization, seen: str) -> bool:
    """False for a revision that is behind one with news that was looked at: to a replica that lags, old data is new."""
    attempted = kustomization.status.last_attempted_revision
    return revision == attempted or seen != attempted


def _refers(slot: TriggerSlot, ref: Ref | None) -> bool:
    """Whether this is what the slot has dealt with, or is about to."""
    pending = slot.pending.reference if slot.pending is not None else None
    return ref is not None and ref.canonical in {slot.reference, pending}


def _waits(entry: ChangeEntry, kustomization: Kustomization) -> bool:
    """Whether a change was seen and is not applied: commits that change nothing of it may have followed."""
    status = kustomization.status
    if status.last_applied_revision in {status.last_attempted_revision, entry.revision}:
        return False
    if entry.revision == status.last_attempted_revision:
        return True
    ended = [one.last_reconciled for one in status.history if one.last_reconciled_status == RECONCILIATION_SUCCEEDED]
    if not ended:
        return not status.last_applied_revision
    return entry.at >= max(ended) + timedelta(seconds=1)  # they are whole seconds


def _meaning(ref: Ref, meant: Mapping[str, Ref]) -> Ref:
    known = meant.get(ref.canonical)
    return replace(known, spelling=ref.spelling) if known is not None else ref


def _places(change: FileChange) -> Iterator[Place]:
    """What a file that differs refers to now, and did before. A file that cannot be read says nothing."""
    try:
        old = _slots(change, "old")
        new = _slots(change, "new")
    except MalformedError:
        return
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        some = after or before
        assert some is not None
        yield Place(
            object_name("File", "", change.path),
            name,
            some.kind,
            after.ref if after is not None else None,
            before.ref if before is not None else None,
        )


def _slots(change: FileChange, side: str) -> dict[str, Slot]:
    blob = change.old if side == "old" else change.new
    return {slot.name: slot for slot in file_slots(change.path, blob)} if blob is not None else {}
