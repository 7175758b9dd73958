"""A source after a restart of the agent: what was fetched before stays available, whatever Git says now."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_cluster import FakeCluster
from prometheus_client import CollectorRegistry

from agent.adapters.artifacts import ArtifactFetcher, ArtifactStorage
from agent.adapters.git import GitMirrors
from agent.adapters.identity import Identities
from agent.adapters.journal import Journal
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.api.gitrepository import GitRepository, GitRepositoryInclude
from agent.api.kustomization import Kustomization
from agent.api.meta import LocalObjectReference
from agent.controllers.announcing import Announcer
from agent.controllers.changelog import ChangeLog
from agent.controllers.fresh import Fresh
from agent.controllers.gitrepository import GitAccess, GitRepositoryReconciler, SourceParts
from agent.controllers.includes import Includes
from agent.controllers.sourcelookup import SourceLookup
from agent.controllers.sources import SourceKey, SourcePendingError, SourceRegistry
from agent.controllers.tagregistries import TagRegistries
from agent.controllers.telling import Teller
from agent.controllers.workloadidentity import WorkloadAccounts
from agent.errors import WaitingError
from agent.runtime.backoff import Backoff
from agent.runtime.controller import Done, RequeueAfter
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Delete, Item, ObjectKey
from agent.telemetry.metrics import Metrics
from agent.telemetry.tokencache import TokenCacheMetrics
from testbed.git import GitHTTPServer

KEY = SourceKey("GitRepository", "team", "repo")
KUSTOMIZATION = Kustomization.from_object(
    {
        "metadata": {"namespace": "team", "name": "app"},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
    }
)


class Statuses:
    """Keeps the object as the API server would."""

    def __init__(self, store: Store[GitRepository]) -> None:
        self._store = store

    async def add_finalizer(self, current: GitRepository) -> GitRepository:
        """It is there already."""
        return current

    async def write(self, current: GitRepository, status: Any) -> GitRepository:
        """Store the status."""
        return put(self._store, msgspec.structs.replace(current, status=status))


def put(store: Store[GitRepository], repository: GitRepository) -> GitRepository:
    store.feed(Apply(Item(ObjectKey("team", repository.name), "1", repository)))
    return repository


class Silent:
    """Takes events and change records."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_options: None


