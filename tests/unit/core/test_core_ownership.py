"""Who owns which field, and what is sent for fields that somebody else is to own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from core_values import manifest

from agent.core.ownership import adopted, noting_replicas, yielded

ME = "kustomize-controller"


def _entry(fields: dict[str, Any], manager: str = ME, operation: str = "Apply", **rest: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **rest}


def _live(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return manifest("Deployment", api_version="apps/v1", metadata={"managedFields": list(entries)}, spec=spec)


def _desired(**spec: Any) -> dict[str, Any]:
    return manifest("Deployment", api_version="apps/v1", spec=spec)


def _keeps(live: dict[str, Any], manager: str, pointer: str) -> bool:
    """Whether a field that is there stays in what `manager` sends."""
    return yielded(live, live, manager, (pointer,)) == live


REPLICAS = {"f:spec": {"f:replicas": {}}}


def test_fields_applied_by_a_manager() -> None:
    live = _live(_entry(REPLICAS), replicas=2)
    assert _keeps(live, ME, "/spec/replicas")
    assert _keeps(live, ME, "/spec")
    assert not _keeps(live, "other", "/spec/replicas")


@pytest.mark.parametrize(
    "entry",
    [
        _entry(REPLICAS, operation="Update"),
        _entry(REPLICAS, subresource="scale"),
        _entry(REPLICAS, manager="someone"),
        _entry({"f:spec": {"f:paused": {}}}),
        {"manager": ME, "operation": "Apply"},
    ],
)
def test_other_entries_do_not_count(entry: dict[str, Any]) -> None:
    assert not _keeps(_live(entry, replicas=2), ME, "/spec/replicas")


def test_an_object_without_managed_fields_is_nobodys() -> None:
    assert not _keeps(_desired(replicas=2), ME, "/spec/replicas")


def test_a_field_that_is_still_ours_keeps_its_live_value() -> None:
    live = _live(_entry(REPLICAS), replicas=5)
    assert yielded(_desired(replicas=1, paused=True), live, ME, ("/spec/replicas",))["spec"] == {
        "replicas": 5,
        "paused": True,
    }


def test_a_field_that_is_not_ours_any_more_leaves_the_payload() -> None:
    live = _live(_entry(REPLICAS, manager="weir-canary"), replicas=5)
    assert yielded(_desired(replicas=1, paused=True), live, ME, ("/spec/replicas",))["spec"] == {"paused": True}


def test_a_field_that_git_no_longer_has_but_we_still_own_stays() -> None:
    live = _live(_entry(REPLICAS), replicas=5)
    assert yielded(_desired(paused=True), live, ME, ("/spec/replicas",))["spec"] == {"replicas": 5, "paused": True}


def test_nothing_is_changed_in_place_or_without_pointers() -> None:
    desired, live = _desired(replicas=1), _live(_entry(REPLICAS), replicas=5)
    before = copy.deepcopy((desired, live))
    yielded(desired, live, ME, ("/spec/replicas", "/spec/absent/deep"))
    assert (desired, live) == before
    assert yielded(desired, live, ME, ()) == desired


CONTAINERS = "/spec/template/spec/containers"
OWNED_IMAGE = {
    "f:spec": {
        "f:template": {
            "f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}
        }
    }
}


def _pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"template": {"spec": {"containers": list(containers)}}}


def test_a_field_of_a_list_member_that_is_still_ours_keeps_its_live_value() -> None:
    """Otherwise the API server would take our leaving it out as the wish to remove it."""
    live = _live(_entry(OWNED_IMAGE), **_pod({"name": "main", "image": "x:2"}))
    desired = _desired(**_pod({"name": "main", "image": "x:1"}))
    assert _keeps(live, ME, f"{CONTAINERS}/0/image")
    assert yielded(desired, live, ME, (f"{CONTAINERS}/0/image",)) == _desired(**_pod({"name": "main", "image": "x:2"}))


def test_a_field_of_a_list_member_that_is_somebody_elses_leaves_the_payload() -> None:
    live = _live(_entry(OWNED_IMAGE, manager="someone"), **_pod({"name": "main", "image": "x:2"}))
    desired = _desired(**_pod({"name": "main", "image": "x:1"}))
    assert yielded(desired, live, ME, (f"{CONTAINERS}/0/image",)) == _desired(**_pod({"name": "main"}))


def test_list_members_are_told_apart_by_their_keys_not_their_places() -> None:
    """A webhook may have put a sidecar before ours."""
    live = _live(_entry(OWNED_IMAGE), **_pod({"name": "proxy", "image": "p:9"}, {"name": "main", "image": "x:2"}))
    desired = _desired(**_pod({"name": "main", "image": "x:1"}))
    assert yielded(desired, live, ME, (f"{CONTAINERS}/0/image",)) == _desired(**_pod({"name": "main", "image": "x:2"}))


def test_part_of_a_list_that_is_owned_as_a_whole() -> None:
    live = _live(_entry({"f:spec": {"f:rules": {}}}), rules=[{"weight": 5}, {"weight": 6}])
    desired = _desired(rules=[{"weight": 1}, {"weight": 2}])
    assert _keeps(live, ME, "/spec/rules/0/weight")
    assert yielded(desired, live, ME, ("/spec/rules/0/weight",))["spec"] == {"rules": [{"weight": 5}, {"weight": 2}]}


@pytest.mark.parametrize("pointer", ["/spec/rules/7/weight", "/spec/rules/x", "/spec/rules/0/absent"])
def test_pointers_to_nothing_change_nothing(pointer: str) -> None:
    live = _live(_entry({"f:spec": {"f:rules": {}}}), rules=[{"weight": 5}])
    desired = _desired(rules=[{"weight": 1}])
    assert yielded(desired, live, ME, (pointer,)) == desired


NOTE = "example.org/replicas"


def test_the_replicas_that_git_asks_for_are_noted() -> None:
    payload = manifest("Deployment", metadata={"annotations": {"a": "b"}})
    noted = noting_replicas(payload, _desired(replicas=3), ("/spec/replicas",), NOTE)
    assert noted["metadata"]["annotations"] == {"a": "b", NOTE: "3"}
    assert payload["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(("spec", "pointers"), [({"replicas": 3}, ("/spec/paused",)), ({}, ("/spec/replicas",))])
def test_no_note_without_a_wish_or_an_owner(spec: dict[str, Any], pointers: tuple[str, ...]) -> None:
    payload = manifest("Deployment")
    assert noting_replicas(payload, _desired(**spec), pointers, NOTE) == payload


def _sent(desired: dict[str, Any], live: dict[str, Any], pointer: str) -> Any:
    return adopted(desired, live, ME, (pointer,))["spec"]


@pytest.mark.parametrize(
    "entries",
    [
        [_entry(REPLICAS)],
        [_entry(REPLICAS, manager="scaler", operation="Update")],
        [_entry(REPLICAS, manager="scaler", operation="Update", subresource="scale")],
        [_entry(REPLICAS, manager="scaler", subresource="scale")],
        [],
    ],
)
def test_drift_of_an_ignored_field_that_nobody_else_applied_is_adopted(entries: list[dict[str, Any]]) -> None:
    live = _live(*entries, replicas=5)
    assert _sent(_desired(replicas=1, paused=True), live, "/spec/replicas") == {"replicas": 5, "paused": True}


def test_drift_of_an_ignored_field_that_another_manager_applied_leaves_the_payload() -> None:
    live = _live(_entry(REPLICAS), _entry(REPLICAS, manager="scaler"), replicas=5)
    assert _sent(_desired(replicas=1, paused=True), live, "/spec/replicas") == {"paused": True}


def test_an_ignored_field_that_has_not_drifted_stays_whoever_owns_it() -> None:
    live = _live(_entry(REPLICAS, manager="scaler"), replicas=1)
    assert _sent(_desired(replicas=1), live, "/spec/replicas") == {"replicas": 1}


def test_an_ignored_field_that_somebody_removed_is_not_brought_back() -> None:
    assert _sent(_desired(replicas=1, paused=True), _live(paused=True), "/spec/replicas") == {"paused": True}


def test_an_ignored_field_that_left_git_stays_as_it_is_and_a_foreign_one_is_not_taken() -> None:
    assert _sent(_desired(), _live(_entry(REPLICAS), replicas=5), "/spec/replicas") == {"replicas": 5}
    assert _sent(_desired(), _live(_entry(REPLICAS, manager="scaler"), replicas=5), "/spec/replicas") == {}


def test_ignored_fields_of_list_members_are_found_by_key() -> None:
    pointer = f"{CONTAINERS}/0/image"
    live = _live(_entry(OWNED_IMAGE), **_pod({"name": "proxy", "image": "p:9"}, {"name": "main", "image": "x:2"}))
    desired = _desired(**_pod({"name": "main", "image": "x:1"}))
    assert _sent(desired, live, pointer) == _pod({"name": "main", "image": "x:2"})
    live["metadata"]["managedFields"].append(_entry(OWNED_IMAGE, manager="updater"))
    assert _sent(desired, live, pointer) == _pod({"name": "main"})


def test_a_list_that_is_replaced_as_a_whole_keeps_its_members() -> None:
    """To leave a field out would remove it from the list: the list is owned, not the field."""
    live = _live(_entry({"f:spec": {"f:rules": {}}}, manager="tuner"), rules=[{"weight": 5, "name": "a"}])
    desired = _desired(rules=[{"weight": 1, "name": "a"}])
    assert _sent(desired, live, "/spec/rules/0/weight") == {"rules": [{"weight": 5, "name": "a"}]}
