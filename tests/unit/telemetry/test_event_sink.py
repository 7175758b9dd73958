"""Events to a notification-controller: the protocol, and what happens when the other side is slow, broken or away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from agent.adapters.eventsink import MESSAGE_LIMIT, NotificationSink, SinkError
from agent.telemetry.events import Event, EventRecorder, EventType, Involved, ObjectReference
from agent.telemetry.metrics import Metrics

APP = ObjectReference(
    api_version="kustomize.toolkit.fluxcd.io/v1",
    kind="Kustomization",
    namespace="apps",
    name="app",
    uid="u1",
    resource_version="7",
)
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@dataclass
class Receiver:
    """A server that remembers what it got; `answers` are used up first, then it says 202. None hangs."""

    answers: list[int | None] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    tries: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.tries += 1
        answer = self.answers.pop(0) if self.answers else 202
        body = json.loads(await request.text())
        self.heard.set()
        if answer is None:
            await asyncio.sleep(60)
        if answer == 202:
            self.bodies.append(body)
            self.types.append(request.content_type)
        return web.Response(status=answer or 202)

    def messages(self) -> list[str]:
        return [body["message"] for body in self.bodies]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.bodies) < count:
                self.heard.clear()
                await self.heard.wait()
                await asyncio.sleep(0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/"
    yield receiver
    await runner.cleanup()


def event(message: str, kind: EventType = "Normal", metadata: Mapping[str, str] | None = None) -> Event:
    return Event(
        involved=APP,
        event_type=kind,
        reason="Progressing",
        message=message,
        component="kustomize-controller",
        metadata=metadata or {},
        at=AT,
    )


class Nowhere:
    """Core events that nobody reads; the kinds they had are remembered."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.notes: list[Mapping[str, str] | None] = []
        self.wrote = asyncio.Event()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.kinds) < count:
                self.wrote.clear()
                await self.wrote.wait()

    async def create_event(
        self,
        regarding: Mapping[str, str],
        *,
        event_type: str,
        reason: str,
        message: str,
        component: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.kinds.append(event_type)
        self.notes.append(annotations)
        self.wrote.set()


@asynccontextmanager
async def recording(
    receiver: Receiver, writer: Nowhere, *, metrics: Metrics | None = None, drain: float = 60.0
) -> AsyncIterator[EventRecorder]:
    """A recorder that delivers until the block ends, and then what is left."""
    async with NotificationSink(receiver.url, pause=0.01) as sink:
        recorder = EventRecorder(writer, metrics or Metrics(), sink=sink, drain=drain)
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(0)
        try:
            yield recorder
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def tell(recorder: EventRecorder, message: str, kind: EventType = "Normal", involved: Involved | None = None) -> None:
    recorder.event(involved or Involved(APP), kind, "Progressing", message, component="kustomize-controller")


async def test_the_body_has_the_fields_of_the_protocol_and_no_others(receiver: Receiver) -> None:
    async with NotificationSink(receiver.url) as sink:
        await sink.post(event("applied", "Warning", {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1"}))
        await sink.post(event("plain"))
    assert receiver.bodies[0] == {
        "involvedObject": {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "namespace": "apps",
            "name": "app",
            "uid": "u1",
            "resourceVersion": "7",
        },
        "severity": "error",
        "timestamp": "2026-01-02T03:04:05Z",
        "message": "applied",
        "reason": "Progressing",
        "metadata": {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1"},
        "reportingController": "kustomize-controller",
        "reportingInstance": socket.gethostname(),
    }
    assert receiver.bodies[1]["severity"] == "info"
    assert "metadata" not in receiver.bodies[1]
    assert receiver.types == ["application/json"] * 2


async def test_a_message_that_is_too_long_is_cut(receiver: Receiver) -> None:
    async with NotificationSink(receiver.url) as sink:
        await sink.post(event("x" * (MESSAGE_LIMIT + 1)))
    assert receiver.messages() == ["x" * 39_000]


async def test_an_answer_of_5xx_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    async with NotificationSink(receiver.url, pause=0.01) as sink:
        await sink.post(event("a"))
    assert (receiver.messages(), receiver.tries) == (["a"], 3)


async def test_a_duplicate_is_neither_tried_again_nor_a_failure(receiver: Receiver) -> None:
    receiver.answers = [429]
    async with NotificationSink(receiver.url, pause=0.01) as sink:
        await sink.post(event("a"))
    assert receiver.tries == 1


async def test_a_refusal_is_a_failure_at_once(receiver: Receiver) -> None:
    receiver.answers = [400]
    async with NotificationSink(receiver.url, pause=0.01) as sink:
        with pytest.raises(SinkError, match="status 400"):
            await sink.post(event("a"))
    assert receiver.tries == 1


async def test_while_the_sink_is_down_each_event_is_tried_once_and_then_as_before(receiver: Receiver) -> None:
    receiver.answers = [500] * 6
    async with NotificationSink(receiver.url, pause=0.001) as sink:
        for expected in (5, 6):
            with pytest.raises(SinkError, match="status 500"):
                await sink.post(event("a"))
            assert receiver.tries == expected
        await sink.post(event("b"))
        receiver.answers = [500]
        await sink.post(event("c"))
    assert receiver.messages() == ["b", "c"]


async def test_nobody_there_is_a_failure_without_the_url_s_secrets() -> None:
    async with NotificationSink("http://user:secret@127.0.0.1:9/", pause=0.001) as sink:
        with pytest.raises(SinkError, match="cannot be reached") as failed:
            await sink.post(event("a"))
    assert "secret" not in str(failed.value)


async def test_events_of_flux_s_kinds_are_posted_in_order_and_traces_stay_in_the_cluster(receiver: Receiver) -> None:
    writer = Nowhere()
    canary = Involved(ObjectReference(api_version="flagger.app/v1beta1", kind="Canary", namespace="a", name="c"))
    async with recording(receiver, writer) as recorder:
        tell(recorder, "one")
        tell(recorder, "trace", "Trace")
        tell(recorder, "rollout", involved=canary)
        tell(recorder, "two", "Warning")
    assert receiver.messages() == ["one", "two"]
    assert writer.kinds == ["Normal", "Normal", "Normal", "Warning"]


async def test_annotations_of_the_object_are_metadata_in_both_places(receiver: Receiver) -> None:
    writer = Nowhere()
    metadata = {"event.toolkit.fluxcd.io/change_request": "33"}
    async with recording(receiver, writer) as recorder:
        tell(recorder, "one", involved=Involved(APP, metadata))
    assert receiver.bodies[0]["metadata"] == metadata
    assert writer.notes == [metadata]


async def test_a_sink_that_hangs_holds_up_neither_the_caller_nor_core_events(receiver: Receiver) -> None:
    receiver.answers = [None]
    metrics, writer = Metrics(), Nowhere()
    async with recording(receiver, writer, metrics=metrics, drain=0.2) as recorder:
        tell(recorder, "stuck")
        await receiver.heard.wait()
        for number in range(3):
            tell(recorder, str(number))
        await writer.until(4)
        assert receiver.messages() == []


async def test_a_sink_that_fails_costs_its_events_and_they_are_counted(receiver: Receiver) -> None:
    receiver.answers = [400]
    metrics = Metrics()
    async with recording(receiver, Nowhere(), metrics=metrics) as recorder:
        tell(recorder, "refused")
        tell(recorder, "taken")
        await receiver.until(1)
    assert receiver.messages() == ["taken"]
    count = metrics.registry.get_sample_value("weir_notifications_dropped_total", {"why": "SinkError"})
    assert count == 1


async def test_what_is_queued_at_a_stop_is_still_posted(receiver: Receiver) -> None:
    receiver.answers = [500]
    async with recording(receiver, Nowhere()) as recorder:
        for number in range(20):
            tell(recorder, str(number))
    assert receiver.messages() == [str(number) for number in range(20)]
