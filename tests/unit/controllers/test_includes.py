"""Which artifacts a GitRepository includes, and what is said while they are not there."""

from __future__ import annotations

from typing import Any

import pytest
from controller_cluster import FakeCluster

from agent.api.gitrepository import GitRepository
from agent.controllers.fresh import Fresh
from agent.controllers.includes import IncludeError, Includes, way_back
from agent.controllers.sources import SourceKey, SourcePendingError, SourceRegistry, SourceSnapshot
from agent.controllers.statuses import resource_of
from agent.core.tree import MemoryTree, Tree
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Item, ObjectKey

ARTIFACT = {
    "digest": "sha256:aa",
    "path": "gitrepository/team/shared/aa.tar.gz",
    "url": "http://source-controller/aa.tar.gz",
    "revision": "main@sha1:" + "a" * 40,
    "lastUpdateTime": "2026-01-01T00:00:00Z",
}
TREE = MemoryTree({"a": b"1"})
KEY = SourceKey("GitRepository", "team", "shared")


def repository(name: str, *includes: str, artifact: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team", "name": name},
        "spec": {
            "url": "https://git.example.org/x.git",
            "interval": "1m",
            "include": [{"repository": {"name": one}} for one in includes],
        },
        "status": {"artifact": artifact} if artifact else {},
    }


class Downloads:
    """Answers with a tree of the URL."""

    async def fetch(self, url: str, _digest: str) -> Tree:
        """A tree."""
        return MemoryTree({"url": url.encode()})


class World:
    """Some GitRepositories of this process."""

    def __init__(self, *ours: dict[str, Any]) -> None:
        store: Store[GitRepository] = Store()
        for one in ours:
            value = GitRepository.from_object(one)
            store.feed(Apply(Item(ObjectKey("team", value.name), "1", value)))
        self.cluster, self.registry = FakeCluster(), SourceRegistry()
        self.includes = Includes(
            Fresh(store),
            self.cluster,  # type: ignore[arg-type]  # duck-typed
            self.registry,
            Downloads(),
            requeue=30.0,
        )


ASKING = GitRepository.from_object(repository("app", "shared"))


async def test_the_artifact_of_this_process_is_copied_without_a_download() -> None:
    world = World(repository("shared", artifact=ARTIFACT))
    with pytest.raises(SourcePendingError):
        await world.includes.find(ASKING)
    world.registry.publish(KEY, SourceSnapshot(revision=ARTIFACT["revision"], digest="sha256:old", tree=TREE))
    with pytest.raises(SourcePendingError):
        await world.includes.find(ASKING)
    world.registry.publish(KEY, SourceSnapshot(revision=ARTIFACT["revision"], digest="sha256:aa", tree=TREE))
    (found,) = await world.includes.find(ASKING)
    assert (found.copied.tree, found.copied.from_path, found.copied.to_path) == (TREE, "", "shared")
    assert found.artifact.digest == "sha256:aa"


@pytest.mark.parametrize("missed", [False, True])
async def test_an_include_without_an_artifact_is_waited_for(missed: bool) -> None:
    world = World(repository("shared", artifact=ARTIFACT if missed else None))
    if missed:
        world.registry.miss(KEY)
    with pytest.raises(IncludeError, match="no artifact available for include 'shared'") as waiting:
        await world.includes.find(ASKING)
    assert (waiting.value.reason, waiting.value.after) == ("NoArtifact", 30.0)


async def test_one_of_another_controller_is_downloaded_and_an_absent_one_is_told() -> None:
    world = World()
    with pytest.raises(IncludeError) as missing:
        await world.includes.find(ASKING)
    assert missing.value.reason == "NotFound"
    assert missing.value.message == (
        "could not get resource for include 'shared': gitrepositories.source.toolkit.fluxcd.io \"shared\" not found"
    )
    world.cluster.put(resource_of(GitRepository), repository("shared", artifact=ARTIFACT))
    (found,) = await world.includes.find(ASKING)
    assert found.copied.tree.read("url") == ARTIFACT["url"].encode()


async def test_includes_that_lead_back_are_refused() -> None:
    world = World(repository("shared", "third", artifact=ARTIFACT), repository("third", "app"))
    with pytest.raises(IncludeError, match="app -> shared -> third -> app") as circle:
        await world.includes.find(ASKING)
    assert circle.value.reason == "IncludeCycle"


def test_a_circle_further_on_is_not_ours() -> None:
    following = {"a": ("b", "c"), "b": ("c",), "c": ("b",)}
    assert way_back("a", lambda name: following.get(name, ())) == ()
    assert way_back("b", lambda name: following.get(name, ())) == ("b", "c", "b")
