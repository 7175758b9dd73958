"""What the Pods of a workload say about it."""

from __future__ import annotations

from typing import Any

import pytest
from core_values import NOW, manifest

from agent.core.health import Status
from agent.core.health.pods import RESTARTS, current_replica_set, selector_of, stalled_by

REVISION = "deployment.kubernetes.io/revision"
DEPLOYMENT = manifest("Deployment", "chat", "apps/v1", metadata={"uid": "d", "annotations": {REVISION: "2"}})
STATEFUL_SET = manifest("StatefulSet", "chat", "apps/v1", metadata={"uid": "s"})


def owned(kind: str, by: str, **metadata: Any) -> dict[str, Any]:
    return manifest(kind, metadata={"ownerReferences": [{"uid": by}], **metadata})


def pod(by: str, reason: str = "CrashLoopBackOff", restarts: int = RESTARTS, **status: Any) -> dict[str, Any]:
    container = {"name": "main", "restartCount": restarts, "state": {"waiting": {"reason": reason}}}
    return {**owned("Pod", by), "status": {"phase": "Running", "containerStatuses": [container], **status}}


def unschedulable() -> dict[str, Any]:
    return pod("s", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}])


def test_the_pods_of_the_newest_replica_set_count() -> None:
    old = owned("ReplicaSet", "d", uid="r1", annotations={REVISION: "1"})
    new = owned("ReplicaSet", "d", uid="r2", annotations={REVISION: "2"})
    foreign = owned("ReplicaSet", "other", uid="r3", annotations={REVISION: "2"})
    assert current_replica_set(DEPLOYMENT, [old, foreign, new]) == new
    assert current_replica_set(DEPLOYMENT, [old, foreign]) is None
    assert current_replica_set(manifest("Deployment"), [new]) is None


def test_a_crash_loop_fails_a_stateful_set_at_once_and_a_deployment_after_some_restarts() -> None:
    for workload, restarts, fails in (
        (STATEFUL_SET, 0, True),
        (DEPLOYMENT, RESTARTS, True),
        (DEPLOYMENT, RESTARTS - 1, False),
    ):
        health = stalled_by(workload, STATEFUL_SET, [pod("s", restarts=restarts), pod("s", "ContainerCreating")], NOW)
        assert (health is not None) is fails
        if health is not None:
            assert (health.status, health.message) == (Status.FAILED, "1 pods have failed")


@pytest.mark.parametrize(
    "other",
    [
        pod("another"),
        pod("s", "ImagePullBackOff"),
        unschedulable(),
        pod("s") | {"metadata": {**pod("s")["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        pod("s", phase="Failed"),
        owned("Pod", "s"),
    ],
)
def test_other_pods_do_not_fail_their_workload(other: dict[str, Any]) -> None:
    assert stalled_by(STATEFUL_SET, STATEFUL_SET, [other], NOW) is None


def test_selectors_as_the_api_takes_them() -> None:
    terms = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "NotIn", "values": ["x"]},
        {"key": "app", "operator": "Exists"},
        {"key": "gone", "operator": "DoesNotExist"},
    ]
    workload = manifest("Deployment", spec={"selector": {"matchLabels": {"app": "chat"}, "matchExpressions": terms}})
    assert selector_of(workload) == "app=chat,tier in (a,b),old notin (x),app,!gone"
    assert selector_of(manifest("Deployment")) == ""
