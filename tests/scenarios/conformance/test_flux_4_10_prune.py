"""Flux 4.10: pruning, and the end of a Kustomization."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml

from testbed.kube import condition
from tests.scenarios.conftest import KS, REPO, Story, message

GROUP = "kustomize.toolkit.fluxcd.io"
CM = ("v1", "ConfigMap")
RBAC = "rbac.authorization.k8s.io/v1"


def config(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "b"}}


async def begin(story: Story, *objects: dict[str, Any], **spec: Any) -> None:
    story.git.commit({"all.yaml": yaml.safe_dump_all(objects)})
    await story.source()
    await story.kustomization(**spec)
    await story.ready()


async def commit(story: Story, *objects: dict[str, Any]) -> str:
    made = story.git.commit({"all.yaml": yaml.safe_dump_all(objects)})
    await story.pull(made)
    return made


@asynccontextmanager
async def suspended(story: Story) -> AsyncIterator[None]:
    """Nothing is put right inside the block, and what is committed there is what the next pass sees."""
    await story.suspend()
    yield
    made = story.git.head()
    await story.until(REPO, "repo", lambda found: made in (found or {})["status"]["artifact"]["revision"])
    await story.kustomization(suspend=False)


async def delete(story: Story) -> None:
    await story.admin.delete(*KS, story.namespace, "app")


async def gone(story: Story) -> None:
    await story.until(KS, "app", lambda found: found is None)


async def exists(story: Story, name: str) -> bool:
    return await story.admin.find(*CM, story.namespace, name) is not None


async def account(story: Story, *verbs: str) -> None:
    """A ServiceAccount `deployer` that may do so much with ConfigMaps."""
    name, namespace = "deployer", story.namespace
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": list(verbs)}]
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    metadata = {"name": name, "namespace": namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await story.admin.apply({"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules})
    binding = {"apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata, "roleRef": reference}
    await story.admin.apply({**binding, "subjects": subjects})


async def test_what_left_git_is_deleted_in_reverse_order_and_told(story: Story) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    kept = config("kept", annotations={f"{GROUP}/prune": "disabled"})
    await begin(story, config("a"), config("b"), kept, service, config("stays"))
    second = await commit(story, config("stays"))
    ready = await story.ready(revision=second)
    ns = story.namespace
    told = await story.event("app", f"ConfigMap/{ns}/a deleted")
    assert told == (
        f"Progressing: Service/{ns}/web deleted\nConfigMap/{ns}/kept skipped\n"
        f"ConfigMap/{ns}/b deleted\nConfigMap/{ns}/a deleted"
    )
    assert {entry["id"] for entry in ready["status"]["inventory"]["entries"]} == {f"{ns}_stays__ConfigMap"}
    assert [await exists(story, name) for name in ("a", "b", "kept", "stays")] == [False, False, True, True]


async def test_without_prune_nothing_is_deleted_and_nothing_kept_in_the_inventory(story: Story) -> None:
    await begin(story, config("a"), config("b"), prune=False)
    second = await commit(story, config("b"))
    ready = await story.ready(revision=second)
    assert [entry["id"] for entry in ready["status"]["inventory"]["entries"]] == [f"{story.namespace}_b__ConfigMap"]
    assert await exists(story, "a")


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize(("control", "value"), [("prune", "Disabled"), ("reconcile", "disabled"), ("ssa", "Ignore")])
async def test_a_live_object_may_forbid_it(story: Story, where: str, control: str, value: str) -> None:
    await begin(story, config("a"), config("b"))
    await story.admin.patch(*CM, story.namespace, "a", {"metadata": {where: {f"{GROUP}/{control}": value}}})
    second = await commit(story, config("b"))
    await story.ready(revision=second)
    assert await exists(story, "a")


@pytest.mark.parametrize("label", ["name", "namespace"])
async def test_an_object_without_both_owner_labels_is_not_ours_to_delete(story: Story, label: str) -> None:
    await begin(story, config("a"), config("b"))
    async with suspended(story):
        change = {"metadata": {"labels": {f"{GROUP}/{label}": "other"}}}
        await story.admin.patch(*CM, story.namespace, "a", change)
        second = await commit(story, config("b"))
    await story.ready(revision=second)
    assert await exists(story, "a")
    assert await story.event("app", f"ConfigMap/{story.namespace}/a skipped")


async def test_what_is_already_gone_counts_as_deleted(story: Story) -> None:
    await begin(story, config("a"), config("b"))
    async with suspended(story):
        await story.admin.delete(*CM, story.namespace, "a")
        second = await commit(story, config("b"))
    await story.ready(revision=second)
    assert await story.event("app", f"ConfigMap/{story.namespace}/a deleted")


async def test_what_could_not_be_deleted_stays_in_the_inventory_and_is_tried_again(story: Story) -> None:
    await account(story, "get", "patch", "create")
    await begin(story, config("a"), config("b"), serviceAccountName="deployer")
    before = await story.admin.get(*KS, story.namespace, "app")
    second = await commit(story, config("b"))
    failed = await story.failed(text="delete failed")
    reasons = {entry["type"]: entry["reason"] for entry in failed["status"]["conditions"]}
    assert reasons["Ready"] == "PruneFailed"
    assert f"ConfigMap/{story.namespace}/a delete failed: " in message(failed)
    assert failed["status"]["lastAppliedRevision"] == before["status"]["lastAppliedRevision"]
    ids = [entry["id"] for entry in failed["status"]["inventory"]["entries"]]
    assert ids == [f"{story.namespace}_b__ConfigMap", f"{story.namespace}_a__ConfigMap"]
    assert failed["status"]["history"][0]["lastReconciledStatus"] == "PruneFailed"
    assert await story.event("app", "PruneFailed: ")

    await account(story, "get", "patch", "create", "delete")
    ready = await story.ready(revision=second)
    assert [entry["id"] for entry in ready["status"]["inventory"]["entries"]] == [f"{story.namespace}_b__ConfigMap"]
    assert not await exists(story, "a")


@pytest.mark.parametrize(
    ("spec", "deletes"),
    [
        ({}, True),
        ({"prune": False}, False),
        ({"deletionPolicy": "MirrorPrune"}, True),
        ({"deletionPolicy": "MirrorPrune", "prune": False}, False),
        ({"deletionPolicy": "Delete", "prune": False}, True),
        ({"deletionPolicy": "Orphan"}, False),
        ({"deletionPolicy": "WaitForTermination", "prune": False}, True),
    ],
)
async def test_the_deletion_policy(story: Story, spec: dict[str, Any], deletes: bool) -> None:
    await begin(story, config("a"), **spec)
    await delete(story)
    await gone(story)
    assert await exists(story, "a") is not deletes
    told = f"ConfigMap/{story.namespace}/a deleted"
    if deletes:
        assert await story.event("app", told)
    else:
        assert not [line for line in await story.events("app") if told in line]


async def test_a_suspended_one_orphans_everything(story: Story) -> None:
    await begin(story, config("a"), deletionPolicy="Delete")
    await story.kustomization(suspend=True, deletionPolicy="Delete")
    await delete(story)
    await gone(story)
    assert await exists(story, "a")


async def test_waiting_for_termination_ends_when_the_objects_are_gone(story: Story) -> None:
    await begin(story, config("a", finalizers=["example.org/slow"]), deletionPolicy="WaitForTermination")
    await delete(story)
    await story.until(CM, "a", lambda found: "deletionTimestamp" in (found or {})["metadata"])
    await story.event("app", f"ConfigMap/{story.namespace}/a deleted")
    assert await story.admin.find(*KS, story.namespace, "app")
    await story.admin.patch(*CM, story.namespace, "a", {"metadata": {"finalizers": None}})
    await gone(story)
    assert not await exists(story, "a")


async def test_without_that_policy_nobody_waits(story: Story) -> None:
    await begin(story, config("a", finalizers=["example.org/slow"]), deletionPolicy="Delete")
    await delete(story)
    await gone(story)
    left = await story.admin.get(*CM, story.namespace, "a")
    assert left["metadata"]["deletionTimestamp"]
    await story.admin.patch(*CM, story.namespace, "a", {"metadata": {"finalizers": None}})


async def test_a_service_account_that_is_gone_leaves_everything(story: Story) -> None:
    await account(story, "get", "patch", "create", "delete")
    await begin(story, config("a"), serviceAccountName="deployer")
    await story.admin.delete("v1", "ServiceAccount", story.namespace, "deployer")
    await delete(story)
    await gone(story)
    told = await story.event("app", "unable to prune objects: ")
    assert told.endswith(f"ConfigMap/{story.namespace}/a")
    assert await exists(story, "a")


async def test_a_deletion_that_is_refused_keeps_the_finalizer_and_is_tried_again(story: Story) -> None:
    await account(story, "get", "patch", "create")
    await begin(story, config("a"), serviceAccountName="deployer")
    await delete(story)
    told = await story.event("app", "pruning for deleted resource failed")
    assert f"ConfigMap/{story.namespace}/a" in told
    found = await story.admin.get(*KS, story.namespace, "app")
    assert found["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]

    await account(story, "get", "patch", "create", "delete")
    await gone(story)
    assert not await exists(story, "a")


async def test_dependencies_do_not_hold_a_deletion_up(story: Story) -> None:
    await begin(story, config("a"))
    await story.kustomization(dependsOn=[{"name": "never"}])
    await story.failed(text="never")
    await delete(story)
    await gone(story)
    assert not await exists(story, "a")


async def test_ready_stays_what_it_was_while_objects_are_pruned(story: Story) -> None:
    """A prune of nothing is no change: no event, and nobody's status moves."""
    await begin(story, config("a"))
    await story.request(KS, "app", "again")
    found = await story.until(KS, "app", lambda f: (f or {})["status"].get("lastHandledReconcileAt") == "again")
    assert condition(found, "Ready") == "True"
    assert not [line for line in await story.events("app") if "deleted" in line or "skipped" in line]
