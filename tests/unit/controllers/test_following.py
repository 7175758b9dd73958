"""What is told of watches that fail: news at once, the same again only now and then."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
import structlog

from agent.adapters.kube.errors import ApiError, Forbidden, NotFound, Unavailable
from agent.api.canary import Canary
from agent.api.datatrigger import DataTrigger
from agent.controllers.following import Following
from agent.errors import OperationError
from agent.runtime.manager import Manager
from agent.telemetry import logging
from tests.unit.runtime.virtual_time import run

ABSENT, DOWN = OperationError("404 page not found"), OperationError("connection refused")


def told_by_watches(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged, without what others say meanwhile: such as asyncio, of a task that an earlier test has left."""
    return [line for line in map(json.loads, stream.getvalue().splitlines()) if line.get("logger") == "watch"]


def test_a_kind_that_is_not_installed_does_not_fill_the_log_and_an_outage_is_told_each_time() -> None:
    before, stream, now = structlog.get_config(), io.StringIO(), [0.0]
    logging.configure("info", stream)
    try:
        following = Following(None, namespace=None, clock=lambda: now[0])  # type: ignore[arg-type]  # sends nothing here
        for moment, error in ((0, ABSENT), (30, ABSENT), (60, DOWN), (90, ABSENT), (120, ABSENT), (700, ABSENT)):
            now[0] = moment
            following.problem("buckets", error)
        following.problem("ocirepositories", ABSENT)
    finally:
        structlog.configure(**before)
    assert [(line["watch"], line["error"]) for line in told_by_watches(stream)] == [
        ("buckets", "404 page not found"),
        ("buckets", "connection refused"),
        ("buckets", "404 page not found"),
        ("buckets", "404 page not found"),
        ("ocirepositories", "404 page not found"),
    ]


class Refusing:
    """An API server that answers each listing with an error."""

    def __init__(self, error: OperationError) -> None:
        self._error = error

    async def list_bytes(self, *_args: Any, **_options: Any) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "is_answer"),
    [
        (NotFound("the server could not find the requested resource", status=404), True),
        (Forbidden("canaries is forbidden", status=403), True),
        (Unavailable("connection refused"), False),
        (ApiError("conversion webhook failed", status=500), False),
        (ApiError("Unauthorized", status=401), False),
    ],
)
def test_only_that_there_are_none_is_as_good_as_the_list_of_canaries(error: OperationError, is_answer: bool) -> None:
    before, stream = structlog.get_config(), io.StringIO()
    logging.configure("info", stream)

    async def main() -> None:
        following = Following(Refusing(error), namespace=None)  # type: ignore[arg-type]  # duck-typed
        following.kind(Canary, optional=True, restrains=True)
        following.kind(DataTrigger, optional=True)
        manager = Manager(watchers=(), optional=following.optional, controllers=())
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run(stop))
            await asyncio.sleep(3600)
            waits = () if is_answer else (f"watch canaries has no answer: {error.message}",)
            assert manager.ready().problems == waits
            stop.set()

    try:
        run(main())
    finally:
        structlog.configure(**before)
    told = {line["watch"]: line["msg"] for line in told_by_watches(stream)}
    waits = "watch problem" if is_answer else "nothing starts before this kind is listed"
    assert told == {"canaries": waits, "datatriggers": "watch problem"}
