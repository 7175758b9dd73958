"""Looking at the Pods behind a workload: what is asked for, with whose rights, and what comes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.podnews import PodNews
from agent.adapters.kube.resource import ListPage, Resource
from agent.controllers.kustomization.pods import with_pods
from agent.core.health import Health, Status
from agent.core.objects import Manifest, ObjectKey

WAITING = Health(Status.IN_PROGRESS, "Ready: 0/1")
REVISION = {"deployment.kubernetes.io/revision": "2"}
CRASHING = {"name": "main", "restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}


def workload(kind: str, api_version: str = "apps/v1") -> Manifest:
    metadata = {"name": "chat", "namespace": "team", "uid": "w", "annotations": REVISION}
    spec = {"selector": {"matchLabels": {"app": "chat"}}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def owned(by: str, **rest: Any) -> dict[str, Any]:
    metadata = {"uid": f"of-{by}", "ownerReferences": [{"uid": by}], "annotations": REVISION}
    return {"metadata": metadata, **rest}


class Lister:
    """Knows ReplicaSets of `w`, and a crashing Pod of each owner that it is told."""

    def __init__(self, *owners: str, refused: bool = False) -> None:
        self.owners = owners
        self.refused = refused
        self.asked: list[tuple[str, str, str]] = []

    async def list(
        self, resource: Resource, namespace: str, *, label_selector: str, metadata_only: bool = False
    ) -> ListPage:
        """Objects of the kind."""
        self.asked.append((resource.plural, namespace, label_selector))
        if self.refused:
            raise Forbidden("pods is forbidden", status=403)
        if resource.plural == "replicasets":
            assert metadata_only
            return ListPage((owned("w"),), "1")
        status = {"phase": "Running", "containerStatuses": [CRASHING]}
        return ListPage(tuple(owned(owner, status=status) for owner in self.owners), "1")


async def judged(lister: Lister, manifest: Manifest) -> Health:
    client: Any = lister
    key = ObjectKey("apps", manifest["kind"], "team", "chat")
    with PodNews(client, on_problem=lambda *_: None).hearing(asyncio.Queue()) as hearing:
        return await with_pods(client, key, manifest, WAITING, hearing)


async def test_a_deployment_is_judged_by_the_pods_of_its_replica_set() -> None:
    lister = Lister("of-w")
    assert (await judged(lister, workload("Deployment"))).status is Status.FAILED
    assert lister.asked == [("replicasets", "team", "app=chat"), ("pods", "team", "app=chat")]
    assert await judged(Lister("w", "of-another"), workload("Deployment")) == WAITING


async def test_a_stateful_set_is_judged_by_its_own_pods() -> None:
    lister = Lister("w")
    assert (await judged(lister, workload("StatefulSet"))).status is Status.FAILED
    assert [kind for kind, _, _ in lister.asked] == ["pods"]


async def test_without_the_right_to_list_pods_nothing_is_known_of_them() -> None:
    assert await judged(Lister("of-w", refused=True), workload("Deployment")) == WAITING


@pytest.mark.parametrize("other", [workload("DaemonSet"), workload("Deployment", "example.org/v1")])
async def test_other_kinds_are_not_looked_behind(other: Manifest) -> None:
    lister = Lister("w")
    assert await judged(lister, other) == WAITING
    assert lister.asked == []
