"""Says what changed where people look: in the change log, the log, the metrics, and events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import get_args

import structlog

from agent.adapters.kube.events import MESSAGE_LIMIT
from agent.adapters.kube.live import LiveIndex
from agent.api.changepolicy import ChangePolicy, KindName
from agent.api.datatrigger import DataTrigger
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.kustomization.reporter import COMPONENT
from agent.controllers.sources import SOURCE_COMPONENT
from agent.core.models import ChangeRecord
from agent.core.models.ref import is_absent
from agent.core.objects import ObjectKey
from agent.core.policy.judging import LISTED, alerts, listed
from agent.core.trigger.selection import with_jobs
from agent.telemetry.events import EventRecorder, EventType, Involved, ObjectReference
from agent.telemetry.metrics import Metrics

EVENTS_PER_PASS = 50
SIGHTS = "ReferencesAdded"
"""The reason of the event about all references that a first sync finds."""
ALERT = "PolicyAlert"
"""The reason of the event about what policies ask to be told especially."""
_TURN = 50
_QUIET = frozenset({"scale", "traffic"})
_WARNINGS = frozenset({"parse-error", "floated", "pin-lost", "stale-serving"})
_RANKS = get_args(KindName)
_SUMMARY_LENGTH = MESSAGE_LIMIT - 100
"""Characters for the lines about references."""


class Teller:
    """Takes records; what is in the log already is not told again."""

    def __init__(
        self,
        log: ChangeLog,
        live: LiveIndex,
        events: EventRecorder,
        metrics: Metrics,
        *,
        triggers: Callable[[], Iterable[DataTrigger]],
    ) -> None:
        self._log = log
        self._live = live
        self._events = events
        self._metrics = metrics
        self._triggers = triggers
        self._queued: list[ChangeEntry] = []
        self._heard: list[ChangeEntry] = []
        self._settling: asyncio.Task[None] | None = None

    def add(
        self, records: Iterable[ChangeRecord], kustomization: Kustomization | None, source: str, revision: str
    ) -> tuple[ChangeEntry, ...]:
        """Into the change log, with the triggers that each would have start a run; returns what was not in it.

        Files come by no Kustomization; `source` is `Kind/namespace/name`.
        """
        return self._log.add(self._entries(records, kustomization, source, revision))

    def complete(
        self,
        entries: Sequence[ChangeEntry],
        records: Iterable[ChangeRecord],
        kustomization: Kustomization | None,
        source: str,
        revision: str,
    ) -> tuple[ChangeEntry, ...]:
        """Put records, of which more is known, in the place of entries of the log; returns what was not in it."""
        places = {(entry.record.object, entry.record.slot) for entry in entries}
        known = [record for record in records if (record.object, record.slot) in places]
        return self._log.complete(entries, self._entries(known, kustomization, source, revision))

    def _entries(
        self, records: Iterable[ChangeRecord], kustomization: Kustomization | None, source: str, revision: str
    ) -> Iterator[ChangeEntry]:
        if kustomization is not None:
            namespace, name, labels = kustomization.namespace, kustomization.name, kustomization.metadata.labels
        else:
            _, namespace, name = source.split("/")
            labels = {}
        by = f"{namespace}/{name}" if kustomization is not None else ""
        now, triggers = datetime.now(UTC), list(self._triggers())
        named = (with_jobs(record, namespace, name, labels, triggers) for record in records)
        for record in named:
            yield ChangeEntry(
                at=now, kustomization=by, source=source, revision=revision, text=record.describe(), record=record
            )

    async def keep(self, fresh: Sequence[ChangeEntry], for_objects: Sequence[ChangeEntry] = ()) -> None:
        """Have entries outlive the process that are told of later; some of them also on their objects."""
        await self._log.keep(fresh, for_objects)

    async def tell(self, fresh: Sequence[ChangeEntry], for_objects: Sequence[ChangeEntry] = ()) -> None:
        """In log and metrics, after their events are queued: once those are delivered, that is kept as well.

        Those `for_objects` have to be told on their objects, afterwards. The first look at a large application finds
        hundreds of changes: others get their turn between.
        """
        log = structlog.get_logger()
        await self._log.keep(fresh, for_objects)
        for position, entry in enumerate(fresh, start=1):
            record = entry.record
            self._metrics.changes.labels(record.kind, record.op, record.action).inc()
            log.info(
                entry.text,
                changeId=record.id,
                changeKind=record.kind,
                op=record.op,
                action=record.action,
                revision=entry.revision,
            )
            if position % _TURN == 0:
                await asyncio.sleep(0)
        self._queued += fresh
        self._settle_soon()

    def on_objects(self, kustomization: Kustomization, entries: Sequence[ChangeEntry]) -> None:
        """An event on the object of each record. Once they are delivered, it is kept that this is done."""
        for entry in entries:
            self._on_object(kustomization, entry)
        self.pass_over(entries)

    def pass_over(self, entries: Sequence[ChangeEntry]) -> None:
        """Nothing more is told of these on their objects, by no process that comes after this one either."""
        self._heard += entries
        self._settle_soon()

    async def settled(self, within: float) -> None:
        """Wait until it is known that the events of what was told are delivered, for at most so many seconds."""
        if self._settling is not None:
            await asyncio.wait({self._settling}, timeout=within)

    def _settle_soon(self) -> None:
        if (self._queued or self._heard) and (self._settling is None or self._settling.done()):
            self._settling = asyncio.create_task(self._settle(), name="events of changes")

    async def _settle(self) -> None:
        while self._queued or self._heard:
            queued, self._queued = self._queued, []
            heard, self._heard = self._heard, []
            await self._events.delivered()
            await self._log.told(queued, heard)

    def event(self, involved: Involved, entry: ChangeEntry) -> None:
        """An event about a source or a Kustomization, or whatever else is involved."""
        record = entry.record
        reason = "".join(part.capitalize() for part in f"{record.kind}-{record.op}".split("-"))
        kind: EventType = "Warning" if record.op in _WARNINGS or is_absent(record.new) else "Normal"
        self._event(involved, kind, reason, entry.text, (entry,))

    def sights(self, involved: Involved, entries: Iterable[ChangeEntry]) -> None:
        """One event about what a first sync finds; see `is_sight`."""
        seen = sorted((entry for entry in _heard(entries) if is_sight(entry)), key=_rank)
        if len(seen) == 1:
            self.event(involved, seen[0])
        elif seen:
            self._event(involved, "Normal", SIGHTS, *_summary(seen))

    def alert(self, involved: Involved, entries: Iterable[ChangeEntry], policies: Sequence[ChangePolicy]) -> None:
        """One event about what rules of the policies have as an alert."""
        warned = [(line, entry) for entry in entries for line in alerts(policies, entry.record)]
        if not warned:
            return
        text = listed([line for line, _ in warned])
        named = {entry.record.id: entry for _, entry in warned[:LISTED]}
        structlog.get_logger().info(text, reason=ALERT, revision=warned[0][1].revision)
        self._event(involved, "Warning", ALERT, text, tuple(named.values()))

    def _event(
        self, involved: Involved, kind: EventType, reason: str, text: str, entries: Sequence[ChangeEntry]
    ) -> None:
        about_source = involved.reference.group == GitRepository.GROUP
        group = GitRepository.GROUP if about_source else Kustomization.GROUP
        component = SOURCE_COMPONENT if about_source else COMPONENT
        ids = ",".join(entry.record.id for entry in entries)
        annotations = {"weir.dev/change-id": ids, f"{group}/revision": entries[0].revision}
        self._events.event(involved, kind, reason, text, component=component, annotations=annotations)

    def _on_object(self, kustomization: Kustomization, entry: ChangeEntry) -> None:
        """Those on another cluster get none."""
        target = entry.record.object
        # as it was last seen: its watch may be cut, or may not be there at all, and whoever applied it has its uid
        uid = self._live.uid(ObjectKey(target.group, target.kind, target.namespace, target.name))
        if uid is None or kustomization.spec.kube_config is not None:
            return
        api_version = f"{target.group}/{target.version}" if target.group else target.version
        reference = ObjectReference(
            api_version=api_version, kind=target.kind, namespace=target.namespace, name=target.name, uid=uid
        )
        self.event(Involved(reference), entry)


def worth_an_event(entries: Iterable[ChangeEntry]) -> list[ChangeEntry]:
    """What people want to hear of, of a number that they can bear."""
    return _heard(entries)[:EVENTS_PER_PASS]


def is_sight(entry: ChangeEntry) -> bool:
    """True of a reference that a first sync finds, and that is no change of anything; False if it is a warning."""
    return entry.record.op == "added" and not is_absent(entry.record.new)


def _heard(entries: Iterable[ChangeEntry]) -> list[ChangeEntry]:
    return [entry for entry in entries if entry.record.kind not in _QUIET]


def _rank(entry: ChangeEntry) -> int:
    """Models before what is around them: not all may have room in a text. Those of a kind stay in their order."""
    return _RANKS.index(entry.record.kind)


def _summary(entries: Sequence[ChangeEntry]) -> tuple[str, Sequence[ChangeEntry]]:
    """A text about entries that has room in an event, and those of them that it names: one at least."""
    lines = [f"First sync finds {len(entries)} references:"]
    room = _SUMMARY_LENGTH
    for entry in entries:
        room -= len(entry.text) + 1
        if room < 0 and lines[1:]:
            break
        lines.append(entry.text)
    named = entries[: len(lines) - 1]
    if len(named) < len(entries):
        lines.append(f"and {len(entries) - len(named)} more, which weir changes lists")
    return "\n".join(lines), named


def source_name(kustomization: Kustomization) -> str:
    """How entries name the source of a Kustomization."""
    reference = kustomization.spec.source_ref
    return f"{reference.kind}/{kustomization.source_namespace}/{reference.name}"
