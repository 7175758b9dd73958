"""Changes that reach a health wait just as it was about to look by itself, or to give up. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller_cluster import GADGETS, FakeCluster

from agent.controllers.kustomization.health import POLL_SECONDS, HealthFailedError, HealthPassed, HealthWaiter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.telemetry.metrics import Metrics
from tests.unit.runtime.virtual_time import run


class World:
    """Two gadgets and their watch."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.watch: asyncio.Queue[ObjectKey] = asyncio.Queue()

        @contextmanager
        def changes(_keys: Any) -> Iterator[asyncio.Queue[ObjectKey]]:
            yield self.watch

        self.cluster.live.changes = changes  # type: ignore[attr-defined]  # the part that only waits need

    def becomes(self, name: str, condition: str, status: str, *, told: bool = True) -> None:
        """A gadget as its controller reports it."""
        entry = {"type": condition, "status": status, "message": ""}
        manifest = {
            "apiVersion": GADGETS.api_version,
            "kind": GADGETS.kind,
            "metadata": {"name": name},
            "status": {"conditions": [entry]},
        }
        self.cluster.put(GADGETS, manifest)
        if told:
            self.watch.put_nowait(_key(name))

    async def wait(self, timeout: float) -> HealthPassed:
        """Wait for both."""
        waiter = HealthWaiter(None, Shortcuts(Metrics(), verify=False))  # type: ignore[arg-type]  # no expressions here
        return await waiter.wait(self.cluster.target, [Entry(_key(name), "v1") for name in ("a", "b")], timeout)


def _key(name: str) -> ObjectKey:
    return ObjectKey(GADGETS.group, GADGETS.kind, "", name)


def test_a_failure_that_is_told_at_the_end_of_a_poll_interval_is_not_overheard() -> None:
    async def story() -> None:
        world = World()
        world.becomes("a", "Ready", "False", told=False)
        world.becomes("b", "Ready", "True", told=False)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_failure(world, 60.0))
            await asyncio.sleep(POLL_SECONDS - 0.1)
            world.becomes("b", "Stalled", "True")
            world.becomes("a", "Ready", "True", told=False)
        assert "Gadget/b status: 'Failed'" in waiting.result()

    run(story())


async def _failure(world: World, timeout: float) -> str:
    with pytest.raises(HealthFailedError) as failure:
        await world.wait(timeout)
    return failure.value.summary


def test_what_becomes_healthy_in_the_last_moment_is_healthy() -> None:
    async def story() -> None:
        world = World()
        world.becomes("a", "Ready", "False", told=False)
        world.becomes("b", "Ready", "True", told=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.wait(1.0))
            await asyncio.sleep(0.95)
            world.becomes("a", "Ready", "True")

    run(story())


def test_what_never_becomes_healthy_is_named_in_the_end() -> None:
    async def story() -> None:
        world = World()
        world.becomes("a", "Ready", "False", told=False)
        world.becomes("b", "Ready", "True", told=False)
        assert await _failure(world, 1.0) == "timeout waiting for: [Gadget/a status: 'InProgress']"

    run(story())
