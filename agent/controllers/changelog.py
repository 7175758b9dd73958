"""The record of what changed in models and data: bounded, newest last, readable by target and by Kustomization."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from agent.adapters.journal import Journal
from agent.core.models import ChangeRecord, Ref
from agent.core.objects import ObjectKey
from agent.core.rollout.view import NamedChange

LIMIT = 1000
SLOTS = 20_000
"""Slots whose earlier references are remembered; the ones seen first go first."""
_ROLLED_OUT = frozenset({"rollout", "hot-reload", "recreate"})


class ChangeEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A change record, when it was seen and by which revision of which source it came."""

    at: datetime
    kustomization: str
    source: str
    revision: str
    text: str
    record: ChangeRecord


class _Withdrawn(msgspec.Struct, frozen=True):
    """A line of the journal: entries above it (record id and revision) in whose place others have come."""

    withdrawn: tuple[tuple[str, str], ...]


class ChangeLog:
    """The last changes, and what each slot referred to before. With a `journal` they outlive the process.

    Where somebody keeps them elsewhere as well, `restored` is set once that is read, and `news` when there is more.
    """

    def __init__(self, limit: int = LIMIT, *, slots: int = SLOTS, journal: Journal | None = None) -> None:
        self._entries: deque[ChangeEntry] = deque(maxlen=limit)
        self._ids: set[tuple[str, str]] = set()
        self._slots = slots
        self._served: dict[tuple[ObjectKey, str], dict[str, str]] = {}
        self._journal = journal
        self._withdrawn: list[tuple[str, str]] = []
        self.restored = asyncio.Event()
        self.restored.set()
        self.news = asyncio.Event()
        if journal is not None:
            self.add(_decoded(journal.read()))

    async def keep(self, entries: Sequence[ChangeEntry]) -> None:
        """Write entries of this log where they outlive the process."""
        if entries:
            self.news.set()
        withdrawn, self._withdrawn = self._withdrawn, []
        lines = [msgspec.json.encode(_Withdrawn(tuple(withdrawn)))] if withdrawn else []
        lines += [msgspec.json.encode(entry) for entry in entries]
        if self._journal is not None and lines:
            await asyncio.to_thread(self._journal.append, lines)

    def add(self, entries: Iterable[ChangeEntry]) -> tuple[ChangeEntry, ...]:
        """Append; returns those that were not in the log yet (same record at the same revision)."""
        fresh = []
        for entry in entries:
            mark = _mark(entry)
            if mark in self._ids:
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
        """Put others in the place of entries, of which more has become known; returns those that were not in the log.

        One that is the same record as an entry takes its place, and counts as new to the log.
        """
        marks = {_mark(entry) for entry in entries} & self._ids
        self._withdrawn += sorted(marks)
        self._ids -= marks
        kept = [entry for entry in self._entries if _mark(entry) not in marks]
        self._entries.clear()
        self._entries.extend(kept)
        return self.add(by)

    def lines(self) -> list[bytes]:
        """All entries as JSON, oldest first."""
        return [msgspec.json.encode(entry) for entry in self._entries]

    def restore(self, lines: Iterable[bytes]) -> None:
        """Take in what another process has kept; what is known of both is known once."""
        known = {_mark(entry): entry for entry in (*_decoded(lines), *self._entries)}
        self._entries.clear()
        self._ids.clear()
        self._served.clear()
        self.add(sorted(known.values(), key=lambda entry: entry.at))

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
        """What changed on a rollout's target, newest first: references that change what is served."""
        return [
            NamedChange(text=entry.text, at=entry.at, bytes=_bytes(entry.record.new))
            for entry in self.for_object(kind, namespace, name)
            if entry.record.action in _ROLLED_OUT
        ]

    def earlier(self, key: ObjectKey, slot: str, reference: Ref | None) -> str | None:
        """The earlier revision at which the slot had this reference, None if it never had."""
        if reference is None:
            return None
        return self._served.get((key, slot), {}).get(reference.canonical)

    def known(self, kustomization: str) -> dict[str, Ref]:
        """What references of a Kustomization were last found to mean, by canonical text."""
        refs = [entry.record.new for entry in self._entries if entry.kustomization == kustomization]
        return {ref.canonical: ref for ref in refs if ref and ref.digest and ref.pinned is False and not ref.unresolved}

    def _remember(self, record: ChangeRecord) -> None:
        if record.old is None or not record.commit.old:
            return
        target = record.object
        key = ObjectKey(target.group, target.kind, target.namespace, target.name)
        self._served.setdefault((key, record.slot), {}).setdefault(record.old.canonical, record.commit.old)
        if len(self._served) > self._slots:
            del self._served[next(iter(self._served))]  # the slot that was seen first


def _decoded(lines: Iterable[bytes]) -> Iterator[ChangeEntry]:
    """The entries that can be read: the last line may be cut, and another version may have written differently."""
    found: dict[tuple[str, str], ChangeEntry] = {}
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            entry = msgspec.json.decode(line, type=ChangeEntry)
            found.setdefault(_mark(entry), entry)
            continue
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            for mark in msgspec.json.decode(line, type=_Withdrawn).withdrawn:
                found.pop(mark, None)
    yield from found.values()


def _bytes(reference: Ref | None) -> int:
    size = reference.size if reference is not None else None
    return (size.bytes or 0) if size is not None else 0


def _mark(entry: ChangeEntry) -> tuple[str, str]:
    """What makes an entry the same as another. A tag may move there and back, and there again, at one revision."""
    repeatable = entry.record.op in {"floated", "pin-lost", "stale-serving"}
    return entry.record.id, f"{entry.revision} {entry.at.isoformat()}" if repeatable else entry.revision
