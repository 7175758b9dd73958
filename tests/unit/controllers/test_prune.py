"""Pruning: what counts as gone, and what is never deleted."""

from __future__ import annotations

from controller_cluster import CONFIG_MAPS, GADGETS, LABELS, OWNER, FakeCluster, config_map

from agent.adapters.kube.errors import Forbidden, NotFound
from agent.controllers.kustomization.prune import prune
from agent.core.changeset import Action
from agent.core.inventory import Entry
from agent.core.objects import Manifest, ObjectKey


def entry(name: str, namespace: str = "team", group: str = "", kind: str = "ConfigMap") -> Entry:
    return Entry(ObjectKey(group, kind, namespace, name), "v1")


async def test_an_object_that_vanishes_under_the_prune_counts_as_deleted() -> None:
    cluster = FakeCluster()
    cluster.put(CONFIG_MAPS, config_map("a"))

    def refuse(verb: str, _name: str, _body: Manifest) -> None:
        if verb == "delete":
            raise NotFound("already gone", status=404)

    cluster.refuse = refuse
    pruned = await prune(cluster.target, OWNER, [entry("a")])
    assert not pruned.failed
    assert [change.action for change in pruned.changes.changes] == [Action.DELETED]


async def test_entries_that_no_object_can_have_do_not_stop_the_others() -> None:
    cluster = FakeCluster()
    cluster.put(CONFIG_MAPS, config_map("a"))
    pruned = await prune(cluster.target, OWNER, [entry("b", namespace=""), entry(".."), entry("a")])
    assert not pruned.failed
    assert not cluster.objects


async def test_a_cluster_wide_object_is_not_pruned_because_its_useless_namespace_changed() -> None:
    cluster = FakeCluster()
    gadget = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g", "labels": LABELS}}
    cluster.put(GADGETS, gadget)
    old, new = entry("g", "before", "example.org", "Gadget"), entry("g", "after", "example.org", "Gadget")
    pruned = await prune(cluster.target, OWNER, [old], kept=[new])
    assert cluster.objects
    assert not pruned.failed
    await prune(cluster.target, OWNER, [old])
    assert not cluster.objects


async def test_a_refused_deletion_is_told_and_the_others_go_on() -> None:
    cluster = FakeCluster()
    for name in ("a", "b"):
        cluster.put(CONFIG_MAPS, config_map(name))

    def refuse(verb: str, name: str, _body: Manifest) -> None:
        if (verb, name) == ("delete", "b"):
            raise Forbidden("no", status=403)

    cluster.refuse = refuse
    pruned = await prune(cluster.target, OWNER, [entry("a"), entry("b")])
    assert {key.name for key in pruned.failed} == {"b"}
    assert len(cluster.objects) == 1
