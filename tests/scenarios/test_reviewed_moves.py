"""An object that moves from one Kustomization to another in a commit is handed over: it is never away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from testbed.kube import Object
from tests.scenarios.conftest import KS, Story

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
OWNER = "kustomize.toolkit.fluxcd.io/name"


def ids(kustomization: Object | None) -> set[str]:
    """The names in an inventory."""
    entries = (kustomization or {}).get("status", {}).get("inventory", {}).get("entries", ())
    return {entry["id"].split("_")[1] for entry in entries}


@pytest.mark.parametrize("first", ["old", "new"])
async def test_an_object_that_moves_keeps_its_identity_whoever_goes_first(story: Story, first: str) -> None:
    second = {"old": "new", "new": "old"}[first]
    story.git.commit(
        {
            "old/moving.yaml": CONFIG % ("moving", "x"),
            "old/a.yaml": CONFIG % ("a", "x"),
            "new/b.yaml": CONFIG % ("b", "x"),
        }
    )
    await story.source()
    await story.kustomization(first, path=f"./{first}")
    await story.kustomization(second, path=f"./{second}", dependsOn=[{"name": first}])
    await story.ready("old")
    await story.ready("new")
    before = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")
    assert before["metadata"]["labels"][OWNER] == "old"

    moved = story.git.commit({"old/moving.yaml": None, "new/moving.yaml": CONFIG % ("moving", "y")})
    await story.pull("moved")
    await story.ready("old", moved)
    await story.ready("new", moved)
    after = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert (after["metadata"]["labels"][OWNER], after["data"]) == ("new", {"greeting": "y"})
    await story.until(KS, "old", lambda found: ids(found) == {"a"})
    assert ids(await story.admin.get(*KS, story.namespace, "new")) == {"b", "moving"}


GADGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.%(group)s}
spec:
  group: %(group)s
  scope: Cluster
  names: {kind: Gadget, plural: gadgets, singular: gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


async def test_a_cluster_wide_object_moves_too_although_the_build_gives_it_a_namespace(story: Story) -> None:
    group = f"{story.namespace}.example.org"
    gadget = f"apiVersion: {group}/v1\nkind: Gadget\nmetadata: {{name: moving}}\n"
    story.git.commit(
        {"old/crd.yaml": GADGETS % {"group": group}, "old/moving.yaml": gadget, "new/b.yaml": CONFIG % ("b", "x")}
    )
    await story.source()
    await story.kustomization("old", path="./old")
    await story.kustomization("new", path="./new", dependsOn=[{"name": "old"}])
    await story.ready("new")
    before = await story.admin.get(f"{group}/v1", "Gadget", None, "moving")

    moved = story.git.commit({"old/moving.yaml": None, "new/moving.yaml": gadget})
    await story.pull("moved")
    await story.ready("old", moved)
    await story.ready("new", moved)
    after = await story.admin.get(f"{group}/v1", "Gadget", None, "moving")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"][OWNER] == "new"
    await story.until(KS, "old", lambda found: ids(found) == {f"gadgets.{group}"})


async def test_an_object_stays_with_its_owner_until_the_heir_can_take_it_and_no_longer(story: Story) -> None:
    story.git.commit({"old/moving.yaml": CONFIG % ("moving", "x"), "old/a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization("old", path="./old")
    await story.ready("old")
    before = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")

    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name}\n"
    moved = story.git.commit(
        {"old/moving.yaml": None, "new/moving.yaml": CONFIG % ("moving", "y"), "new/wrong.yaml": wrong}
    )
    await story.kustomization("new", path="./new", dependsOn=[{"name": "old"}])
    await story.pull("moved")
    await story.ready("old", moved)
    await story.failed("new", "Not_A_Name")
    assert ids(await story.admin.get(*KS, story.namespace, "old")) == {"a", "moving"}
    live = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")
    assert live["metadata"]["uid"] == before["metadata"]["uid"]

    given_up = story.git.commit({"new/moving.yaml": None, "new/wrong.yaml": None, "new/b.yaml": CONFIG % ("b", "x")})
    await story.pull("given-up")
    await story.ready("new", given_up)
    await story.until(("v1", "ConfigMap"), "moving", lambda found: found is None)
    await story.until(KS, "old", lambda found: ids(found) == {"a"})


async def test_a_renamed_kustomization_takes_its_objects_along(story: Story) -> None:
    story.git.commit({"app/model.yaml": CONFIG % ("model", "x")})
    await story.source()
    await story.kustomization("before", path="./app")
    await story.ready("before")
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "model")

    await story.kustomization("after", path="./app")
    await story.admin.delete(*KS, story.namespace, "before")
    await story.until(KS, "before", lambda left: left is None)
    await story.ready("after")
    kept = await story.admin.get("v1", "ConfigMap", story.namespace, "model")
    assert kept["metadata"]["uid"] == found["metadata"]["uid"]
    assert kept["metadata"]["labels"][OWNER] == "after"


@pytest.fixture
async def elsewhere(story: Story) -> AsyncIterator[Story]:
    """Another namespace, with an account `team` that may do nothing and Kustomizations that apply to the story's."""
    admin, name = story.admin, f"{story.namespace}-b"
    await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "team", "namespace": name}})
    yield Story(admin, name, story.server)
    await admin.delete(*KS, name, "new", missing_ok=True)
    await admin.wait_for(*KS, name, "new", lambda left: left is None)
    await admin.delete("v1", "Namespace", None, name)


@pytest.mark.parametrize("account", [None, "team"])
async def test_a_team_cannot_hold_back_the_objects_of_another_namespace_by_claiming_them(
    story: Story, elsewhere: Story, account: str | None
) -> None:
    story.git.commit({"old/moving.yaml": CONFIG % ("moving", "x"), "old/a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization("old", path="./old")
    await story.ready("old")
    before = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")

    # claims the object, but waits for something that never comes; who acts as the agent could delete it anyway
    claim = {"sourceRef": {"kind": "GitRepository", "name": "repo", "namespace": story.namespace}, "path": "./new"}
    late = {"targetNamespace": story.namespace, "dependsOn": [{"name": "never"}]}
    identity = {"serviceAccountName": account} if account else {}
    moved = story.git.commit({"old/moving.yaml": None, "new/moving.yaml": CONFIG % ("moving", "y")})
    await elsewhere.kustomization("new", **claim, **late, **identity)
    await elsewhere.failed("new", "never")
    await story.pull("moved")
    await story.ready("old", moved)
    if account:
        assert ids(await story.admin.get(*KS, story.namespace, "old")) == {"a"}
        await story.until(("v1", "ConfigMap"), "moving", lambda found: found is None)
    else:
        kept = await story.admin.get("v1", "ConfigMap", story.namespace, "moving")
        assert kept["metadata"]["uid"] == before["metadata"]["uid"]
        assert ids(await story.admin.get(*KS, story.namespace, "old")) == {"a", "moving"}
