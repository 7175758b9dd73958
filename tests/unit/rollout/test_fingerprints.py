"""Hashes, readiness, status patches: small things that everything else rests on."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.rollout.hashing import config_checksum, is_stable, template_hash
from agent.core.rollout.readiness import deployment_readiness
from agent.core.rollout.status import Phase, Status, decode_status, encode_status, status_patch

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEMPLATE = {
    "metadata": {"labels": {"app": "chat"}, "creationTimestamp": None},
    "spec": {"containers": [{"name": "server", "image": "a:1", "args": ["--model", "m1"]}]},
}


def changed(**parts):
    return {**TEMPLATE, **parts}


def test_what_means_nothing_does_not_change_the_hash():
    base = template_hash(TEMPLATE)
    assert is_stable(base)
    marks = {"kustomize.toolkit.fluxcd.io/checksum": "1", "flagger-id": "2"}
    assert template_hash(changed(metadata={"labels": {"app": "chat"}, "annotations": marks})) == base
    spec = {**TEMPLATE["spec"], "nodeSelector": {}, "volumes": [], "securityContext": {}, "hostNetwork": None}
    assert template_hash(changed(spec=spec)) == base


@pytest.mark.parametrize(
    "other",
    [
        changed(metadata={"labels": {"app": "chat", "x": "y"}}),
        changed(metadata={"labels": {"app": "chat"}, "annotations": {"restarted": "now"}}),
        changed(spec={"containers": [{"name": "server", "image": "a:1", "args": ["--model", "m2"]}]}),
        changed(spec={"containers": [{"name": "server", "image": "a:1", "args": ["m1", "--model"]}]}),
        changed(spec={**TEMPLATE["spec"], "hostNetwork": False}),
    ],
)
def test_what_means_something_does(other):
    assert template_hash(other) != template_hash(TEMPLATE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(spec=st.dictionaries(st.text(min_size=1, max_size=4), JSON, max_size=4))
def test_the_order_of_keys_does_not_matter(spec):
    backwards = dict(reversed(spec.items()))
    assert template_hash({"spec": spec}) == template_hash({"spec": backwards})


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        # Go: fmt.Sprintf("%x", sha256.Sum256(json.Marshal(map[string]string{...}))[:8])
        (None, "74234e98afe7498f"),
        ({}, "44136fa355b3678a"),
    ],
)
def test_checksums_of_configs_are_those_of_go(data, checksum):
    assert config_checksum(data) == checksum


def test_checksums_escape_as_go_does():
    go = b'{"a":"\\u003c\\u0026\\u003e","b":"\xc3\xa4"}'
    assert config_checksum({"b": "ä", "a": "<&>"}) == hashlib.sha256(go).digest()[:8].hex()


def deployment(*, replicas=2, generation=3, conditions=(), **status):
    return {
        "metadata": {"name": "chat", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 3, "conditions": list(conditions), **status},
    }


def available(status, seconds):
    since = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "Available",
        "status": status,
        "reason": "MinimumReplicasUnavailable" if status == "False" else "MinimumReplicasAvailable",
        "lastUpdateTime": since,
    }


PROGRESSING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
DEADLINE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


@pytest.mark.parametrize(
    ("found", "text", "retriable"),
    [
        (deployment(updatedReplicas=2, replicas=2, availableReplicas=2, generation=3), "", True),
        (deployment(replicas=0), "", True),
        (deployment(generation=4), "observed deployment generation less than desired generation", True),
        (deployment(updatedReplicas=1), "1 out of 2 new replicas have been updated", True),
        (deployment(updatedReplicas=2, availableReplicas=1), "1 of 2 (readyThreshold 100%) updated", True),
        (deployment(conditions=[DEADLINE]), "exceeded its progress deadline", False),
        (deployment(conditions=[PROGRESSING, available("False", 20)]), "0 out of 2", False),
        (deployment(conditions=[PROGRESSING, available("False", 5)]), "0 out of 2", True),
        (deployment(conditions=[available("False", 20)]), "0 out of 2", True),
    ],
)
def test_readiness(found, text, retriable):
    ready = deployment_readiness(found, deadline=10, threshold=100, now=NOW)
    assert text in ready.text
    assert ready.ready == (text == "")
    assert ready.retriable == retriable


def test_old_pods_are_waited_for_and_a_lower_threshold_counts():
    old = deployment(updatedReplicas=2, availableReplicas=2)
    old["status"]["replicas"] = 3
    assert (
        "1 old replicas are pending termination" in deployment_readiness(old, deadline=9, threshold=100, now=NOW).text
    )
    half = deployment(updatedReplicas=2, availableReplicas=1)
    assert deployment_readiness(half, deadline=9, threshold=50, now=NOW).ready


def test_a_status_goes_to_the_server_and_back():
    status = Status().synced(
        Phase.PROGRESSING, kind="Deployment", now=NOW, applied="v2:b", tracked={"configmap/a": "1"}
    )
    assert decode_status(encode_status(status)) == status


def test_a_patch_says_only_what_is_new_and_leaves_others_alone():
    status = Status().synced(
        Phase.INITIALIZED, kind="Deployment", now=NOW, applied="v2:a", tracked={"configmap/a": "1"}
    )
    stored = {**encode_status(status), "sessionAffinityCookie": "c=1"}
    assert status_patch(stored, decode_status(stored)) == {}
    later = decode_status(stored).weighing(20, NOW)
    assert status_patch(stored, later) == {"status": {"canaryWeight": 20}}
    other = decode_status(stored).synced(
        Phase.PROGRESSING, kind="Deployment", now=NOW, applied="v2:b", tracked={"secret/b": "2"}
    )
    patch = status_patch(stored, other)["status"]
    assert patch["trackedConfigs"] == {"secret/b": "2", "configmap/a": None}
    assert "sessionAffinityCookie" not in patch


def test_conditions_are_rewritten_only_for_news():
    later = NOW + timedelta(minutes=1)
    status = Status().entering(Phase.WAITING, kind="Deployment", now=NOW)
    condition = status.condition("Promoted")
    assert (condition.status, condition.reason, condition.message) == ("Unknown", "Waiting", "Waiting for approval.")
    assert status.entering(Phase.WAITING, kind="Deployment", now=later).conditions == status.conditions
    moved = status.entering(Phase.PROGRESSING, kind="Deployment", now=later).condition("Promoted")
    assert (moved.last_transition_time, moved.last_update_time) == (NOW, later)
    done = status.entering(Phase.SUCCEEDED, kind="Deployment", now=later).condition("Promoted")
    assert (done.status, done.last_transition_time) == ("True", later)


def test_waiting_for_promotion_forgets_weight_and_steps_back_an_iteration():
    status = Status(phase=Phase.PROGRESSING, canary_weight=50, iterations=5)
    waiting = status.entering(Phase.WAITING_PROMOTION, kind="Deployment", now=NOW, iterations=4)
    assert (waiting.canary_weight, waiting.iterations) == (0, 4)
    promoting = status.entering(Phase.PROMOTING, kind="Deployment", now=NOW)
    assert (promoting.canary_weight, promoting.iterations) == (50, 5)


def test_a_block_is_said_once():
    status = Status().blocked("TargetNotFound", "gone", NOW)
    assert status.blocked("TargetNotFound", "gone", NOW + timedelta(1)) is status
    assert status.unblocked().conditions == ()
    assert Status().unblocked() == Status()
