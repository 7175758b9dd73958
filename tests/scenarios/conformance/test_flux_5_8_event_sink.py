"""Flux reference, section 5.8: events to a notification-controller, here a server that remembers what it is sent."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import web

from testbed.processes import until
from tests.scenarios.conftest import KS, PATIENCE, REPO, RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: c}\n"
KUSTOMIZE, SOURCE = "kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"


class NotificationController:
    """Takes events; `answers` are statuses that come first, and while the gate is closed nothing is answered."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.waiting = 0
        self.open = asyncio.Event()
        self.open.set()

    async def receive(self, request: web.Request) -> web.Response:
        """One event."""
        body = json.loads(await request.text())
        assert request.content_type == "application/json"
        self.waiting += 1
        try:
            await self.open.wait()  # who gives up before the gate opens has told nothing
        finally:
            self.waiting -= 1
        status = self.answers.pop(0) if self.answers else 202
        (self.events if status == 202 else self.refused).append(body)
        return web.Response(status=status)

    async def is_asked(self) -> bool:
        """True while a request waits at the gate."""
        return self.waiting > 0

    def about(self, kind: str) -> list[dict[str, Any]]:
        """The events about objects of a kind, in the order in which they came."""
        return [event for event in self.events if event["involvedObject"]["kind"] == kind]


@pytest.fixture
async def notification_controller() -> AsyncIterator[NotificationController]:
    running = NotificationController()
    application = web.Application()
    application.router.add_post("/", running.receive)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield running
    running.open.set()
    await runner.cleanup()


async def begin(story: Story) -> str:
    commit = story.git.commit({"c.yaml": ACCOUNT})
    await story.source()
    await story.kustomization()
    return f"main@sha1:{commit}"


async def test_what_a_new_revision_tells_and_in_which_order(
    story: Story, own_agent: OwnAgent, notification_controller: NotificationController
) -> None:
    revision = await begin(story)
    async with own_agent(events_addr=notification_controller.url):
        applied = await story.ready()
    (stored,) = notification_controller.about("GitRepository")
    assert (stored["reason"], stored["severity"]) == ("NewArtifact", "info")
    assert stored["reportingController"] == "source-controller"
    assert stored["metadata"][f"{SOURCE}/revision"] == revision
    changes, finished = notification_controller.about("Kustomization")
    assert changes.keys() == {
        "involvedObject",
        "severity",
        "timestamp",
        "message",
        "reason",
        "metadata",
        "reportingController",
        "reportingInstance",
    }
    reference = changes["involvedObject"]
    assert reference.pop("resourceVersion")
    assert reference == {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "namespace": story.namespace,
        "name": "app",
        "uid": applied["metadata"]["uid"],
    }
    assert (changes["reason"], changes["message"]) == ("Progressing", f"ServiceAccount/{story.namespace}/c created")
    assert changes["metadata"] == {f"{KUSTOMIZE}/revision": revision}
    assert changes["reportingController"] == "kustomize-controller"
    assert changes["reportingInstance"] == socket.gethostname()
    assert finished["message"].startswith("Reconciliation finished in ")
    assert finished["metadata"][f"{KUSTOMIZE}/commit_status"] == "update"


async def test_a_failure_is_of_severity_error_and_annotations_of_the_object_come_along(
    story: Story, own_agent: OwnAgent, notification_controller: NotificationController
) -> None:
    story.git.commit({"c.yaml": "kind: ["})
    await story.source()
    await story.kustomization()
    note = {"event.toolkit.fluxcd.io/change_request": "33"}
    for kind, name in ((KS, "app"), (REPO, "repo")):
        await story.admin.patch(*kind, story.namespace, name, {"metadata": {"annotations": note}})
    async with own_agent(events_addr=notification_controller.url):
        failed = await story.failed()
        line = await story.event("app", "BuildFailed")
    (told, *_) = notification_controller.about("Kustomization")
    assert (told["severity"], told["reason"]) == ("error", "BuildFailed")
    assert told["message"] == failed["status"]["conditions"][0]["message"] or told["message"] in line
    for kind in ("Kustomization", "GitRepository"):
        assert all(event["metadata"].items() >= note.items() for event in notification_controller.about(kind))
    core = await story.told("app", lambda told: told[-1]["reason"] == "BuildFailed")
    assert all(event["metadata"]["annotations"].items() >= note.items() for event in core)


async def test_a_sink_that_hangs_holds_up_no_pass_and_gets_everything_once_it_answers(
    story: Story, own_agent: OwnAgent, notification_controller: NotificationController
) -> None:
    await begin(story)
    notification_controller.open.clear()
    async with own_agent(events_addr=notification_controller.url):
        await story.ready()
        await story.event("app", "Reconciliation finished")
        # not between two attempts: the pause there may be longer than the end waits
        await until(notification_controller.is_asked, timeout=PATIENCE, what="an event is on its way")
        assert notification_controller.events == []
        notification_controller.open.set()
    reasons = [event["reason"] for event in notification_controller.about("Kustomization")]
    assert reasons == ["Progressing", "ReconciliationSucceeded"], "what was waiting at the stop is sent before the end"


async def test_a_sink_in_trouble_is_asked_again_and_a_duplicate_is_done_with(
    story: Story, own_agent: OwnAgent, notification_controller: NotificationController
) -> None:
    await begin(story)
    notification_controller.answers = [503, 429]
    async with own_agent(events_addr=notification_controller.url):
        await story.ready()
    first, again = notification_controller.refused
    assert first == again
    assert first not in notification_controller.events, "dropped as a duplicate"
    told = sorted(event["message"].split()[0] for event in [first, *notification_controller.events])
    assert told == ["Reconciliation", f"ServiceAccount/{story.namespace}/c", "stored"]


async def test_a_sink_that_refuses_costs_its_events_and_nothing_else(
    story: Story, own_agent: OwnAgent, notification_controller: NotificationController
) -> None:
    await begin(story)
    notification_controller.answers = [400] * 10
    async with own_agent(events_addr=notification_controller.url):
        await story.ready()
        await story.event("app", "Reconciliation finished")
    assert notification_controller.events == []
