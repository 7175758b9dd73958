"""Flux reference, section 9: a Kustomization changes hands between kustomize-controller and Weir, and nothing moves.

The objects are sent here as kustomize-controller 1.9 was seen to send them: through Go's types, which write their empty
parts too. With the real controller the same was tried in both directions, see docs/install.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import yaml

from tests.scenarios.conformance.flux_command import dry_run, reconcile, settled_by_kubernetes
from tests.scenarios.conftest import KS, REPO, Object, RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
MANIFESTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: abc}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, creationTimestamp: null}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: web, ports: [{containerPort: 80}]}]}
status: {}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: web}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: yearly}
spec:
  schedule: 0 0 1 1 *
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: web}]}}}}
"""
CONTAINER = {"name": "main", "image": "web", "resources": {}}
POD = {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
PORT = {"containerPort": 80, "protocol": "TCP"}
LABELLED = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{**CONTAINER, "ports": [PORT]}]}}
SERVICE_PORTS = [
    {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 0},
    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 0},
]
DEPLOYMENT = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "strategy": {}, "template": LABELLED}
SENT: list[tuple[str, str, str, dict[str, Any]]] = [
    ("v1", "ServiceAccount", "runner", {}),
    ("v1", "Secret", "token", {"data": {"token": "YWJj"}}),
    ("v1", "Service", "web", {"spec": {"selector": {"app": "web"}, "ports": SERVICE_PORTS}}),
    ("apps/v1", "Deployment", "web", {"spec": DEPLOYMENT}),
    (
        "batch/v1",
        "CronJob",
        "yearly",
        {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"metadata": {}, "spec": {"template": POD}}}},
    ),
    ("batch/v1", "Job", "once", {"spec": {"suspend": True, "template": POD}}),
]
"""apiVersion, kind, name and the rest, in the order of applying."""


def as_flux_sends(story: Story) -> list[Object]:
    """The objects of `MANIFESTS`, with the labels of their owner."""
    owner = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": story.namespace}
    return [
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "namespace": story.namespace, "labels": owner},
            **rest,
        }
        for api_version, kind, name, rest in SENT
    ]


def as_flux_leaves_it(story: Story, revision: str) -> Object:
    """The status of a Kustomization that kustomize-controller has applied."""
    groups = {api_version: api_version.rpartition("/")[0] for api_version, *_ in SENT}
    entries = [
        {"id": f"{story.namespace}_{name}_{groups[api_version]}_{kind}", "v": "v1"}
        for api_version, kind, name, _ in SENT
    ]
    return {
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "ReconciliationSucceeded",
                "message": f"Applied revision: {revision}",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }
        ],
        "history": [
            {
                "digest": f"sha256:{'b' * 64}",
                "firstReconciled": "2026-01-02T03:04:05Z",
                "lastReconciled": "2026-01-02T03:04:05Z",
                "lastReconciledDuration": "92.664969ms",
                "lastReconciledStatus": "ReconciliationSucceeded",
                "metadata": {"revision": revision},
                "totalReconciliations": 2,
            }
        ],
        "inventory": {"entries": entries},
        "lastAppliedRevision": revision,
        "lastAttemptedRevision": revision,
        "observedGeneration": 1,
    }


async def state(story: Story) -> dict[str, Object]:
    """What must not move: identity, generation, labels, and what was applied when and by whom."""
    found: dict[str, Object] = {}
    for wanted in as_flux_sends(story):
        live = await story.admin.get(wanted["apiVersion"], wanted["kind"], story.namespace, wanted["metadata"]["name"])
        metadata = live["metadata"]
        found[f"{wanted['kind']}/{metadata['name']}"] = {
            **{key: metadata.get(key) for key in ("uid", "generation", "labels", "annotations")},
            "applied": [entry for entry in metadata["managedFields"] if entry["operation"] == "Apply"],
        }
    return found


async def at_rest(story: Story) -> None:
    """Wait until Kubernetes' own controllers have written their part."""
    for kind in ("Deployment", "Job"):
        api_version, _, name, _ = next(sent for sent in SENT if sent[1] == kind)
        await story.until((api_version, kind), name, settled_by_kubernetes)


@pytest.fixture
async def revision(story: Story) -> str:
    """A commit with all of it, and the two objects that name it."""
    commit = story.git.commit({"all.yaml": MANIFESTS})
    return f"main@sha1:{commit}"


async def test_weir_takes_over_from_kustomize_controller(story: Story, own_agent: OwnAgent, revision: str) -> None:
    await story.source()
    await story.kustomization()
    for wanted in as_flux_sends(story):
        await story.admin.apply(wanted, field_manager="kustomize-controller")
    finalizer = {"metadata": {"finalizers": ["finalizers.fluxcd.io"]}}
    await story.admin.patch(*KS, story.namespace, "app", finalizer)
    left = {"status": as_flux_leaves_it(story, revision)}
    await story.admin.patch(*KS, story.namespace, "app", left, subresource="status")
    await at_rest(story)
    before = await state(story)

    async with own_agent():
        ready = await reconcile(story, KS, "app")
        assert await state(story) == before
        assert ready["status"]["inventory"] == left["status"]["inventory"]
        assert ready["status"]["history"][-1] == left["status"]["history"][0]
        told = await story.events("app")
        assert not [line for line in told if "configured" in line or "created" in line]

        documents = [found for found in yaml.safe_load_all(MANIFESTS) if found["kind"] not in ("Job", "ServiceAccount")]
        story.git.commit({"all.yaml": yaml.safe_dump_all(documents)})
        await reconcile(story, REPO, "repo")
        await reconcile(story, KS, "app")
        assert await story.admin.find("batch/v1", "Job", story.namespace, "once") is None
        assert await story.admin.find("v1", "ServiceAccount", story.namespace, "runner") is None
        assert await story.admin.find("apps/v1", "Deployment", story.namespace, "web")


async def test_kustomize_controller_finds_nothing_to_do_after_weir(story: Story, revision: str) -> None:
    """It compares a dry run with the live object, as here."""
    await story.source()
    await story.kustomization()
    ready = await story.ready(revision=revision)
    assert ready["status"]["inventory"] == as_flux_leaves_it(story, revision)["inventory"]
    await at_rest(story)
    for wanted in as_flux_sends(story):
        live, merged = await dry_run(story, wanted)
        assert merged == live
