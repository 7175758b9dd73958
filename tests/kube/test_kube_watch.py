"""Watcher, store and KubeListWatch together against a real API server, which is killed, too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.errors import TooManyRequests, Unavailable
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.watch import KubeListWatch, PartialObject, decode_metadata
from agent.errors import OperationError
from agent.runtime.backoff import Backoff
from agent.runtime.store import Store
from agent.runtime.watch import Changed, Expired, Frame, ObjectKey, Watcher, Watching
from testbed.controlplane import ControlPlane
from tests.kube.polling import until
from tests.kube.proxy import proxying

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)


class Meta(msgspec.Struct):
    name: str


class ConfigMap(msgspec.Struct):
    metadata: Meta
    data: dict[str, str] = {}


decode = msgspec.json.Decoder(ConfigMap).decode


def config_map(name: str, **data: str) -> dict[str, Any]:
    labels = {"watched": "yes"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data}


async def put(client: KubeClient, namespace: str, name: str, **data: str) -> dict[str, Any]:
    return await client.apply(CONFIG_MAPS, namespace, name, config_map(name, **data), field_manager="test")


class Followed:
    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.store: Store[ConfigMap] = Store()
        self.problems: list[OperationError] = []
        self.undecodable: list[ObjectKey] = []
        self.listings = 0
        source = KubeListWatch(
            client,
            CONFIG_MAPS,
            decode,
            on_undecodable=lambda key, _message: self.undecodable.append(key),
            namespace=namespace,
            label_selector="watched=yes",
            page=2,
        )
        self.watcher: Watcher[ConfigMap] = Watcher(
            "configmaps",
            source,
            self.store.feed,
            on_problem=lambda _name, error: self.problems.append(error),
            backoff=Backoff(initial=0.05, maximum=0.5),
        )

    def data(self) -> dict[str, dict[str, str]]:
        return {value.metadata.name: value.data for value in self.store.list()}


@asynccontextmanager
async def following(client: KubeClient, namespace: str) -> AsyncIterator[Followed]:
    followed = Followed(client, namespace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(followed.watcher.run())
        async with asyncio.timeout(60):
            await followed.store.synced.wait()
        try:
            yield followed
        finally:
            task.cancel()


async def test_a_store_follows_the_objects(client: KubeClient, namespace: str) -> None:
    for number in range(5):
        await put(client, namespace, f"c{number}", n=str(number))
    async with following(client, namespace) as followed:
        # Listed in pages of two.
        assert followed.data() == {f"c{number}": {"n": str(number)} for number in range(5)}
        changes: list[tuple[ConfigMap | None, ConfigMap | None]] = []
        followed.store.subscribe(lambda old, new: changes.append((old, new)))
        await put(client, namespace, "c0", n="changed")
        await put(client, namespace, "c9", big="x" * 900_000)
        await client.delete(CONFIG_MAPS, namespace, "c1")
        await until(lambda: len(changes) == 3)
        assert changes[0] == (ConfigMap(Meta("c0"), {"n": "0"}), ConfigMap(Meta("c0"), {"n": "changed"}))
        assert changes[2] == (ConfigMap(Meta("c1"), {"n": "1"}), None)
        assert len(followed.data()["c9"]["big"]) == 900_000
        assert followed.problems == []


async def test_metadata_only(client: KubeClient, namespace: str) -> None:
    made = await put(client, namespace, "bare", n="1")
    undecodable: list[ObjectKey] = []
    source: KubeListWatch[PartialObject] = KubeListWatch(
        client,
        CONFIG_MAPS,
        decode_metadata,
        on_undecodable=lambda key, _message: undecodable.append(key),
        namespace=namespace,
        label_selector="watched=yes",  # a namespace gets a ConfigMap of its own a moment after it was made
        metadata_only=True,
    )
    page = await source.list("")
    (found,) = [item for item in page.items if item.key.name == "bare"]
    assert found.value.metadata.uid == made["metadata"]["uid"]
    assert found.value.metadata.labels == {"watched": "yes"}
    await put(client, namespace, "bare", n="2")
    async with asyncio.timeout(60), source.watch(page.resource_version) as stream:
        frame = await anext(stream)
        assert isinstance(frame, Changed)
        assert frame.item.key == ObjectKey(namespace, "bare")
        assert int(frame.item.resource_version) > int(found.resource_version)
    assert undecodable == []


async def test_the_store_is_right_again_after_the_api_server_was_killed(
    client: KubeClient, namespace: str, control_plane: ControlPlane
) -> None:
    for name in ("kept", "changed", "deleted"):
        await put(client, namespace, name, n="1")
    async with following(client, namespace) as followed:
        await control_plane.restart_apiserver()
        await put(client, namespace, "changed", n="2")
        await client.delete(CONFIG_MAPS, namespace, "deleted")
        await put(client, namespace, "new", n="1")
        await until(lambda: followed.data() == {"kept": {"n": "1"}, "changed": {"n": "2"}, "new": {"n": "1"}})
        assert any(isinstance(problem, Unavailable) for problem in followed.problems)
        await until(lambda: isinstance(followed.watcher.state, Watching))
        await put(client, namespace, "later", n="1")
        await until(lambda: "later" in followed.data())


async def first_frame(client: KubeClient, namespace: str, resource_version: str) -> Frame[PartialObject]:
    source = KubeListWatch(
        client, CONFIG_MAPS, decode_metadata, on_undecodable=lambda _key, _message: None, namespace=namespace
    )
    async with asyncio.timeout(60):
        while True:
            try:
                async with source.watch(resource_version) as stream:
                    return await anext(stream)
            except (TooManyRequests, Unavailable):
                await asyncio.sleep(0.1)  # the server has just started and asks to come back


async def test_a_version_from_before_a_restart_has_expired(
    client: KubeClient, namespace: str, control_plane: ControlPlane
) -> None:
    old = (await put(client, namespace, "a", n="1"))["metadata"]["resourceVersion"]
    for number in range(5):
        await put(client, namespace, "a", n=str(number + 2))
    await control_plane.restart_apiserver()
    with pytest.raises(Expired, match="too old resource version"):
        await first_frame(client, namespace, old)


async def test_a_store_is_right_in_the_end_however_often_the_connection_is_cut(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    dice = random.Random(20)
    truth: dict[str, dict[str, str]] = {}
    mirror: dict[str, dict[str, str]] = {}
    async with proxying(int(cluster.server.rpartition(":")[2])) as proxy:
        elsewhere = replace(cluster, server=f"https://127.0.0.1:{proxy.port}")
        async with KubeClient(elsewhere) as shaky, following(shaky, namespace) as followed:
            followed.store.subscribe(lambda old, new: mirrored(mirror, old, new))
            for turn in count():
                if turn >= 150 and proxy.cuts > 10:
                    break
                name = f"c{dice.randrange(12)}"
                if name in truth and dice.random() < 0.3:
                    del truth[name]
                    await client.delete(CONFIG_MAPS, namespace, name)
                else:
                    truth[name] = {"turn": str(turn), "size": "x" * dice.choice([10, 5000, 40_000])}
                    await put(client, namespace, name, **truth[name])
                if dice.random() < 0.2:
                    proxy.cut()
            await until(lambda: followed.data() == truth)
            assert mirror == truth
            assert followed.problems


def mirrored(mirror: dict[str, dict[str, str]], old: ConfigMap | None, new: ConfigMap | None) -> None:
    """Apply what a subscriber hears; it must fit what was heard before."""
    if old is not None:
        assert mirror.pop(old.metadata.name) == old.data
    if new is not None:
        mirror[new.metadata.name] = new.data
