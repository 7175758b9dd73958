"""The end of a Kustomization: it always comes, and it never deletes with rights that it should not have."""

from __future__ import annotations

from typing import Any

import pytest
from controller_cluster import CONFIG_MAPS, FakeCluster, config_map

from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.finalize import Finalizer
from agent.controllers.kustomization.kubeconfig import KubeConfigError
from agent.core.changeset import ChangeSet
from agent.core.inventory import Entry
from agent.core.objects import Manifest, ObjectKey
from agent.errors import PruneError
from agent.runtime.controller import Done, RequeueAfter


class Statuses:
    """Counts removed finalizers."""

    def __init__(self) -> None:
        self.released = 0

    async def remove_finalizer(self, _current: Kustomization) -> None:
        """Note it."""
        self.released += 1


class Told:
    """What people heard."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.deleted: list[str] = []
        self.waits: list[str] = []

    def warn(self, _kustomization: Kustomization, message: str) -> None:
        """A warning."""
        self.warnings.append(message)

    def waiting(self, _kustomization: Kustomization, message: str) -> None:
        """What is waited for."""
        self.waits.append(message)

    def finalized(self, _kustomization: Kustomization, changes: ChangeSet) -> None:
        """Deleted objects."""
        self.deleted.append(changes.text(changes.changes))


class World:
    """A finalizer with everything around it."""

    def __init__(self, account: str = "") -> None:
        self.cluster, self.statuses, self.told = FakeCluster(), Statuses(), Told()
        self.now = 100.0
        self.heirs: dict[ObjectKey, tuple[str, str]] = {}
        self.out_of_reach: KubeConfigError | None = None
        self.finalizer = Finalizer(
            self.statuses,  # type: ignore[arg-type]  # duck-typed
            self.told,  # type: ignore[arg-type]  # duck-typed
            self.cluster.target,
            default_service_account=account,
            clock=lambda: self.now,
        )

    async def heirs_of(self, _kustomization: Kustomization, _entries: tuple[Entry, ...]) -> dict[ObjectKey, Any]:
        """Who is about to take objects over."""
        return dict(self.heirs)

    async def finalize(self, **spec: Any) -> Any:
        """One pass."""
        entries = spec.pop("entries", [{"id": "team_a__ConfigMap", "v": "v1"}])
        body = {
            "metadata": {"namespace": "team", "name": "app", "uid": "u", "finalizers": ["finalizers.fluxcd.io"]},
            "spec": {
                "interval": "10m",
                "prune": True,
                "sourceRef": {"kind": "GitRepository", "name": "repo"},
                "timeout": "1m",
                **spec,
            },
            "status": {"inventory": {"entries": entries}},
        }
        return await self.finalizer.finalize(Kustomization.from_object(body), self.target_of, self.heirs_of)

    async def target_of(self, _kustomization: Kustomization) -> Target:
        """The cluster, unless it is out of reach."""
        if self.out_of_reach is not None:
            raise self.out_of_reach
        return self.cluster.target


async def test_the_default_service_account_is_looked_for_too() -> None:
    world = World("default-sa")
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    assert await world.finalize() == Done()
    assert "ServiceAccount team/default-sa" in world.told.warnings[0]
    assert world.cluster.objects
    assert world.statuses.released == 1


async def test_an_entry_that_cannot_be_read_does_not_keep_the_rest() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    entries = [{"id": "nonsense", "v": "v1"}, {"id": "team_a__ConfigMap", "v": "v1"}]
    assert await world.finalize(entries=entries) == Done()
    assert not world.cluster.objects
    assert "nonsense" in world.told.warnings[0]
    assert world.statuses.released == 1


async def test_waiting_for_termination_holds_no_worker_and_ends_at_the_timeout() -> None:
    world = World()
    stuck = world.cluster.put(CONFIG_MAPS, config_map("a"))

    async def terminating(_resource: Resource, _namespace: str, name: str, **_options: Any) -> None:
        world.cluster.calls.append(f"delete {name}")

    world.cluster.delete = terminating  # type: ignore[method-assign]  # an object with a finalizer of its own
    assert stuck
    for _ in range(3):
        assert isinstance(await world.finalize(deletionPolicy="WaitForTermination"), RequeueAfter)
        world.now += 2.0
    assert world.statuses.released == 0
    assert len(world.told.deleted) == 1
    assert world.cluster.calls.count("delete a") == 1

    world.now += 60.0
    assert await world.finalize(deletionPolicy="WaitForTermination") == Done()
    assert "failed to wait for resources termination: ConfigMap/team/a" in world.told.warnings[-1]
    assert world.statuses.released == 1


async def test_an_object_that_is_not_deleted_is_not_waited_for() -> None:
    world = World()
    kept = config_map("a")
    kept["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/prune"] = "disabled"
    world.cluster.put(CONFIG_MAPS, kept)
    assert await world.finalize(deletionPolicy="WaitForTermination") == Done()
    assert world.cluster.objects


async def test_a_refused_deletion_keeps_the_finalizer_and_says_why() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))

    def refuse(verb: str, _name: str, _body: Manifest) -> None:
        if verb == "delete":
            raise Forbidden("no right", status=403)

    world.cluster.refuse = refuse
    with pytest.raises(PruneError, match="no right"):
        await world.finalize()
    assert world.statuses.released == 0
    assert "no right" in world.told.warnings[0]


REMOTE = {"secretRef": {"name": "remote"}}


async def test_a_cluster_out_of_reach_is_waited_for_until_somebody_decides_otherwise() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    world.out_of_reach = KubeConfigError("cluster https://far: no answer")
    for _ in range(3):
        with pytest.raises(
            PruneError, match=r"no answer; to leave the objects there, set spec.deletionPolicy to Orphan"
        ):
            await world.finalize(kubeConfig=REMOTE)
        world.now += 120.0
    assert world.told.warnings[0].startswith("pruning for deleted resource failed: failed to build kube client: ")
    assert world.statuses.released == 0
    world.out_of_reach = None
    assert await world.finalize(kubeConfig=REMOTE) == Done()
    assert not world.cluster.objects


async def test_the_decision_is_taken_although_the_cluster_is_out_of_reach() -> None:
    for decision in ({"deletionPolicy": "Orphan"}, {"suspend": True}):
        world = World()
        world.out_of_reach = KubeConfigError("cluster https://far: no answer")
        with pytest.raises(PruneError):
            await world.finalize(kubeConfig=REMOTE)
        assert await world.finalize(kubeConfig=REMOTE, **decision) == Done()
        assert world.statuses.released == 1


async def test_credentials_that_are_gone_get_the_timeout_to_come_back() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    world.out_of_reach = KubeConfigError("unable to read it: not found", gone=True)
    for _ in range(2):
        with pytest.raises(PruneError):
            await world.finalize(kubeConfig=REMOTE)
        world.now += 29.0
    assert world.statuses.released == 0
    world.now += 3.0
    assert await world.finalize(kubeConfig=REMOTE) == Done()
    assert world.told.warnings[-1].startswith("unable to prune objects: ")
    assert world.cluster.objects
    assert world.statuses.released == 1


async def test_a_cluster_that_goes_away_while_objects_end_is_not_waited_for_beyond_the_timeout() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))

    async def terminating(_resource: Resource, _namespace: str, name: str, **_options: Any) -> None:
        world.cluster.calls.append(f"delete {name}")

    world.cluster.delete = terminating  # type: ignore[method-assign]  # an object with a finalizer of its own
    waiting = {"kubeConfig": REMOTE, "deletionPolicy": "WaitForTermination"}
    assert isinstance(await world.finalize(**waiting), RequeueAfter)
    world.out_of_reach = KubeConfigError("cluster https://far: no answer")
    assert isinstance(await world.finalize(**waiting), RequeueAfter)
    world.now += 61.0
    assert await world.finalize(**waiting) == Done()
    assert world.told.warnings[-1] == "failed to wait for resources termination: ConfigMap/team/a"
    assert world.statuses.released == 1


async def test_an_account_of_another_cluster_is_not_looked_for_in_this_one() -> None:
    world = World("default-sa")
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    assert await world.finalize(kubeConfig=REMOTE) == Done()
    assert not world.cluster.objects


async def test_a_renamed_kustomization_gets_the_time_to_take_over_but_not_for_ever() -> None:
    world = World()
    world.cluster.put(CONFIG_MAPS, config_map("a"))
    world.heirs = {ObjectKey("", "ConfigMap", "team", "a"): ("team", "renamed")}
    for _ in range(2):
        assert isinstance(await world.finalize(), RequeueAfter)
    assert world.cluster.objects
    assert world.told.waits == ["1 objects are left to Kustomization team/renamed"]
    world.now += 61.0
    assert await world.finalize() == Done()
    assert not world.cluster.objects