class Heard:
    """The events about changes, which count as delivered."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def event(self, _involved: Any, _kind: str, reason: str, message: str, **_options: Any) -> None:
        """Note it."""
        self.told.append(f"{reason}: {message}")

    async def delivered(self) -> None:
        """At once."""


@dataclasses.dataclass
class Agent:
    """One life of the agent; the store outlives it, and the disk may."""

    store: Store[GitRepository]
    folder: Path
    address: str = "localhost"

    def __post_init__(self) -> None:
        self.registry, self.events = SourceRegistry(), Heard()
        self.log = ChangeLog(journal=Journal(self.folder / "history.jsonl", limit=100))
        anything: Any = self.events
        teller = Teller(self.log, FakeCluster().live, anything, Metrics(), triggers=tuple)  # type: ignore[arg-type]  # duck-typed
        fresh, cluster = Fresh(self.store), FakeCluster()
        self.parts = SourceParts(
            objects=fresh,
            access=GitAccess(
                cluster,  # type: ignore[arg-type]  # duck-typed
                Identities(ClusterServiceAccounts(cluster), TokenCacheMetrics(CollectorRegistry())),  # type: ignore[arg-type]  # duck-typed
                WorkloadAccounts(),
            ),
            mirrors=GitMirrors(self.folder / "mirrors"),
            storage=ArtifactStorage(self.folder / "artifacts", self.address),
            registry=self.registry,
            includes=Includes(
                fresh,
                cluster,  # type: ignore[arg-type]  # duck-typed
                self.registry,
                ArtifactFetcher(),
                requeue=30.0,
            ),
            status=Statuses(self.store),  # type: ignore[arg-type]  # duck-typed
            changes=Silent(),  # type: ignore[arg-type]  # duck-typed
            tags=TagRegistries(
                self.log,
                Announcer(self.log, teller, anything, anything),
                policies=tuple,
                belonging=lambda _source, _paths: {},
            ),
            events=Silent(),  # type: ignore[arg-type]  # duck-typed
            metrics=Metrics(),
            retry=Backoff(initial=0.75, maximum=900.0),
        )
        self.reconciler = GitRepositoryReconciler(self.parts)
        self.lookup = SourceLookup(
            FakeCluster(),  # type: ignore[arg-type]  # duck-typed
            None,  # type: ignore[arg-type]  # not asked for a local source
            self.registry,
            None,  # type: ignore[arg-type]  # not asked for a local source
            self.store,
            cross_namespace=True,
            requeue=30.0,
        )


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[GitHTTPServer, Store[GitRepository]]]:
    """A repository with one commit, and a GitRepository for it."""
    async with GitHTTPServer(tmp_path / "git") as server:
        server.repository("models").commit({"c.yaml": "a: 1"})
        store: Store[GitRepository] = Store()
        spec = {"url": server.url("models"), "interval": "10m", "ref": {"branch": "main"}, "timeout": "60s"}
        metadata = {"namespace": "team", "name": "repo", "generation": 1, "finalizers": ["finalizers.fluxcd.io"]}
        put(store, GitRepository.from_object({"metadata": metadata, "spec": spec}))
        yield server, store


def changed(store: Store[GitRepository], **spec: Any) -> GitRepository:
    current = store.get("team", "repo")
    assert current is not None
    return put(store, msgspec.structs.replace(current, spec=msgspec.structs.replace(current.spec, **spec)))


async def test_a_suspended_source_still_has_its_files_after_a_restart(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    first = Agent(store, tmp_path / "one")
    assert isinstance(await first.reconciler.reconcile(("team", "repo")), RequeueAfter)
    before = changed(store, suspend=True)
    server.repository("models").commit({"c.yaml": "a: 2"})

    second = Agent(store, tmp_path / "two")
    with pytest.raises(SourcePendingError):
        await second.lookup.find(KUSTOMIZATION)
    assert await second.reconciler.reconcile(("team", "repo")) == Done()
    snapshot = await second.lookup.find(KUSTOMIZATION)
    assert snapshot.tree.read("c.yaml") == b"a: 1"
    assert before.status.artifact is not None
    assert (snapshot.revision, snapshot.digest) == (before.status.artifact.revision, before.status.artifact.digest)
    assert (tmp_path / "two/artifacts" / before.status.artifact.path).is_file()
    assert store.get("team", "repo") == before


async def test_an_unreachable_source_is_served_from_the_disk_and_told_where_that_is_lost(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    await Agent(store, tmp_path / "one").reconciler.reconcile(("team", "repo"))
    await server.__aexit__(None, None, None)

    with_disk = Agent(store, tmp_path / "one")
    assert isinstance(await with_disk.reconciler.reconcile(("team", "repo")), RequeueAfter)
    assert (await with_disk.lookup.find(KUSTOMIZATION)).tree.read("c.yaml") == b"a: 1"

    without = Agent(store, tmp_path / "two")
    await without.reconciler.reconcile(("team", "repo"))
    with pytest.raises(WaitingError, match="Source artifact not found") as waiting:
        await without.lookup.find(KUSTOMIZATION)
    assert not isinstance(waiting.value, SourcePendingError)
    lost = store.get("team", "repo")
    assert lost is not None
    assert lost.status.artifact is None
    assert "ArtifactInStorage" not in {entry.type for entry in lost.status.conditions}


async def test_what_was_copied_in_is_still_there_after_a_restart(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    server.repository("shared").commit({"d.yaml": "a: 9"})
    spec = {"url": server.url("shared"), "interval": "10m", "ref": {"branch": "main"}, "timeout": "60s"}
    metadata = {"namespace": "team", "name": "shared", "generation": 1, "finalizers": ["finalizers.fluxcd.io"]}
    put(store, GitRepository.from_object({"metadata": metadata, "spec": spec}))
    changed(store, include=(GitRepositoryInclude(repository=LocalObjectReference(name="shared")),))
    first = Agent(store, tmp_path / "one")
    await first.reconciler.reconcile(("team", "shared"))
    await first.reconciler.reconcile(("team", "repo"))
    before = changed(store, suspend=True)
    assert [artifact.digest for artifact in before.status.included_artifacts] != []

    second = Agent(store, tmp_path / "one")
    assert await second.reconciler.reconcile(("team", "repo")) == Done()
    snapshot = await second.lookup.find(KUSTOMIZATION)
    assert (snapshot.tree.read("c.yaml"), snapshot.tree.read("shared/d.yaml")) == (b"a: 1", b"a: 9")
    assert store.get("team", "repo") == before

    without = Agent(store, tmp_path / "two")
    assert isinstance(await without.reconciler.reconcile(("team", "repo")), RequeueAfter)
    with pytest.raises(WaitingError, match="Source is not ready"):
        await without.lookup.find(KUSTOMIZATION)


async def test_a_bug_is_in_the_status_without_its_text(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    _, store = served
    agent = Agent(store, tmp_path / "one")

    class Broken(GitMirrors):
        async def checkout(self, *_args: Any) -> Any:
            raise ValueError("hunter2")

    agent.reconciler = GitRepositoryReconciler(dataclasses.replace(agent.parts, mirrors=Broken(tmp_path / "mirrors")))
    with pytest.raises(ValueError, match="hunter2"):
        await agent.reconciler.reconcile(("team", "repo"))
    seen = store.get("team", "repo")
    assert seen is not None
    (ready,) = (entry for entry in seen.status.conditions if entry.type == "Ready")
    assert (ready.status, "unexpected ValueError" in ready.message) == ("False", True)
    assert "hunter2" not in str(seen.status)


async def test_submodules_are_still_there_after_a_restart(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    weights = server.repository("weights").commit({"w.yaml": "a: 9"})
    server.repository("models").commit({}, submodules={"w": ("../weights.git", weights)})
    changed(store, recurse_submodules=True)
    await Agent(store, tmp_path / "one").reconciler.reconcile(("team", "repo"))
    before = changed(store, suspend=True)
    assert before.status.observed_recurse_submodules
    # With the mirrors, and without: then of the repositories again.
    for folder in ("one", "two"):
        again = Agent(store, tmp_path / folder)
        assert await again.reconciler.reconcile(("team", "repo")) == Done()
        assert (await again.lookup.find(KUSTOMIZATION)).tree.read("w/w.yaml") == b"a: 9"  # type: ignore[union-attr]
        assert before.status.artifact is not None
        assert (tmp_path / folder / "artifacts" / before.status.artifact.path).is_file()


async def test_the_archive_is_enough_where_git_is_gone(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    await Agent(store, tmp_path / "one").reconciler.reconcile(("team", "repo"))
    await server.__aexit__(None, None, None)
    shutil.rmtree(tmp_path / "one/mirrors")
    before = changed(store, suspend=True)
    again = Agent(store, tmp_path / "one")
    assert await again.reconciler.reconcile(("team", "repo")) == Done()
    found = await again.lookup.find(KUSTOMIZATION)
    assert found.tree.read("c.yaml") == b"a: 1"  # type: ignore[union-attr]
    assert before.status.artifact is not None
    assert (found.revision, found.digest) == (before.status.artifact.revision, before.status.artifact.digest)


async def test_the_address_of_the_artifact_follows_the_flag_also_where_git_is_gone(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    await Agent(store, tmp_path / "one").reconciler.reconcile(("team", "repo"))
    await server.__aexit__(None, None, None)
    await Agent(store, tmp_path / "one", "elsewhere:81").reconciler.reconcile(("team", "repo"))
    seen = store.get("team", "repo")
    assert seen is not None
    assert seen.status.artifact is not None
    assert seen.status.artifact.url == f"http://elsewhere:81/{seen.status.artifact.path}"
    assert {entry.type: entry.status for entry in seen.status.conditions}["FetchFailed"] == "True"


async def test_tags_that_register_models_are_told_once_whoever_runs_and_cost_no_transfer(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    repository = server.repository("models")
    first, second = repository.head(), repository.commit({"c.yaml": "a: 2"})
    repository.tag("nn#prod#1", first, message="to production")
    before = Agent(store, tmp_path / "one")
    await before.reconciler.reconcile(("team", "repo"))
    transfers, asked = len(server.transfers()), len(server.requests)
    await before.reconciler.reconcile(("team", "repo"))
    listing = len(server.requests) - asked
    repository.tag("nn#prod#2", second, message="to production")
    await before.reconciler.reconcile(("team", "repo"))
    assert before.events.told == [f"ModelChanged: model stage[prod] of File nn: gto:nn@{first} -> gto:nn@{second}"]
    assert len(server.transfers()) == transfers
    assert len(server.requests) == asked + 2 * listing

    repository.tag("nn#prod!#3", second, message="back")
    after = Agent(store, tmp_path / "one")
    await after.reconciler.reconcile(("team", "repo"))
    assert after.events.told == [f"ModelChanged: model stage[prod] of File nn: gto:nn@{second} -> gto:nn@{first}"]
    last = Agent(store, tmp_path / "one")
    await last.reconciler.reconcile(("team", "repo"))
    assert last.events.told == []
    # a simple tag: when it was made has to be asked for
    repository.tag("nn#prod", second, message="to production")
    await last.reconciler.reconcile(("team", "repo"))
    assert last.events.told == before.events.told
    (stored,) = [entry.record for entry in last.log.entries()][:1]
    assert (stored.cause, stored.direction) == ("tag-event", f"revert-to:{second}")


async def test_a_source_that_is_deleted_leaves_no_memory_of_its_tags(
    served: tuple[GitHTTPServer, Store[GitRepository]], tmp_path: Path
) -> None:
    server, store = served
    repository, agent = server.repository("models"), Agent(store, tmp_path / "one")
    repository.tag("nn#prod#1", repository.head(), message="to production")
    await agent.reconciler.reconcile(("team", "repo"))
    known = store.get("team", "repo")
    assert known is not None
    store.feed(Delete(ObjectKey("team", "repo")))
    await agent.reconciler.reconcile(("team", "repo"))
    repository.delete_tag("nn#prod#1")
    repository.tag("nn#dev#2", repository.head(), message="to development")
    put(store, known)
    await agent.reconciler.reconcile(("team", "repo"))
    assert agent.events.told == []
