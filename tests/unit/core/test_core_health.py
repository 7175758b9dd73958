"""Health of objects, kind by kind (kstatus, with Flux's rule for Jobs)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from core_values import JSON, NOW, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.health import Status, status_of

CURRENT, IN_PROGRESS, FAILED, TERMINATING = Status.CURRENT, Status.IN_PROGRESS, Status.FAILED, Status.TERMINATING


def _is(kind: str, status: str = "True", reason: str = "R", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": f"{kind} it is", **rest}


def _health(api_version: str, kind: str, status: Any, spec: Any = None, **metadata: Any) -> Status:
    rest = {"spec": spec} if spec is not None else {}
    return status_of(manifest(kind, api_version=api_version, metadata=metadata, status=status, **rest), NOW).status


AVAILABLE = _is("Available")
PROGRESSING = _is("Progressing", reason="NewReplicaSetAvailable")
DONE = {
    "replicas": 2,
    "updatedReplicas": 2,
    "readyReplicas": 2,
    "availableReplicas": 2,
    "conditions": [AVAILABLE, PROGRESSING],
}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, CURRENT),
        ({"replicas": 1}, IN_PROGRESS),
        ({"updatedReplicas": 1}, IN_PROGRESS),
        ({"replicas": 3}, IN_PROGRESS),
        ({"availableReplicas": 1}, IN_PROGRESS),
        ({"readyReplicas": 1}, IN_PROGRESS),
        ({"readyReplicas": None}, IN_PROGRESS),
        ({"conditions": [PROGRESSING]}, IN_PROGRESS),
        ({"conditions": None}, IN_PROGRESS),
        ({"conditions": [_is("Available", "False"), PROGRESSING]}, IN_PROGRESS),
        ({"conditions": [AVAILABLE, _is("Progressing", "False", "ProgressDeadlineExceeded")]}, FAILED),
        ({"replicas": 1, "conditions": [_is("Progressing", "False", "ProgressDeadlineExceeded")]}, FAILED),
    ],
)
def test_deployment(change: dict[str, Any], wanted: Status) -> None:
    assert _health("apps/v1", "Deployment", DONE | change, {"replicas": 2}) is wanted


def test_a_deployment_of_no_pods_only_has_to_be_available() -> None:
    assert _health("apps/v1", "Deployment", {"conditions": [AVAILABLE]}, {"replicas": 0}) is CURRENT
    assert _health("apps/v1", "Deployment", {}, {"replicas": 0}) is IN_PROGRESS


def test_a_deployment_that_says_no_number_wants_one_pod() -> None:
    assert _health("apps/v1", "Deployment", {"conditions": [AVAILABLE]}, {}) is IN_PROGRESS
    one = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "conditions": [AVAILABLE]}
    assert _health("apps/v1", "Deployment", one, {}) is CURRENT


SETTLED = {
    "replicas": 3,
    "readyReplicas": 3,
    "currentReplicas": 3,
    "updatedReplicas": 3,
    "currentRevision": "a",
    "updateRevision": "a",
}


def _partition(number: int) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


@pytest.mark.parametrize(
    ("change", "spec", "wanted"),
    [
        ({}, {}, CURRENT),
        ({"replicas": 2}, {}, IN_PROGRESS),
        ({"replicas": 4}, {}, IN_PROGRESS),
        ({"readyReplicas": 2}, {}, IN_PROGRESS),
        ({"currentReplicas": 2}, {}, IN_PROGRESS),
        ({"updateRevision": "b"}, {}, IN_PROGRESS),
        ({}, _partition(0), CURRENT),
        ({"updateRevision": "b", "updatedReplicas": 2}, _partition(0), IN_PROGRESS),
        ({"updateRevision": "b", "updatedReplicas": 1}, _partition(2), CURRENT),
        ({"updateRevision": "b", "updatedReplicas": 0}, _partition(2), IN_PROGRESS),
        ({"updateRevision": "b", "updatedReplicas": 0}, _partition(5), CURRENT),
        ({"readyReplicas": 0, "updateRevision": "b"}, {"updateStrategy": {"type": "OnDelete"}}, CURRENT),
    ],
)
def test_stateful_set(change: dict[str, Any], spec: dict[str, Any], wanted: Status) -> None:
    assert _health("apps/v1", "StatefulSet", SETTLED | change, {"replicas": 3, **spec}) is wanted


EVERYWHERE = {
    "observedGeneration": 1,
    "desiredNumberScheduled": 2,
    "currentNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
    "numberReady": 2,
}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, CURRENT),
        ({"observedGeneration": None}, IN_PROGRESS),
        ({"currentNumberScheduled": 1}, IN_PROGRESS),
        ({"updatedNumberScheduled": 1}, IN_PROGRESS),
        ({"numberAvailable": 1}, IN_PROGRESS),
        ({"numberReady": 1}, IN_PROGRESS),
        ({"desiredNumberScheduled": 0, "numberReady": 0}, CURRENT),
    ],
)
def test_daemon_set(change: dict[str, Any], wanted: Status) -> None:
    assert _health("apps/v1", "DaemonSet", EVERYWHERE | change, {}, generation=1) is wanted


COPIES = {"replicas": 2, "fullyLabeledReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, CURRENT),
        ({"fullyLabeledReplicas": 1}, IN_PROGRESS),
        ({"availableReplicas": 1}, IN_PROGRESS),
        ({"readyReplicas": 1}, IN_PROGRESS),
        ({"replicas": 3}, IN_PROGRESS),
        ({"conditions": [_is("ReplicaFailure")]}, IN_PROGRESS),
        ({"conditions": [_is("ReplicaFailure", "False")]}, CURRENT),
    ],
)
def test_replica_set(change: dict[str, Any], wanted: Status) -> None:
    assert _health("apps/v1", "ReplicaSet", COPIES | change, {"replicas": 2}) is wanted


def _unschedulable(seconds: float) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"conditions": [_is("PodScheduled", "False", "Unschedulable", lastTransitionTime=since)]}


CRASHING = [{"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, IN_PROGRESS),
        ({"phase": "Pending"}, IN_PROGRESS),
        ({"phase": "Running"}, IN_PROGRESS),
        ({"phase": "Running", "conditions": [_is("Ready")]}, CURRENT),
        ({"phase": "Running", "conditions": [_is("Ready", "False")]}, IN_PROGRESS),
        ({"phase": "Succeeded"}, CURRENT),
        ({"phase": "Failed"}, CURRENT),
        ({"phase": "Running", "containerStatuses": CRASHING}, FAILED),
        ({"phase": "Pending", "initContainerStatuses": CRASHING}, FAILED),
        ({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"waiting": None}}]}, IN_PROGRESS),
        ({"phase": "Pending", **_unschedulable(14)}, IN_PROGRESS),
        ({"phase": "Pending", **_unschedulable(16)}, FAILED),
        ({"phase": "Pending", "conditions": [_is("PodScheduled", "False", "SchedulingGated")]}, IN_PROGRESS),
    ],
)
def test_pod(status: dict[str, Any], wanted: Status) -> None:
    assert _health("v1", "Pod", status, {}) is wanted


@pytest.mark.parametrize(
    ("status", "spec", "wanted"),
    [
        ({}, {}, IN_PROGRESS),
        ({"active": 1, "startTime": "2026-01-01T00:00:00Z"}, {}, IN_PROGRESS),
        ({"conditions": [_is("Complete")]}, {}, CURRENT),
        ({"conditions": [_is("Complete", "False")]}, {}, IN_PROGRESS),
        ({"conditions": [_is("SuccessCriteriaMet")]}, {}, IN_PROGRESS),
        ({"conditions": [_is("Failed")]}, {}, FAILED),
        ({"conditions": [_is("Suspended")]}, {"suspend": True}, CURRENT),
    ],
)
def test_job(status: dict[str, Any], spec: dict[str, Any], wanted: Status) -> None:
    assert _health("batch/v1", "Job", status, spec) is wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"phase": "Bound"}, CURRENT),
        ({"phase": "Pending"}, IN_PROGRESS),
        ({"phase": "Lost"}, IN_PROGRESS),
        ({}, IN_PROGRESS),
    ],
)
def test_persistent_volume_claim(status: dict[str, Any], wanted: Status) -> None:
    assert _health("v1", "PersistentVolumeClaim", status) is wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"type": "LoadBalancer"}, IN_PROGRESS),
        ({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, CURRENT),
        ({"type": "ClusterIP"}, CURRENT),
        ({"type": "ExternalName"}, CURRENT),
        ({}, CURRENT),
    ],
)
def test_service(spec: dict[str, Any], wanted: Status) -> None:
    assert _health("v1", "Service", {"loadBalancer": {}}, spec) is wanted


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ([], IN_PROGRESS),
        ([_is("NamesAccepted")], IN_PROGRESS),
        ([_is("NamesAccepted"), _is("Established")], CURRENT),
        ([_is("NamesAccepted", "False"), _is("Established", "False")], FAILED),
        ([_is("Established", "False", "Installing")], IN_PROGRESS),
    ],
)
def test_custom_resource_definition(conditions: list[dict[str, Any]], wanted: Status) -> None:
    found = _health("apiextensions.k8s.io/v1", "CustomResourceDefinition", {"conditions": conditions})
    assert found is wanted


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("v1", "Secret"), ("v1", "ConfigMap"), ("batch/v1", "CronJob"), ("policy/v1", "PodDisruptionBudget")],
)
def test_kinds_that_are_done_once_they_exist(api_version: str, kind: str) -> None:
    assert _health(api_version, kind, {"conditions": [_is("Ready", "False")]}) is CURRENT


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, CURRENT),
        ({"phase": "Whatever"}, CURRENT),
        ({"conditions": []}, CURRENT),
        ({"conditions": [_is("Other", "False")]}, CURRENT),
        ({"conditions": [_is("Ready")]}, CURRENT),
        ({"conditions": [_is("Ready", "False")]}, IN_PROGRESS),
        ({"conditions": [_is("Ready", "Unknown")]}, IN_PROGRESS),
        ({"conditions": [_is("Ready"), _is("Reconciling")]}, IN_PROGRESS),
        ({"conditions": [_is("Ready", "False"), _is("Stalled")]}, FAILED),
        ({"conditions": [_is("Ready"), _is("Stalled", "False"), _is("Reconciling", "False")]}, CURRENT),
        ({"observedGeneration": 3, "conditions": [_is("Ready")]}, IN_PROGRESS),
        ({"observedGeneration": 4, "conditions": [_is("Ready")]}, CURRENT),
        ({"observedGeneration": 3, "conditions": [_is("Stalled")]}, IN_PROGRESS),
    ],
)
def test_any_other_kind(status: dict[str, Any], wanted: Status) -> None:
    assert _health("serving.kserve.io/v1beta1", "InferenceService", status, generation=4) is wanted


def test_a_kind_is_known_by_its_group() -> None:
    assert _health("x.io/v1", "Deployment", {"conditions": [_is("Ready")]}) is CURRENT


@pytest.mark.parametrize("status", [{}, DONE, {"conditions": [_is("Stalled")]}])
def test_what_is_being_deleted_is_terminating(status: dict[str, Any]) -> None:
    stamp = "2026-01-01T00:00:00Z"
    assert _health("apps/v1", "Deployment", status, {"replicas": 2}, deletionTimestamp=stamp) is TERMINATING


@pytest.mark.parametrize("api_version", ["apps/v1", "x.io/v1"])
def test_the_generic_rules_come_first(api_version: str) -> None:
    old = DONE | {"observedGeneration": 1}
    assert _health(api_version, "Deployment", old, {"replicas": 2}, generation=2) is IN_PROGRESS
    stalled = DONE | {"observedGeneration": 2, "conditions": [*DONE["conditions"], _is("Stalled")]}
    assert _health(api_version, "Deployment", stalled, {"replicas": 2}, generation=2) is FAILED


def test_messages_say_why() -> None:
    health = status_of(manifest("Thing", api_version="x.io/v1", status={"conditions": [_is("Ready", "False")]}), NOW)
    assert health.message == "Ready it is"
    crashing = status_of(manifest("Pod", status={"phase": "Running", "containerStatuses": CRASHING}), NOW)
    assert "main" in crashing.message


@given(JSON, st.integers(1, 3))
def test_custom_resources_may_say_anything_in_their_status(status: Any, generation: int) -> None:
    """A definition need not follow any convention; a check of such an object must still end."""
    assert _health("x.io/v1", "Thing", status, generation=generation) in Status


@given(st.lists(JSON | st.dictionaries(st.sampled_from(["type", "status", "message"]), JSON), max_size=3))
def test_nor_need_its_conditions(conditions: list[Any]) -> None:
    assert _health("x.io/v1", "Thing", {"conditions": conditions}) in Status


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"conditions": [_is("Promoted", "False", "Failed")]}, IN_PROGRESS),
        ({"conditions": [_is("Promoted", "Unknown", "Progressing")]}, CURRENT),
        ({"conditions": [_is("Promoted", "True", "Succeeded")]}, CURRENT),
        ({"conditions": [_is("Blocked", "True", "Paused")]}, CURRENT),
        ({}, CURRENT),
    ],
)
def test_a_canary_that_has_rejected_its_revision_is_not_there(status: dict[str, Any], wanted: Status) -> None:
    assert _health("flagger.app/v1beta1", "Canary", status) is wanted
