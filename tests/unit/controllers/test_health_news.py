"""A health wait asks about what moved, and about nothing else; what is known to be healthy is not asked about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from controller_cluster import CONFIG_MAPS, DEPLOYMENTS, GADGETS, FakeCluster, config_map

from agent.adapters.kube.podnews import PodNews
from agent.adapters.kube.resource import ListPage, Resource
from agent.controllers.kustomization.health import POLL_SECONDS, HealthFailedError, HealthWaiter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import Manifest, ObjectKey
from agent.telemetry.metrics import Metrics
from tests.unit.runtime.virtual_time import run

GADGET = ObjectKey("example.org", "Gadget", "", "slow")
CHAT = ObjectKey("apps", "Deployment", "team", "chat")
MAP = ObjectKey("", "ConfigMap", "team", "a")
LONG = 3600.0


class World(FakeCluster):
    """A cluster whose watch says what a test says."""

    def __init__(self, *, verify: bool = False) -> None:
        super().__init__()
        self.news: asyncio.Queue[ObjectKey] = asyncio.Queue()
        self.metrics = Metrics()
        self.waiter = HealthWaiter(None, Shortcuts(self.metrics, verify=verify))  # type: ignore[arg-type]  # no CEL

        @contextmanager
        def changes(_keys: Any) -> Iterator[asyncio.Queue[ObjectKey]]:
            yield self.news

        self.live.changes = changes  # type: ignore[attr-defined]  # the part that only waits need

    async def list(
        self, resource: Resource, _namespace: str, *, label_selector: str, metadata_only: bool = False
    ) -> ListPage:
        """A ReplicaSet, and none of its Pods."""
        assert label_selector == "app=chat"
        self.calls.append(f"list {resource.plural}")
        owner = {"uid": "uid-of-chat"}
        annotations = {"deployment.kubernetes.io/revision": "1"}
        set_ = {"metadata": {"uid": "set", "ownerReferences": [owner], "annotations": annotations}}
        return ListPage((set_,) if metadata_only else (), "1")

    def gadget(self, ready: str) -> None:
        condition = {"type": "Ready", "status": ready}
        manifest = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "slow"}}
        self.put(GADGETS, {**manifest, "status": {"conditions": [condition]}})

    def deployment(self) -> None:
        metadata = {"name": "chat", "namespace": "team", "annotations": {"deployment.kubernetes.io/revision": "1"}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "chat"}}}
        stored = self.put(
            DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        )
        stored["metadata"]["uid"] = "uid-of-chat"

    async def wait(self, *keys: ObjectKey, timeout: float = LONG) -> None:
        await self.waiter.wait(self.target, [Entry(key, "v1") for key in keys], timeout)


def test_what_a_watch_follows_is_read_when_it_moves_and_not_before() -> None:
    async def story() -> None:
        world = World()
        world.gadget("False")
        world.live.heard.add(GADGET)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.wait(GADGET))
            await asyncio.sleep(10 * POLL_SECONDS)
            assert world.calls == ["get Gadget/slow"]
            world.gadget("True")
            world.news.put_nowait(GADGET)
        assert world.calls == ["get Gadget/slow"] * 2

    run(story())


def test_what_no_watch_follows_is_looked_at_now_and_then() -> None:
    async def story() -> None:
        world = World()
        world.gadget("False")
        async with asyncio.TaskGroup() as group:
            group.create_task(world.wait(GADGET))
            await asyncio.sleep(1.5 * POLL_SECONDS)
            world.gadget("True")

    run(story())


def test_a_dead_watch_does_not_fail_what_is_healthy() -> None:
    """It may take minutes until it is known to be dead; the end of the time comes first."""

    async def story() -> None:
        world = World()
        world.gadget("False")
        world.live.heard.add(GADGET)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.wait(GADGET, timeout=30.0))
            await asyncio.sleep(20.0)
            world.gadget("True")

    run(story())


def test_a_workload_is_polled_only_while_its_pods_can_move_unheard() -> None:
    async def story() -> None:
        world = World()
        world.deployment()
        world.live.heard.add(CHAT)
        looks = ["get Deployment/chat", "list replicasets", "list pods"]
        for reliable in (False, True):
            world.calls.clear()
            world.live.pods = Followed(world, reliable=reliable)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.5 * POLL_SECONDS):
                    await world.wait(CHAT)
            assert world.calls == looks * (1 if reliable else 3)
            assert world.live.pods.joined == ["team"]

    run(story())


class Followed(PodNews):
    """Pods whose watch works, or does not."""

    def __init__(self, client: Any, *, reliable: bool) -> None:
        super().__init__(client, on_problem=lambda *_: None)
        self.joined: list[str] = []
        self._works = reliable

    def reliable(self, _namespace: str) -> bool:
        """As the test says."""
        return self._works

    async def join(self, namespace: str) -> None:
        """Nothing is watched."""
        self.joined.append(namespace)

    def leave(self, _namespace: str) -> None:
        """Nothing was."""


@pytest.mark.parametrize("verify", [False, True])
async def test_what_is_known_to_be_healthy_is_read_again_only_to_verify_that(*, verify: bool) -> None:
    world = World(verify=verify)
    stored = world.put(CONFIG_MAPS, config_map("a"))
    world.live.versions[MAP] = stored["metadata"]["resourceVersion"]
    await world.wait(MAP)
    await world.wait(MAP)
    assert await world.waiter.still_healthy(world.target, [Entry(MAP, "v1")])
    assert len(world.calls) == (3 if verify else 1)
    assert _told(world, "shortcuts_verified") == (2 if verify else 0)
    assert _told(world, "shortcut_differences") == 0


async def test_verifying_tells_of_an_object_that_was_taken_for_healthy_and_is_not() -> None:
    world = World(verify=True)
    world.gadget("False")
    version = world.objects[GADGETS.path(None, "slow")]["metadata"]["resourceVersion"]
    world.live.versions[GADGET] = version
    world.memory.healthy(GADGET, "", version, None)
    assert not await world.waiter.still_healthy(world.target, [Entry(GADGET, "v1")])
    assert _told(world, "shortcut_differences") == 1


def _told(world: World, name: str) -> float:
    return world.metrics.registry.get_sample_value(f"weir_{name}_total", {"shortcut": "health"}) or 0.0


async def test_checks_do_not_take_all_requests_for_themselves() -> None:
    """Fifty at once read one after the other, a few at a time: what is applied meanwhile comes between."""
    world = World()
    world.gadget("True")
    inside, most = 0, 0
    find = world.find

    async def slow(*where: Any, **how: Any) -> Manifest | None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return await find(*where, **how)

    world.find = slow  # type: ignore[method-assign]
    await asyncio.gather(*(world.wait(GADGET) for _ in range(50)))
    assert most <= 4


async def test_an_unhealthy_wait_that_ends_is_forgotten() -> None:
    world = World()
    world.gadget("False")
    with pytest.raises(HealthFailedError, match="InProgress"):
        await world.wait(GADGET, timeout=0.0)
