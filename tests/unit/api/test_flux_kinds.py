"""GitRepository and Kustomization: decoding what the API server sends, and the small rules that belong to the types."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from agent.api.gitrepository import GitRepository, GitRepositoryRef
from agent.api.kustomization import Kustomization

METADATA = {
    "name": "models",
    "namespace": "serving",
    "uid": "1",
    "resourceVersion": "7",
    "generation": 2,
    "creationTimestamp": "2026-01-02T03:00:00Z",
    "annotations": {"reconcile.fluxcd.io/requestedAt": "now"},
    "managedFields": [{"manager": "kubectl"}],
}


def kustomization(status=None, **spec):
    body = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "models"}, **spec}
    return Kustomization.from_object({"metadata": METADATA, "spec": body, "status": status or {}})


def repository(**spec):
    return GitRepository.from_object({"metadata": METADATA, "spec": {"url": "u", "interval": "1m", **spec}})


def test_an_object_from_the_api_server_decodes_and_unknown_fields_are_ignored():
    document = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": METADATA,
        "spec": {"url": "https://git/x", "interval": "1m0s", "ref": {"branch": "main"}, "invented": {"a": 1}},
        "status": {
            "observedGeneration": -1,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Succeeded",
                    "message": "m",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                    "observedGeneration": 2,
                }
            ],
            "artifact": {
                "digest": "sha256:00",
                "lastUpdateTime": "2026-01-02T03:04:05Z",
                "path": "p",
                "revision": "main@sha1:00",
                "url": "http://s/p",
                "size": 5,
            },
        },
    }
    value = GitRepository.decode(json.dumps(document).encode())

    assert (value.namespace, value.name, value.metadata.generation) == ("serving", "models", 2)
    assert value.requested_at == "now"
    assert not value.is_deleting
    assert value.status.observed_generation == -1
    assert value.status.artifact is not None
    assert value.status.artifact.last_update_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [(condition.type, condition.reason) for condition in value.status.conditions] == [("Ready", "Succeeded")]


def test_an_encoded_object_is_what_was_decoded_less_the_unknown():
    value = kustomization(path="./models", wait=True, status={"inventory": {"entries": []}, "observedGeneration": 2})
    document = value.to_object()
    assert document["apiVersion"] == "kustomize.toolkit.fluxcd.io/v1"
    assert document["kind"] == "Kustomization"
    assert document["spec"] == {
        "interval": "10m",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "models"},
        "path": "./models",
        "wait": True,
    }
    assert document["status"] == {"inventory": {"entries": []}, "observedGeneration": 2}
    assert Kustomization.from_object(document) == value


def test_values_are_frozen():
    with pytest.raises(AttributeError):
        kustomization().spec.prune = False


def test_constraints_of_the_crd_do_not_stop_an_older_object_from_decoding():
    assert kustomization(interval="soon", sourceRef={"kind": "Invented", "name": "x"}).spec.interval == "soon"


def test_a_wrong_type_is_an_error_that_names_the_field():
    with pytest.raises(msgspec.ValidationError, match=r"\$\.spec\.prune"):
        kustomization(prune="yes")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, GitRepositoryRef(branch="master")),
        ({"ref": {}}, GitRepositoryRef(branch="master")),
        ({"ref": {"branch": "main"}}, GitRepositoryRef(branch="main")),
        ({"ref": {"tag": "v1"}}, GitRepositoryRef(tag="v1")),
    ],
)
def test_master_is_followed_where_nothing_is_said(spec, expected):
    assert repository(**spec).ref == expected


def test_a_repository_has_a_timeout_of_a_minute_unless_it_says_otherwise():
    assert repository().timeout == 60.0
    assert repository(timeout="1m30s").timeout == 90.0
    assert repository(interval="1h").interval == 3600.0


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({"interval": "10m"}, 570),
        ({"interval": "1m"}, 30),
        ({"interval": "10s"}, 30),
        ({"interval": "10m", "timeout": "2m"}, 120),
        ({"interval": "10m", "timeout": "5s"}, 30),
    ],
)
def test_the_effective_timeout_is_never_under_thirty_seconds(spec, seconds):
    assert kustomization(**spec).effective_timeout() == seconds


def test_a_failed_pass_is_retried_after_the_retry_interval_or_else_the_interval():
    assert kustomization().retry_interval == 600.0
    assert kustomization(retryInterval="30s").retry_interval == 30.0


def test_references_without_a_namespace_mean_the_own_one():
    value = kustomization(dependsOn=[{"name": "a"}, {"name": "b", "namespace": "other"}])
    assert value.source_namespace == "serving"
    assert [value.dependency_key(item) for item in value.spec.depends_on] == [("serving", "a"), ("other", "b")]
    elsewhere = kustomization(sourceRef={"kind": "GitRepository", "name": "models", "namespace": "flux-system"})
    assert elsewhere.source_namespace == "flux-system"


@pytest.mark.parametrize(
    ("policy", "prune", "deletes", "waits"),
    [
        (None, True, True, False),
        (None, False, False, False),
        ("MirrorPrune", True, True, False),
        ("MirrorPrune", False, False, False),
        ("Delete", False, True, False),
        ("WaitForTermination", False, True, True),
        ("Orphan", True, False, False),
    ],
)
def test_what_deletion_of_a_kustomization_does_to_its_objects(policy, prune, deletes, waits):
    spec = {"prune": prune} if policy is None else {"prune": prune, "deletionPolicy": policy}
    value = kustomization(**spec)
    assert (value.deletes_objects, value.waits_for_termination) == (deletes, waits)
