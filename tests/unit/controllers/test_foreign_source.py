"""Sources that somebody else reconciles: one download for all, and no trust in what their status says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from controller_cluster import FakeCluster

from agent.adapters.kube.resource import Resource
from agent.api.kustomization import Kustomization
from agent.controllers.downloads import Downloads
from agent.controllers.sourcelookup import SourceLookup
from agent.controllers.sources import SourceKey, SourceRegistry, SourceSnapshot
from agent.errors import ArtifactError, WaitingError
from agent.runtime.store import Store

BUCKETS = Resource("source.toolkit.fluxcd.io", "v1", "buckets", "Bucket", namespaced=True)
KEY = SourceKey("Bucket", "team", "models")
ARTIFACT = {
    "digest": "sha256:aa",
    "path": "bucket/team/models/aa.tar.gz",
    "url": "http://source-controller/aa.tar.gz",
    "revision": "sha256:aa",
    "lastUpdateTime": "2026-01-01T00:00:00Z",
    "metadata": {"org.opencontainers.image.revision": "main@sha1:1"},
}


def kustomization(name: str, **reference: str) -> Kustomization:
    spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "Bucket", "name": "models", **reference}}
    return Kustomization.from_object({"metadata": {"namespace": "team", "name": name}, "spec": spec})


class Fetcher:
    """Counts, and takes a while."""

    def __init__(self) -> None:
        self.count = 0

    async def fetch(self, _url: str, _digest: str) -> object:
        """A tree."""
        self.count += 1
        await asyncio.sleep(0)
        return object()


class World:
    """A lookup whose source role runs elsewhere."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        self.cluster, self.downloads, self.registry = FakeCluster(), Fetcher(), SourceRegistry()
        self.cluster.discovery.kinds[BUCKETS.api_version, "Bucket"] = BUCKETS
        if status is not None:
            self.cluster.put(BUCKETS, {"metadata": {"namespace": "team", "name": "models"}, "status": status})
        self.lookup = SourceLookup(
            self.cluster,  # type: ignore[arg-type]  # duck-typed
            self.cluster.discovery,  # type: ignore[arg-type]  # duck-typed
            self.registry,
            Downloads(self.downloads, retries=0),  # type: ignore[arg-type]  # duck-typed
            None,
            cross_namespace=True,
            requeue=30.0,
        )

    async def snapshot(self, asking: Kustomization) -> SourceSnapshot:
        """The files of the source."""
        return await files_of(self.lookup, asking)


async def files_of(lookup: SourceLookup, asking: Kustomization) -> SourceSnapshot:
    """What a pass does for the files of its source."""
    found = await lookup.find(asking)
    return found if isinstance(found, SourceSnapshot) else await lookup.fetch(found)


async def test_many_kustomizations_of_one_source_download_it_once() -> None:
    world = World({"artifact": ARTIFACT})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.snapshot(kustomization(str(number)))) for number in range(8)]
    assert world.downloads.count == 1
    assert {task.result().origin_revision for task in tasks} == {"main@sha1:1"}


async def test_an_artifact_that_is_none_is_an_error_and_not_a_crash() -> None:
    world = World({"artifact": {"revision": "x"}})
    with pytest.raises(ArtifactError, match=r"status\.artifact"):
        await world.snapshot(kustomization("app"))
    with pytest.raises(WaitingError):
        await World({}).snapshot(kustomization("app"))


async def test_a_version_that_is_no_longer_served_does_not_matter() -> None:
    world = World({"artifact": ARTIFACT})
    asking = kustomization("app", apiVersion="source.toolkit.fluxcd.io/v1beta2")
    assert (await world.snapshot(asking)).revision == ARTIFACT["revision"]


async def test_a_source_that_is_gone_is_not_kept_in_memory() -> None:
    world = World({"artifact": ARTIFACT})
    await world.snapshot(kustomization("app"))
    world.cluster.objects.clear()
    with pytest.raises(ArtifactError, match="not found"):
        await world.snapshot(kustomization("app"))
    assert world.registry.get(KEY) is None


async def test_a_git_repository_that_is_left_to_another_controller_is_read_from_its_artifact() -> None:
    world = World(None)
    git = Resource("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository", namespaced=True)
    world.cluster.discovery.kinds[git.api_version, "GitRepository"] = git
    theirs = {"metadata": {"namespace": "team", "name": "signed"}, "status": {"artifact": ARTIFACT}}
    world.cluster.put(git, theirs)
    lookup = SourceLookup(
        world.cluster,  # type: ignore[arg-type]  # duck-typed
        world.cluster.discovery,  # type: ignore[arg-type]  # duck-typed
        world.registry,
        Downloads(world.downloads, retries=0),  # type: ignore[arg-type]  # duck-typed
        Store(),
        cross_namespace=True,
        requeue=30.0,
    )
    spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "signed"}}
    asking = Kustomization.from_object({"metadata": {"namespace": "team", "name": "app"}, "spec": spec})
    assert (await files_of(lookup, asking)).revision == ARTIFACT["revision"]
    world.cluster.objects.clear()
    with pytest.raises(ArtifactError, match="not found"):
        await files_of(lookup, asking)
