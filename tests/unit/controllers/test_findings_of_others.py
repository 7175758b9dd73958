"""What one identity has found out spares no other one the question: it may not be allowed to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller_cluster import CONFIG_MAPS, OWNER, FakeCluster, config_map

from agent.controllers.kustomization.apply import Applier, ApplyRequest
from agent.controllers.kustomization.health import HealthWaiter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.telemetry.metrics import Metrics

KEY = ObjectKey("", "ConfigMap", "team", "a")
TENANT = "system:serviceaccount:team:deployer"


@pytest.fixture
def cluster() -> FakeCluster:
    """One whose watches are never news."""
    world = FakeCluster()

    @contextmanager
    def changes(_keys: Any) -> Iterator[asyncio.Queue[ObjectKey]]:
        yield asyncio.Queue()

    world.live.changes = changes  # type: ignore[attr-defined]  # the part that only waits need
    return world


async def test_an_unchanged_object_is_asked_about_again_in_the_name_of_another_account(cluster: FakeCluster) -> None:
    subject = Applier(claimed_by_other=lambda *_: None, shortcuts=Shortcuts(Metrics(), verify=False))
    request = ApplyRequest(owner=OWNER, objects=(config_map("a"),))
    await subject.apply(cluster.target, request)
    asked = len(cluster.calls)
    await subject.apply(cluster.target, request)
    assert len(cluster.calls) == asked
    cluster.acting_as = TENANT
    await subject.apply(cluster.target, request)
    assert cluster.calls[asked:] == ["get ConfigMap/a", "dry-run ConfigMap/a"]


async def test_health_that_one_account_saw_is_not_told_to_another(cluster: FakeCluster) -> None:
    waiter, entries = HealthWaiter(None, Shortcuts(Metrics(), verify=False)), [Entry(KEY, "v1")]  # type: ignore[arg-type]  # no expressions here
    stored = cluster.put(CONFIG_MAPS, config_map("a"))
    cluster.live.versions[KEY] = stored["metadata"]["resourceVersion"]
    await waiter.wait(cluster.target, entries, 60.0)
    assert waiter.known_healthy(cluster.target, entries)
    cluster.acting_as = TENANT
    assert not waiter.known_healthy(cluster.target, entries)
    await waiter.wait(cluster.target, entries, 60.0)
    assert waiter.known_healthy(cluster.target, entries)
