"""Names of objects, canonical JSON, change sets, and fingerprints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core_values import JSON, KEYS, OBJECTS, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.changeset import Action, Change, ChangeSet
from agent.core.fingerprint import fingerprint_of
from agent.core.objects import (
    ObjectKey,
    annotations_of,
    canonical,
    content_hash,
    key_of,
    labels_of,
    marked,
    split_api_version,
)


@pytest.mark.parametrize(
    ("api_version", "parts"),
    [("v1", ("", "v1")), ("apps/v1", ("apps", "v1")), ("a.b.io/v1beta1", ("a.b.io", "v1beta1"))],
)
def test_api_versions(api_version: str, parts: tuple[str, str]) -> None:
    assert split_api_version(api_version) == parts


def test_keys_are_printed_as_flux_prints_them() -> None:
    assert str(ObjectKey("apps", "Deployment", "ns", "x")) == "Deployment/ns/x"
    assert str(ObjectKey("", "Namespace", "", "x")) == "Namespace/x"


def test_the_key_of_a_manifest_has_no_version() -> None:
    one, two = (key_of(manifest("Thing", api_version=f"x.io/{version}")) for version in ("v1", "v2"))
    assert one == two == ObjectKey("x.io", "Thing", "apps", "thing")
    cluster_wide = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    assert key_of(cluster_wide) == ObjectKey("", "Namespace", "", "x")


@pytest.mark.parametrize("metadata", [{}, {"labels": None, "annotations": None}, {"labels": {}, "annotations": {}}])
def test_no_labels_and_annotations_are_empty_ones(metadata: dict[str, Any]) -> None:
    bare = {"metadata": metadata}
    assert labels_of(bare) == {}
    assert annotations_of(bare) == {}


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize(("value", "wanted", "result"), [("Disabled", "disabled", True), ("x", "y", False)])
def test_marks_are_labels_or_annotations_in_any_case(where: str, value: str, wanted: str, result: bool) -> None:
    assert marked(manifest("Pod", metadata={where: {"k": value}}), "k", wanted) is result
    assert not marked(manifest("Pod", metadata={where: {"other": value}}), "k", wanted)
    assert not marked(None, "k", wanted)


@given(JSON)
def test_canonical_json_means_the_same(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(OBJECTS)
def test_the_order_of_members_does_not_matter(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical(backwards) == canonical(value)
    assert content_hash(backwards) == content_hash(value)


@given(JSON, JSON)
def test_hashes_tell_values_apart(one: Any, other: Any) -> None:
    assert (content_hash(one) == content_hash(other)) is (canonical(one) == canonical(other))


CHANGES = st.lists(st.builds(Change, KEYS, st.sampled_from(Action)), max_size=5).map(lambda c: ChangeSet(tuple(c)))


@given(CHANGES, CHANGES)
def test_change_sets_add_up_in_order(one: ChangeSet, other: ChangeSet) -> None:
    both = one + other
    assert both.changes == one.changes + other.changes
    assert both.written == one.written + other.written
    assert both.text().count("\n") == max(len(both.written) - 1, 0)


def test_change_sets_speak_fluxs_words() -> None:
    deployment = ObjectKey("apps", "Deployment", "ns", "y")
    changes = ChangeSet(
        (
            Change(ObjectKey("", "ConfigMap", "ns", "x"), Action.CREATED),
            Change(ObjectKey("", "Secret", "ns", "same"), Action.UNCHANGED),
            Change(ObjectKey("", "Secret", "ns", "not-ours"), Action.SKIPPED),
            Change(deployment, Action.CONFIGURED),
            Change(ObjectKey("", "Namespace", "", "old"), Action.DELETED),
        )
    )
    assert changes.text() == "ConfigMap/ns/x created\nDeployment/ns/y configured\nNamespace/old deleted"
    assert changes.text(changes.having(Action.SKIPPED)) == "Secret/ns/not-ours skipped"
    assert changes.as_log()["Secret/ns/same"] == "unchanged"
    assert ChangeSet().text() == ""


def test_a_long_change_set_comes_in_parts() -> None:
    changes = ChangeSet(
        tuple(Change(ObjectKey("", "ConfigMap", "ns", f"number-{n}"), Action.CREATED) for n in range(1000))
    )
    parts = changes.in_parts(2000)
    assert all(len(json.dumps(part.as_log())) <= 2000 for part in parts)
    assert sum(parts, ChangeSet()) == changes
    assert len(parts) < 40, "they are filled"
    assert [len(part.changes) for part in changes.in_parts(1)] == [1] * 1000
    assert ChangeSet().in_parts(10) == []


BASE = {"uid": "u", "generation": 3, "resourceVersion": "7", "labels": {"a": "b"}, "annotations": {"c": "d"}}


@pytest.mark.parametrize(
    "change", [{"uid": "v"}, {"generation": 4}, {"labels": {"a": "c"}}, {"labels": None}, {"annotations": {}}]
)
def test_whatever_touches_the_desired_part_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint_of(BASE | change) != fingerprint_of(BASE)


@pytest.mark.parametrize("change", [{"resourceVersion": "8"}, {"managedFields": []}, {"finalizers": ["x"]}])
def test_status_writes_do_not(change: dict[str, Any]) -> None:
    assert fingerprint_of(BASE | change) == fingerprint_of(BASE)


@pytest.mark.parametrize("generation", [0, None])
def test_kinds_without_a_generation_go_by_their_version(generation: int | None) -> None:
    """A metadata watch says 0, a full answer says nothing."""
    config_map = BASE | {"generation": generation}
    assert fingerprint_of(config_map) == fingerprint_of({k: v for k, v in BASE.items() if k != "generation"})
    assert fingerprint_of(config_map | {"resourceVersion": "8"}) != fingerprint_of(config_map)


def test_labels_and_annotations_are_not_taken_for_each_other() -> None:
    one = {"uid": "u", "resourceVersion": "1", "labels": {"a": "b"}}
    other = {"uid": "u", "resourceVersion": "1", "annotations": {"a": "b"}}
    assert fingerprint_of(one) != fingerprint_of(other)
