"""DaemonSets and autoscalers: copies, pauses, readiness."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.api.canary import Canary
from agent.core.rollout.hashing import STOP, template_hash
from agent.core.rollout.readiness import daemonset_readiness
from agent.core.rollout.scalers import PAUSED, minimum_of, pausing, scaler_copy

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def canary(kind: str, **reference) -> Canary:
    api = "keda.sh/v1alpha1" if kind == "ScaledObject" else "autoscaling/v2"
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "autoscalerRef": {"apiVersion": api, "kind": kind, "name": "chat-so", **reference},
                "service": {"port": 80},
                "analysis": {},
            },
        }
    )


def scaled_object(**metadata):
    return {
        "metadata": {
            "name": "chat-so",
            "labels": {"team": "a", "kustomize.toolkit.fluxcd.io/name": "apps"},
            "annotations": {PAUSED: "0", "scaledobject.keda.sh/transfer-hpa-ownership": "true"},
        },
        "spec": {
            "scaleTargetRef": {"name": "chat", "kind": "Deployment"},
            "minReplicaCount": 2,
            "maxReplicaCount": 9,
            "pollingInterval": 5,
            "advanced": {"horizontalPodAutoscalerConfig": {"name": "chat-hpa"}},
            "triggers": [{"type": "prometheus", "name": "rate", "metadata": {"threshold": "5", **metadata}}],
        },
    }


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ('sum(rate(x{app="chat"}[1m]))', 'sum(rate(x{app="chat-primary"}[1m]))'),
        ('x{service="chat-canary"} + y{app="chat"}', 'x{service="chat-primary"} + y{app="chat-primary"}'),
    ],
)
def test_a_scaled_object_asks_about_the_primary(query, asked):
    made = scaler_copy(canary("ScaledObject"), scaled_object(query=query))
    assert made["spec"]["triggers"][0]["metadata"] == {"threshold": "5", "query": asked}
    assert made["spec"]["scaleTargetRef"] == {"name": "chat-primary", "kind": "Deployment"}
    assert made["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "chat-hpa-primary"
    assert made["metadata"]["name"] == "chat-so-primary"
    assert made["metadata"]["labels"] == {"team": "a"}
    assert made["metadata"]["annotations"] == {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}


def test_queries_and_bounds_of_the_canary_come_first():
    given = {"primaryScalerQueries": {"rate": "mine"}, "primaryScalerReplicas": {"minReplicas": 3, "maxReplicas": 4}}
    source = scaled_object(query="chat")
    made = scaler_copy(canary("ScaledObject", **given), source)
    assert made["spec"]["triggers"][0]["metadata"]["query"] == "mine"
    assert (made["spec"]["minReplicaCount"], made["spec"]["maxReplicaCount"]) == (3, 4)
    assert source["spec"]["triggers"][0]["metadata"]["query"] == "chat"


def test_a_horizontal_autoscaler_keeps_all_its_metrics():
    metrics = [{"type": "Resource", "resource": {"name": "cpu"}}, {"type": "External", "external": {}}]
    spec = {"scaleTargetRef": {"name": "chat"}, "minReplicas": 1, "maxReplicas": 5, "metrics": metrics, "behavior": {}}
    made = scaler_copy(
        canary("HorizontalPodAutoscaler", primaryScalerReplicas={"maxReplicas": 7}), {"metadata": {}, "spec": spec}
    )
    assert made["spec"] == {**spec, "maxReplicas": 7, "scaleTargetRef": {"name": "chat-primary"}}


def test_least_replicas():
    assert minimum_of("ScaledObject", scaled_object()) == 2
    assert minimum_of("HorizontalPodAutoscaler", {"spec": {"minReplicas": 4}}) == 4
    assert minimum_of("HorizontalPodAutoscaler", None) == 0


def test_a_pause_is_written_once():
    assert pausing(scaled_object(), paused=True) == {}
    assert pausing(scaled_object(), paused=False) == {"metadata": {"annotations": {PAUSED: None}}}
    assert pausing({"metadata": {}}, paused=True) == {"metadata": {"annotations": {PAUSED: "0"}}}


def daemonset(generation=1, **status):
    return {"metadata": {"name": "chat", "generation": generation}, "status": {"observedGeneration": 1, **status}}


@pytest.mark.parametrize(
    ("found", "text", "retriable"),
    [
        (daemonset(2), "waiting for rollout to finish: observed daemonset generation less than desired", True),
        (daemonset(desiredNumberScheduled=3, updatedNumberScheduled=1), "1 out of 3 new pods have been updated", True),
        (
            daemonset(desiredNumberScheduled=4, updatedNumberScheduled=4, numberAvailable=1),
            "1 of 2 (readyThreshold 50%) updated pods are available",
            True,
        ),
        (daemonset(desiredNumberScheduled=4, updatedNumberScheduled=4, numberAvailable=2), "", True),
        (daemonset(), "", True),
    ],
)
def test_a_daemonset_is_ready_by_its_pods(found, text, retriable):
    ready = daemonset_readiness(found, deadline=60, threshold=50, since=NOW - timedelta(seconds=59), now=NOW)
    assert text in ready.text
    assert ready.ready is (not text)
    assert ready.retriable is retriable


def test_a_daemonset_has_so_long_from_the_last_transition():
    late = daemonset(desiredNumberScheduled=3)
    ready = daemonset_readiness(late, deadline=60, threshold=100, since=NOW - timedelta(seconds=61), now=NOW)
    assert (ready.text, ready.retriable) == ("exceeded its progressDeadlineSeconds: 60", False)


def test_a_stopped_daemonset_is_the_same_revision():
    running = {"spec": {"containers": [], "nodeSelector": {"gpu": "a"}}}
    stopped = {"spec": {"containers": [], "nodeSelector": {"gpu": "a", STOP: "true"}}}
    assert template_hash(running) == template_hash(stopped)
    bare = {"spec": {"containers": []}}
    assert template_hash(bare) == template_hash({"spec": {"containers": [], "nodeSelector": {STOP: "true"}}})
