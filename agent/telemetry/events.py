"""Events, delivered off the reconcile path: as core/v1 Events, and to a notification-controller.

A reconcile hands an event over and goes on. Each outlet has a task of its own that delivers in order, so that one
which hangs does not hold up the other. A first sync leaves thousands of events to be written, so while the API server
has something more urgent to do, no new one is begun, for at most a quarter of the time. An event that cannot be
delivered is dropped and counted: it is a message to people, the truth is in the status.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec
from prometheus_client import Counter

from agent.api.meta import Resource
from agent.telemetry.logging import named, object_context, trace
from agent.telemetry.metrics import Metrics

EventType = Literal["Normal", "Warning", "Trace"]
"""Traces become Normal core Events, and are never sent to a notification-controller."""
METADATA_PREFIX = "event.toolkit.fluxcd.io/"
"""Annotations of an object that all events about it carry."""
_FLUX_GROUPS = ".toolkit.fluxcd.io"
_BACKLOG = 10_000
_PRESSING = _BACKLOG // 2
"""So many events wait for nothing: they are about to be too many."""


class ObjectReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The object an event is about, as in core/v1 `involvedObject`."""

    api_version: str
    kind: str
    namespace: str = ""
    name: str
    uid: str = ""
    resource_version: str = ""

    @property
    def group(self) -> str:
        """The API group, "" for the core's."""
        return self.api_version.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Involved:
    """What an event is about, with the object's annotations that go into its metadata."""

    reference: ObjectReference
    metadata: Mapping[str, str] = field(default_factory=dict)


def reference_to(resource: Resource) -> Involved:
    """An object of one of our kinds as the one that an event is about."""
    metadata = resource.metadata
    return Involved(
        ObjectReference(
            api_version=resource.API_VERSION,
            kind=resource.KIND,
            namespace=resource.namespace,
            name=resource.name,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        ),
        {key: value for key, value in metadata.annotations.items() if key.startswith(METADATA_PREFIX)},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `component` is the reporting controller's name as Flux or Flagger users know it."""

    involved: ObjectReference
    event_type: EventType
    reason: str
    message: str
    component: str
    metadata: Mapping[str, str]
    at: datetime


class EventWriter(Protocol):
    """What writes an Event object; the Kubernetes client does."""

    async def create_event(
        self,
        regarding: Mapping[str, str],
        *,
        event_type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        component: str,
        annotations: Mapping[str, str] | None = None,
    ) -> object:
        """Create the event. May raise any WeirError."""


class EventSink(Protocol):
    """A notification-controller."""

    async def post(self, event: Event) -> None:
        """Deliver the event. Raises OperationError when it could not be, after all attempts."""


async def _at_once() -> None:
    """Nothing is more urgent."""


class EventRecorder:
    """Accepts events at once, delivers them from `run`.

    What is queued when `run` is cancelled is still delivered, within `drain` seconds. `calm` waits until the API server
    has nothing more urgent to do.
    """

    def __init__(
        self,
        writer: EventWriter,
        metrics: Metrics,
        *,
        sink: EventSink | None = None,
        drain: float = 5.0,
        calm: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._writer = writer
        self._core = _Outlet("event was not written", self._write, metrics.events_dropped, drain, calm)
        self._sink = (
            _Outlet("unable to record event", sink.post, metrics.notifications_dropped, drain) if sink else None
        )

    def event(
        self,
        involved: Involved,
        kind: EventType,
        reason: str,
        message: str,
        *,
        component: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Queue an event. `component` is the reporting controller's name as Flux or Flagger users know it."""
        event = Event(
            involved=involved.reference,
            event_type=kind,
            reason=reason,
            message=message,
            component=component,
            metadata={**(annotations or {}), **involved.metadata},
            at=datetime.now(UTC),
        )
        trace(message, **_about(event.involved), reason=reason, annotations=event.metadata)
        self._core.put(event)
        if self._sink is not None and kind != "Trace" and _for_flux(event.involved):
            self._sink.put(event)

    async def delivered(self) -> None:
        """Wait until all events that were queued before are delivered, or dropped since they cannot be."""
        for outlet in filter(None, (self._core, self._sink)):
            await outlet.passed()

    async def run(self) -> None:
        """Deliver events until cancelled."""
        async with asyncio.TaskGroup() as group:
            for outlet in filter(None, (self._core, self._sink)):
                group.create_task(outlet.run())

    async def _write(self, event: Event) -> None:
        await self._writer.create_event(
            msgspec.to_builtins(event.involved),
            event_type="Warning" if event.event_type == "Warning" else "Normal",
            reason=event.reason,
            message=event.message,
            component=event.component,
            annotations=event.metadata,
        )


class _Outlet:
    """A bounded queue and the one task that empties it."""

    def __init__(
        self,
        complaint: str,
        deliver: Callable[[Event], Awaitable[None]],
        dropped: Counter,
        drain: float,
        calm: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._complaint = complaint
        self._deliver = deliver
        self._dropped = dropped
        self._drain = drain
        self._calm = calm
        self._made_up = 0.0
        self._queue: asyncio.Queue[Event | asyncio.Event] = asyncio.Queue(_BACKLOG)

    def put(self, event: Event) -> None:
        """Queue the event, or drop it if far too many wait."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped.labels("backlog").inc()

    async def passed(self) -> None:
        """Wait for what is in the queue now."""
        reached = asyncio.Event()
        await self._queue.put(reached)
        await reached.wait()

    async def run(self) -> None:
        """Deliver until cancelled; then what is left, while the time lasts."""
        current: asyncio.Task[None] | None = None
        try:
            while True:
                event = await self._queue.get()
                current = asyncio.create_task(self._in_turn(event))
                await asyncio.shield(current)  # what is on its way arrives once, also if the end comes meanwhile
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain):
                    if current is not None:
                        await current
                    while not self._queue.empty():
                        await self._one(self._queue.get_nowait())
            raise

    async def _in_turn(self, event: Event | asyncio.Event) -> None:
        """Deliver when it is calm. After a wait for that, there is none for three times as long."""
        began = asyncio.get_running_loop().time()
        if began >= self._made_up and self._queue.qsize() < _PRESSING:
            await self._calm()
            now = asyncio.get_running_loop().time()
            self._made_up = now + 3 * (now - began)
        await self._one(event)

    async def _one(self, event: Event | asyncio.Event) -> None:
        if isinstance(event, asyncio.Event):
            event.set()
            return
        try:
            await self._deliver(event)
        except Exception as error:  # noqa: BLE001 - an event is never worth more than the loop that delivers it
            self._dropped.labels(type(error).__name__).inc()
            named("events").info(self._complaint, **_about(event.involved), error=error, reason=event.reason)


def _about(involved: ObjectReference) -> dict[str, object]:
    return object_context(involved.kind, involved.group, involved.namespace, involved.name)


def _for_flux(involved: ObjectReference) -> bool:
    """A notification-controller knows Flux's kinds, all of which have a namespace; Canaries have hooks of their own."""
    return involved.group.endswith(_FLUX_GROUPS) and bool(involved.namespace)
