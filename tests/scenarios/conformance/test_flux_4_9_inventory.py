"""Flux 4.9: the inventory. What it holds, in which form, and that no object ever gets lost from it."""

from __future__ import annotations

from typing import Any

import yaml

from tests.scenarios.conftest import KS, Story, message

CM = ("v1", "ConfigMap")
RBAC = "rbac.authorization.k8s.io/v1"


def config(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "b"}}


def document(*objects: dict[str, Any]) -> dict[str, str]:
    return {"all.yaml": yaml.safe_dump_all(objects)}


def entries(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["id"], entry["v"]) for entry in found["status"]["inventory"]["entries"]]


def cluster_wide(group: str) -> list[dict[str, Any]]:
    """A cluster-wide kind that kustomize does not know, and an object of it."""
    names = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "listKind": "GadgetList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"gadgets.{group}"},
        "spec": {"group": group, "scope": "Cluster", "names": names, "versions": [version]},
    }
    return [definition, {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": "g"}}]


async def test_ids_versions_and_order(story: Story) -> None:
    ns, group = story.namespace, f"{story.namespace}.example.org"
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": f"{ns}:reader"}, "rules": []}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    claim = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1},
    }
    story.git.commit(document(claim, service, config("b"), *cluster_wide(group), config("a"), role))
    await story.source()
    await story.kustomization()
    ready = await story.ready()
    assert entries(ready) == [
        (f"_gadgets.{group}_apiextensions.k8s.io_CustomResourceDefinition", "v1"),
        (f"_{ns}__reader_rbac.authorization.k8s.io_ClusterRole", "v1"),
        (f"{ns}_a__ConfigMap", "v1"),
        (f"{ns}_b__ConfigMap", "v1"),
        (f"{ns}_web__Service", "v1"),
        (f"{ns}_web_policy_PodDisruptionBudget", "v1"),
        (f"_g_{group}_Gadget", "v1"),
    ]

    await story.request(KS, "app", "again")
    again = await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "again")
    assert entries(again) == entries(ready)
    assert not [line for line in await story.events("app") if "skipped" in line]


async def test_a_build_of_nothing_stores_an_empty_list(story: Story) -> None:
    story.git.commit({"readme.txt": "nothing to see"})
    await story.source()
    await story.kustomization()
    ready = await story.ready()
    assert ready["status"]["inventory"] == {"entries": []}


async def test_a_build_of_nothing_after_something_has_to_be_allowed(story: Story) -> None:
    story.git.commit(document(config("a")))
    await story.source()
    await story.kustomization()
    await story.ready()
    empty = story.git.commit({"all.yaml": None, "readme.txt": "x"})
    await story.pull("empty")
    failed = await story.failed(text="no objects")
    assert entries(failed) == [(f"{story.namespace}_a__ConfigMap", "v1")]

    allow = {"metadata": {"annotations": {"weir.dev/allow-empty": "true"}}}
    await story.admin.patch(*KS, story.namespace, "app", allow)
    await story.request(KS, "app", "allowed")
    ready = await story.ready(revision=empty)
    assert ready["status"]["inventory"] == {"entries": []}
    assert await story.admin.find(*CM, story.namespace, "a") is None


async def test_an_apply_that_fails_leaves_the_inventory_alone(story: Story) -> None:
    story.git.commit(document(config("a")))
    await story.source()
    await story.kustomization()
    before = await story.ready()
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": -1}]}}
    story.git.commit(document(config("b"), wrong))
    await story.pull("wrong")
    failed = await story.failed(text="dry-run failed")
    assert entries(failed) == entries(before)
    assert failed["status"]["lastAppliedRevision"] == before["status"]["lastAppliedRevision"]
    assert failed["status"]["lastAttemptedRevision"] != before["status"]["lastAppliedRevision"]


async def test_another_api_version_is_the_same_object(story: Story) -> None:
    def scaler(version: str) -> dict[str, Any]:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
        spec = {"maxReplicas": 2, "scaleTargetRef": target}
        kind = "HorizontalPodAutoscaler"
        return {"apiVersion": f"autoscaling/{version}", "kind": kind, "metadata": {"name": "x"}, "spec": spec}

    kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
    story.git.commit(document(scaler("v1")))
    await story.source()
    await story.kustomization()
    await story.ready()
    before = await story.admin.get(*kind, story.namespace, "x")
    second = story.git.commit(document(scaler("v2")))
    await story.pull("second")
    ready = await story.ready(revision=second)
    assert entries(ready) == [(f"{story.namespace}_x_autoscaling_HorizontalPodAutoscaler", "v2")]
    after = await story.admin.get(*kind, story.namespace, "x")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert not [line for line in await story.events("app") if "deleted" in line]


async def test_a_revision_right_behind_another_orphans_nothing(story: Story) -> None:
    """Upstream reads the inventory from a cache, and forgets what the revision before has just made."""
    story.git.commit(document(config("stays"), config("r0")))
    await story.source()
    await story.kustomization()
    await story.ready()
    commits = []
    for number in range(1, 7):
        commits.append(story.git.commit(document(config("stays"), config(f"r{number}"))))
        await story.pull(commits[-1])
        if number % 2:  # every other one is overtaken at some point of its way
            await story.until(
                KS, "app", lambda found: commits[-1] in (found or {})["status"].get("lastAttemptedRevision", "")
            )
    ready = await story.ready(revision=commits[-1])
    selector = "kustomize.toolkit.fluxcd.io/name=app"
    found = await story.admin.list(*CM, story.namespace, selector)
    assert {each["metadata"]["name"] for each in found} == {"stays", "r6"}
    assert [identity for identity, _ in entries(ready)] == [
        f"{story.namespace}_r6__ConfigMap",
        f"{story.namespace}_stays__ConfigMap",
    ]


async def test_what_a_failed_apply_has_made_is_not_forgotten(story: Story) -> None:
    """Upstream stores the inventory after the apply: what a half-finished one made stays for ever."""
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": story.namespace}, "rules": []}
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": -1}]}}
    story.git.commit(document(role, wrong))
    await story.source()
    await story.kustomization(retryInterval="1h")
    failed = await story.failed(text=f"ClusterRole/{story.namespace} created")
    assert message(failed)
    mended = story.git.commit(document(config("a")))
    await story.pull("mended")
    await story.ready(revision=mended)
    assert await story.admin.find(RBAC, "ClusterRole", None, story.namespace) is None
