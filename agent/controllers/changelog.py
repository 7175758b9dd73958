"""The record of what changed in models and data: bounded, newest last, readable by target and by Kustomization."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from agent.adapters.journal import Journal
from agent.controllers.keptregistries import KeptArtifact, KeptRegistries
from agent.controllers.owed import Mark, Owed, bounded
from agent.core.models import ChangeRecord, Ref
from agent.core.models.meanings import Meanings, Pods, meanings
from agent.core.models.ref import is_absent
from agent.core.objects import ObjectKey
from agent.core.rollout.view import NamedChange

LIMIT = 1000
SLOTS = 20_000
"""Slots whose earlier references are remembered; the ones seen first go first."""
_REPEATABLE = frozenset({"floated", "pin-lost", "stale-serving"})
_ROLLED_OUT = frozenset({"rollout", "hot-reload", "recreate"})


class ChangeEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A change record, when it was seen and by which revision of which source it came."""

    at: datetime
    kustomization: str
    source: str
    revision: str
    text: str
    record: ChangeRecord


class _Marked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the journal: entries above it in whose place others have come, those about to be told, those told.

    Objects are told for themselves, once they are applied: what they are to hear, and have heard.
    """

    withdrawn: tuple[Mark, ...] = ()
    untold: tuple[Mark, ...] = ()
    told: tuple[Mark, ...] = ()
    unheard: tuple[Mark, ...] = ()
    heard: tuple[Mark, ...] = ()


class _Read(NamedTuple):
    """What lines say: entries, and the marks of those that were replaced, and of whom was, or was not, told what.

    And what registries in Git tags were known to hold.
    """

    entries: list[ChangeEntry]
    marked: _Marked
    registries: list[KeptArtifact]


class ChangeLog:
    """The last changes, and what each slot referred to before. With a `journal` they outlive the process.

    Where somebody keeps them elsewhere as well, `restored` is set once that is read, and `news` when there is more.
    What is put into `registries` is written together with the entries that are kept, or told, next.
    """

    def __init__(self, limit: int = LIMIT, *, slots: int = SLOTS, journal: Journal | None = None) -> None:
        self._entries: deque[ChangeEntry] = deque(maxlen=limit)
        self._ids: set[Mark] = set()
        self._slots = slots
        self._served: dict[tuple[ObjectKey, str], dict[str, str]] = {}
        self._journal = journal
        self._withdrawn: list[Mark] = []
        self._asked: set[Mark] = set()
        self._superseded: dict[Mark, None] = {}
        self._owners, self._objects = Owed(limit), Owed(limit)
        self.registries = KeptRegistries()
        self.restored = asyncio.Event()
        self.restored.set()
        self.news = asyncio.Event()
        if journal is not None:
            self._take_in(_decoded(journal.read()))

    async def keep(self, entries: Sequence[ChangeEntry], for_objects: Iterable[ChangeEntry] = ()) -> None:
        """Write entries of this log where they outlive the process, as those that are about to be told.

        Those `for_objects` are to be told on their objects besides, once these are applied.
        """
        if entries:
            self.news.set()
        untold, unheard = _marks(entries), _marks(for_objects)
        self._owners.begin(untold)
        self._objects.begin(unheard)
        withdrawn, self._withdrawn = self._withdrawn, []
        await self._append(_Marked(withdrawn=tuple(withdrawn), untold=untold, unheard=unheard), entries)

    async def told(self, entries: Iterable[ChangeEntry], on_objects: Iterable[ChangeEntry] = ()) -> None:
        """Somebody was told of entries, or their objects were: no process that comes after this one has to do it."""
        told, heard = _marks(entries), _marks(on_objects)
        if self._owners.end(told) | self._objects.end(heard):
            self.news.set()  # an agent that has no more than that would tell of them again, however much later
        await self._append(_Marked(told=told, heard=heard))

    def left(self) -> tuple[ChangeEntry, ...]:
        """Entries that another process has kept, and has ended before it told of them, oldest first; only once."""
        return self._marked(self._owners.left())

    def left_for_objects(self) -> tuple[ChangeEntry, ...]:
        """Those that it has not told on their objects, oldest first; only once."""
        return self._marked(self._objects.left())

    def _marked(self, marks: Collection[Mark]) -> tuple[ChangeEntry, ...]:
        if not marks:
            return ()
        return tuple(entry for entry in self._entries if _mark(entry) in marks)

    async def _append(self, marked: _Marked, entries: Sequence[ChangeEntry] = ()) -> None:
        lines = [msgspec.json.encode(marked)] if marked != _Marked() else []
        lines += [msgspec.json.encode(entry) for entry in entries]
        if registries := self.registries.drained():
            self.news.set()
            lines += [msgspec.json.encode(one) for one in registries]
        if self._journal is not None and lines:
            await asyncio.to_thread(self._journal.append, lines)

    def add(self, entries: Iterable[ChangeEntry]) -> tuple[ChangeEntry, ...]:
        """Append; returns those that were not in the log yet (same record at the same revision).

        Those in whose place others have come count as being in the log: they are found again until they are applied.
        """
        fresh = []
        for entry in entries:
            mark = _mark(entry)
            if mark in self._ids or mark in self._superseded:
                continue
            if len(self._entries) == self._entries.maxlen:
                oldest = self._entries[0]
                self._ids.discard(_mark(oldest))
            self._ids.add(mark)
            self._entries.append(entry)
            self._remember(entry.record)
            fresh.append(entry)
        return tuple(fresh)

    def complete(self, entries: Iterable[ChangeEntry], by: Iterable[ChangeEntry]) -> tuple[ChangeEntry, ...]:
        """Put others, each about the same slot, in the place of entries of which more has become known.

        They are as old as what they stand for, wherever others have come since. Those that nothing stands for are taken
        out. Returns those that were not in the log; one that is the same record as an entry counts as new to it.
        """
        entries = tuple(entries)
        places = {(entry.record.object, entry.record.slot): entry for entry in entries}
        gone = {mark for entry in entries if (mark := _mark(entry)) in self._ids}
        self._ids -= gone
        instead: dict[Mark, ChangeEntry] = {}
        fresh = []
        for entry in by:
            text = places[entry.record.object, entry.record.slot]
            entry = msgspec.structs.replace(entry, at=text.at)  # noqa: PLW2901 - the entry, with its time
            if _mark(entry) not in self._ids:
                instead[_mark(text)] = entry
                fresh.append(entry)
        kept = (instead.get(_mark(entry)) if _mark(entry) in gone else entry for entry in self._entries)
        self._entries = deque((entry for entry in kept if entry is not None), maxlen=self._entries.maxlen)
        self._ids = {_mark(entry) for entry in self._entries}
        self._withdrawn += sorted(gone)
        superseded = sorted(gone - {_mark(entry) for entry in fresh})
        self._supersede(superseded)
        for owed in (self._owners, self._objects):
            owed.end(superseded)  # nobody hears of these
        return tuple(fresh)

    def ask(self, entries: Iterable[ChangeEntry], for_objects: Iterable[ChangeEntry] = ()) -> None:
        """Registries may say more of these entries; until then they are what their text says, and nobody is told."""
        marks = _marks(entries)
        self._asked.update(marks)
        self._owners.begin(marks)
        self._objects.begin(_marks(for_objects))

    def answered(self, entries: Iterable[ChangeEntry]) -> None:
        """Nobody is asked about these entries any more."""
        self._asked.difference_update(map(_mark, entries))

    def is_asked(self, entry: ChangeEntry) -> bool:
        """Whether an entry may yet turn out to be about something else, or nothing."""
        return _mark(entry) in self._asked

    def lines(self) -> list[bytes]:
        """All entries as JSON, oldest first, between the marks of those in whose place some of them have come and of
        those untold.

        What registries hold stands last: where there is no room for all, the first lines go.

        They are for who keeps them elsewhere: that one of those untold is told later will be `news`.
        """
        instead = _Marked(withdrawn=tuple(self._superseded))
        owed = _Marked(untold=self._owners.written(), unheard=self._objects.written())
        lines = [instead, *self._entries, owed, *self.registries.all()]
        return [msgspec.json.encode(line) for line in lines if line != _Marked()]

    def restore(self, lines: Iterable[bytes]) -> None:
        """Take in what another process has kept elsewhere; what is known of both is known once.

        What it has, and does not owe, was told, by it or by one before it, however this one has left it.
        """
        read = _decoded(lines)
        for owed, due in ((self._owners, read.marked.untold), (self._objects, read.marked.unheard)):
            owed.settle({_mark(entry) for entry in read.entries}.difference(due))
            owed.read(due)
        if self._owners.is_ahead() or self._objects.is_ahead():
            self.news.set()
        self._take_in(read)

    def _take_in(self, read: _Read) -> None:
        self.registries.restore(read.registries)
        known = {_mark(entry): entry for entry in (*read.entries, *self._entries)}
        self._supersede(read.marked.withdrawn)
        self._owners.take_in(read.marked.untold, read.marked.told)
        self._objects.take_in(read.marked.unheard, read.marked.heard)
        self._entries.clear()
        self._ids.clear()
        self._served.clear()
        self.add(sorted(known.values(), key=lambda entry: entry.at))

    def _supersede(self, marks: Iterable[Mark]) -> None:
        bounded(self._superseded, marks, self._entries.maxlen or 0)

    def entries(self) -> tuple[ChangeEntry, ...]:
        """All entries, newest first."""
        return tuple(reversed(self._entries))

    def files(self, source: str) -> dict[tuple[str, str], Ref]:
        """What files of a source (`Kind/namespace/name`) were last known to refer to, by path and slot."""
        found: dict[tuple[str, str], Ref | None] = {}
        for entry in self.entries():
            if entry.source == source and entry.record.object.kind == "File":
                found.setdefault((entry.record.object.name, entry.record.slot), entry.record.new)
        return {place: ref for place, ref in found.items() if ref is not None}

    def for_object(self, kind: str, namespace: str, name: str) -> tuple[ChangeEntry, ...]:
        """Entries about one object, newest first."""
        wanted = (kind, namespace, name)
        return tuple(
            entry
            for entry in self.entries()
            if (entry.record.object.kind, entry.record.object.namespace, entry.record.object.name) == wanted
        )

    def for_target(self, kind: str, namespace: str, name: str) -> Sequence[NamedChange]:
        """What changed on a rollout's target, newest first: references that change what is served. Only the last change
        of a slot has a size: nothing else of it is loaded."""
        sized: set[str] = set()
        found = []
        for entry in self.for_object(kind, namespace, name):
            if entry.record.action in _ROLLED_OUT:
                size = 0 if entry.record.slot in sized else _bytes(entry.record.new)
                sized.add(entry.record.slot)
                found.append(NamedChange(text=entry.text, at=entry.at, bytes=size))
        return found

    async def ready(self) -> None:
        """Until what was kept elsewhere is read."""
        await self.restored.wait()

    def meanings(self, kind: str, namespace: str, name: str, pods: Pods) -> Meanings:
        """What the references of one object are known to mean in its pods."""
        return meanings(((entry.record, entry.at) for entry in self.for_object(kind, namespace, name)), pods)

    def earlier(self, key: ObjectKey, slot: str, reference: Ref | None) -> str | None:
        """The earlier revision at which the slot had this reference, None if it never had."""
        if reference is None:
            return None
        return self._served.get((key, slot), {}).get(reference.canonical)

    def known(self, kustomization: str) -> dict[str, Ref]:
        """What references of a Kustomization were last found to mean, by canonical text."""
        found: dict[str, Ref] = {}
        for entry in self._entries:
            ref = entry.record.new
            if ref is None or entry.kustomization != kustomization:
                continue
            if is_absent(ref):  # told as such, and nothing more is to be told until it is back
                found.pop(ref.canonical, None)
            elif _is_known(ref):
                found[ref.canonical] = ref
        return found

    def _remember(self, record: ChangeRecord) -> None:
        if record.old is None or not record.commit.old:
            return
        target = record.object
        key = ObjectKey(target.group, target.kind, target.namespace, target.name)
        served = self._served.setdefault((key, record.slot), {})
        served.setdefault(record.old.canonical, record.commit.old)
        if len(served) > (self._entries.maxlen or 0):
            del served[next(iter(served))]  # what the slot served first: no process after this one would know it either
        if len(self._served) > self._slots:
            del self._served[next(iter(self._served))]  # the slot that was seen first


def _decoded(lines: Iterable[bytes]) -> _Read:
    """What can be read. The last line may be cut, and another version may have written differently."""
    found: dict[Mark, ChangeEntry] = {}
    gone: dict[Mark, None] = {}
    seen = []
    registries: list[KeptArtifact] = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            entry = msgspec.json.decode(line, type=ChangeEntry)
            found.setdefault(_mark(entry), entry)
            gone.pop(_mark(entry), None)
            continue
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            registries.append(msgspec.json.decode(line, type=KeptArtifact))
            continue
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            marked = msgspec.json.decode(line, type=_Marked)
            for mark in marked.withdrawn:
                found.pop(mark, None)
                gone[mark] = None
            seen.append(marked)
    untold, told, unheard, heard = (
        tuple(mark for marked in seen for mark in getattr(marked, field))
        for field in ("untold", "told", "unheard", "heard")
    )
    return _Read(list(found.values()), _Marked(tuple(gone), untold, told, unheard, heard), registries)


def _is_known(ref: Ref) -> bool:
    """Whether it is known by a registry's word what the reference means: texts of pins alone tell nothing of that."""
    told = ref.pinned is False or (ref.identity is not None and ref.identity.resolved_at is not None)
    version = ref.identity.version if ref.identity else None
    return told and not ref.unresolved and (ref.digest or ref.size or version) is not None


def _bytes(reference: Ref | None) -> int:
    size = reference.size if reference is not None else None
    return (size.bytes or 0) if size is not None else 0


def _marks(entries: Iterable[ChangeEntry]) -> tuple[Mark, ...]:
    return tuple(_mark(entry) for entry in entries)


def _mark(entry: ChangeEntry) -> Mark:
    """What makes an entry the same as another. A tag may move there and back, and there again, at one revision."""
    repeatable = entry.record.op in _REPEATABLE or entry.record.cause == "tag-event"
    return entry.record.id, f"{entry.revision} {entry.at.isoformat()}" if repeatable else entry.revision
