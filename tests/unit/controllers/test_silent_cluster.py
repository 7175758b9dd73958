"""A cluster that falls silent in the middle of a pass: one wait for an answer is enough, not one for each object."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller_cluster import OWNER, FakeCluster, config_map

from agent.adapters.kube.errors import Unavailable
from agent.controllers.kustomization.apply import Applier, ApplyRequest, PartialApplyError
from agent.controllers.kustomization.health import HealthFailedError, HealthWaiter
from agent.controllers.kustomization.prune import prune
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.telemetry.metrics import Metrics

NAMES = ("a", "b", "c", "d")
ENTRIES = [Entry(ObjectKey("", "ConfigMap", "team", name), "v1") for name in NAMES]


class Silent(FakeCluster):
    """Never answers, and counts how often it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0

        @contextmanager
        def changes(_keys: Any) -> Iterator[asyncio.Queue[ObjectKey]]:
            yield asyncio.Queue()

        self.live.changes = changes  # type: ignore[attr-defined]  # the part that only waits need

    async def find(self, *_where: Any, **_how: Any) -> Any:
        """No answer."""
        self.waited += 1
        await asyncio.sleep(0)
        raise Unavailable("get configmaps: no answer within 30 s")

    async def apply(self, *_where: Any, **_how: Any) -> Any:
        """No answer."""
        await self.find()


async def test_an_apply_asks_no_further() -> None:
    cluster, applier = (
        Silent(),
        Applier(concurrency=2, claimed_by_other=lambda *_: None, shortcuts=Shortcuts(Metrics(), verify=False)),
    )
    request = ApplyRequest(owner=OWNER, objects=tuple(config_map(name) for name in NAMES))
    with pytest.raises(PartialApplyError, match="no answer within 30 s") as failed:
        await applier.apply(cluster.target, request)
    assert cluster.waited == 2
    assert not failed.value.touched


async def test_a_prune_asks_no_further_and_keeps_everything() -> None:
    cluster = Silent()
    pruned = await prune(cluster.target, OWNER, ENTRIES)
    assert cluster.waited == 1
    assert {key.name for key in pruned.failed} == set(NAMES)


async def test_a_round_of_a_health_check_asks_no_further() -> None:
    cluster, waiter = Silent(), HealthWaiter(None, Shortcuts(Metrics(), verify=False))  # type: ignore[arg-type]  # no expressions here
    with pytest.raises(HealthFailedError) as failed:
        await waiter.wait(cluster.target, ENTRIES, 0.0)
    assert cluster.waited == 1
    assert failed.value.summary.count("no answer within 30 s") == len(NAMES)
