"""Health waits for objects that are special: without a namespace, or meant to vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller_cluster import CONFIG_MAPS, FakeCluster, config_map

from agent.adapters.kube.resource import Resource
from agent.controllers.kustomization.health import HealthFailedError, HealthWaiter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.telemetry.metrics import Metrics

JOBS = Resource("batch", "v1", "jobs", "Job", namespaced=True)
JOB = ObjectKey("batch", "Job", "team", "once")


class World:
    """A cluster without watches."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.discovery.kinds["batch/v1", "Job"] = JOBS

        @contextmanager
        def changes(_keys: Any) -> Iterator[asyncio.Queue[ObjectKey]]:
            yield asyncio.Queue()

        self.cluster.live.changes = changes  # type: ignore[attr-defined]  # the part that only waits need
        self.waiter = HealthWaiter(None, Shortcuts(Metrics(), verify=False))  # type: ignore[arg-type]  # no expressions here


async def test_a_check_without_a_namespace_means_the_kustomizations_own() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    entry = Entry(ObjectKey("", "ConfigMap", "", "a"), "v1")
    passed = await world.waiter.wait(world.cluster.target, [entry], 60.0, home="team")
    assert passed.seconds < 30


async def test_a_job_that_cleans_up_after_itself_is_done_when_it_is_gone() -> None:
    world = World()
    entry = Entry(JOB, "v1")
    await world.waiter.wait(world.cluster.target, [entry], 60.0, passing=frozenset({JOB}))
    with pytest.raises(HealthFailedError, match="NotFound"):
        await world.waiter.wait(world.cluster.target, [entry], 0.1)
