"""Inventory entries in Flux's form, and the inventory as a set."""

from __future__ import annotations

import msgspec
import pytest
from core_values import KEYS, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.kustomization import Inventory as StatusInventory
from agent.api.kustomization import InventoryEntry
from agent.core.inventory import Entry, Inventory, format_id, from_status, inventory_of, parse_id, to_status
from agent.core.objects import ObjectKey

VERSIONS = st.sampled_from(["v1", "v1beta1", "v2"])
# Few keys, so that sets overlap.
POOL = [ObjectKey("apps", "Deployment", namespace, name) for namespace in ("", "n") for name in "abc"]
ENTRIES = st.builds(Entry, st.sampled_from(POOL), VERSIONS)
INVENTORIES = st.lists(ENTRIES, max_size=6, unique_by=lambda entry: entry.key).map(lambda e: Inventory(tuple(e)))

EXAMPLES = [
    (ObjectKey("apps", "Deployment", "models", "llm"), "models_llm_apps_Deployment"),
    (ObjectKey("", "Service", "default", "web"), "default_web__Service"),
    (ObjectKey("", "Namespace", "", "models"), "_models__Namespace"),
    (
        ObjectKey("rbac.authorization.k8s.io", "ClusterRole", "", "system:node:reader"),
        "_system__node__reader_rbac.authorization.k8s.io_ClusterRole",
    ),
    (
        ObjectKey("rbac.authorization.k8s.io", "RoleBinding", "ns", "a:b"),
        "ns_a__b_rbac.authorization.k8s.io_RoleBinding",
    ),
]


@pytest.mark.parametrize(("key", "text"), EXAMPLES)
def test_ids_have_the_form_that_flux_tree_reads(key: ObjectKey, text: str) -> None:
    assert format_id(key) == text
    assert parse_id(text) == key


@given(KEYS)
def test_every_key_survives_its_id(key: ObjectKey) -> None:
    assert parse_id(format_id(key)) == key


@given(KEYS, KEYS)
def test_different_objects_have_different_ids(one: ObjectKey, other: ObjectKey) -> None:
    assert (format_id(one) == format_id(other)) is (one == other)


@pytest.mark.parametrize("text", ["", "a", "a_b", "a_b_c", "ns__apps_Deployment", "ns_name_apps_", "___"])
def test_what_is_no_id_is_refused_rather_than_forgotten(text: str) -> None:
    with pytest.raises(ValueError, match="inventory id"):
        parse_id(text)
    with pytest.raises(ValueError, match="inventory id"):
        from_status(StatusInventory(entries=(InventoryEntry(id=text, v="v1"),)))


@given(INVENTORIES)
def test_the_status_holds_the_inventory_and_its_order(inventory: Inventory) -> None:
    assert from_status(to_status(inventory)) == inventory


@pytest.mark.parametrize("status", [None, StatusInventory(entries=())])
def test_no_status_is_an_empty_inventory(status: StatusInventory | None) -> None:
    assert from_status(status) == Inventory()


def test_an_empty_inventory_is_written_as_an_empty_list() -> None:
    assert msgspec.json.encode(to_status(Inventory())) == b'{"entries":[]}'


@given(INVENTORIES, INVENTORIES)
def test_a_union_has_what_either_has_once(one: Inventory, other: Inventory) -> None:
    union = one.union(other)
    assert union.keys() == one.keys() | other.keys()
    assert len(union.entries) == len(union.keys())
    versions = {entry.key: entry.version for entry in union.entries}
    assert all(versions[entry.key] == entry.version for entry in other.entries)


@given(INVENTORIES, INVENTORIES)
def test_a_union_adds_nothing_twice(one: Inventory, other: Inventory) -> None:
    assert one.union(one) == one
    assert one.union(Inventory()) == one
    assert one.union(other).union(other) == one.union(other)


@given(INVENTORIES, INVENTORIES)
def test_what_is_kept_and_what_is_stale_make_up_the_whole(one: Inventory, other: Inventory) -> None:
    stale = {entry.key for entry in one.stale(other)}
    assert stale == one.keys() - other.keys()
    assert one.minus(stale).keys() == one.keys() & other.keys()
    assert one.union(other).stale(other) == one.stale(other)


@given(INVENTORIES, st.data())
def test_another_version_is_not_another_object(inventory: Inventory, data: st.DataObject) -> None:
    bumped = Inventory(tuple(Entry(entry.key, data.draw(VERSIONS)) for entry in inventory.entries))
    assert inventory.stale(bumped) == ()
    assert inventory.union(bumped) == bumped


def test_an_inventory_of_manifests_is_in_the_order_of_applying() -> None:
    objects = [manifest("Deployment", "a", "apps/v1"), manifest("Service", "b"), manifest("Service", "a")]
    inventory = inventory_of(objects)
    assert [format_id(entry.key) for entry in inventory.entries] == [
        "apps_a__Service",
        "apps_b__Service",
        "apps_a_apps_Deployment",
    ]
    assert [entry.api_version for entry in inventory.entries] == ["v1", "v1", "apps/v1"]


def test_one_object_in_two_versions_is_one_entry() -> None:
    objects = [manifest("Thing", api_version="x.io/v1beta1"), manifest("Thing", api_version="x.io/v1")]
    assert [entry.api_version for entry in inventory_of(objects).entries] == ["x.io/v1"]


def test_what_was_applied_stands_in_the_order_and_under_the_names_of_the_apply() -> None:
    one, two = ObjectKey("", "ConfigMap", "team", "one"), ObjectKey("", "ConfigMap", "team", "two")
    given = ObjectKey("example.org", "Gadget", "team", "g")
    wide = given._replace(namespace="")
    built = Inventory((Entry(one, "v1"), Entry(two, "v1"), Entry(given, "v2")))
    assert built.applied([wide, two, one]) == Inventory((Entry(wide, "v2"), Entry(two, "v1"), Entry(one, "v1")))
    assert built.applied([]) == Inventory()
