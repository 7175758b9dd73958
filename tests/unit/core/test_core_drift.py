"""Comparing a dry run with what is live, and JSON pointers (RFC 6901)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from core_values import OBJECTS, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.drift import drifted, parse_pointer, without

LIVE = manifest(
    "Deployment",
    api_version="apps/v1",
    metadata={"labels": {"a": "1"}, "annotations": {"b": "2"}, "resourceVersion": "7", "generation": 3},
    spec={"replicas": 2, "template": {"spec": {"containers": [{"name": "main", "image": "x:1"}]}}},
    status={"replicas": 2},
)


def _changed(path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(LIVE)
    node: Any = result
    *steps, last = path.split("/")
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[last] = value
    return result


SAME = [
    ("metadata/resourceVersion", "8"),
    ("metadata/generation", 4),
    ("metadata/managedFields", [{"manager": "x"}]),
    ("metadata/ownerReferences", []),
    ("status/replicas", 1),
]
DIFFERENT = [
    ("metadata/labels/a", "2"),
    ("metadata/labels/c", "2"),
    ("metadata/annotations", {}),
    ("spec/replicas", 3),
    ("spec/template/spec/containers/0/image", "x:2"),
    ("data", {"a": "b"}),
]


@pytest.mark.parametrize(("path", "value"), SAME)
def test_what_is_not_content_does_not_count(path: str, value: Any) -> None:
    assert not drifted(LIVE, _changed(path, value))


@pytest.mark.parametrize(("path", "value"), DIFFERENT)
def test_labels_annotations_and_content_count(path: str, value: Any) -> None:
    assert drifted(LIVE, _changed(path, value))
    assert drifted(_changed(path, value), LIVE)


def test_absent_and_empty_labels_are_the_same() -> None:
    assert not drifted(manifest("ConfigMap", metadata={"labels": None}), manifest("ConfigMap", metadata={"labels": {}}))


@pytest.mark.parametrize(
    ("path", "value", "pointer"),
    [
        ("spec/replicas", 3, "/spec/replicas"),
        ("spec/replicas", 3, "/spec"),
        ("spec/template/spec/containers/0/image", "x:2", "/spec/template/spec/containers/0/image"),
        ("data", {"a": "b"}, "/data"),
        ("metadata/labels/a", "2", "/metadata/labels/a"),
        ("metadata/annotations", {}, "/metadata/annotations"),
    ],
)
def test_ignored_fields_do_not_count(path: str, value: Any, pointer: str) -> None:
    assert not drifted(LIVE, _changed(path, value), [pointer])
    assert drifted(LIVE, _changed(path, value), ["/spec/paused"])


POINTERS = [
    ("/a", ["a"]),
    ("/a/b", ["a", "b"]),
    ("/a~1b/c~0d", ["a/b", "c~d"]),
    ("/~01", ["~1"]),
    ("/a/", ["a", ""]),
    ("/metadata/annotations/example.org~1x", ["metadata", "annotations", "example.org/x"]),
]


@pytest.mark.parametrize(("pointer", "path"), POINTERS)
def test_pointers(pointer: str, path: list[str]) -> None:
    assert parse_pointer(pointer) == path


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_every_path_can_be_pointed_at(path: list[str]) -> None:
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    assert parse_pointer(pointer) == path


def test_only_the_named_member_goes() -> None:
    value = {"a": {"b": [1, {"c": 2, "d": 3}], "e": 4}}
    before = copy.deepcopy(value)
    assert without(value, "/a/b/1/c") == {"a": {"b": [1, {"d": 3}], "e": 4}}
    assert without(value, "/a/b/0") == {"a": {"b": [{"c": 2, "d": 3}], "e": 4}}
    assert value == before


@pytest.mark.parametrize("pointer", ["/x", "/a/x", "/a/b/7", "/a/b/x", "/a/b/0/x", "/a/e/x", "/a/b/-"])
def test_absent_members_are_no_error(pointer: str) -> None:
    value = {"a": {"b": [1], "e": 4}}
    assert without(value, pointer) == value


@given(OBJECTS, st.lists(st.text(max_size=3) | st.just("0"), min_size=1, max_size=3))
def test_removing_twice_from_mappings_changes_nothing_more(value: dict[str, Any], path: list[str]) -> None:
    before = copy.deepcopy(value)
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    once = without(value, pointer)
    assert value == before
    if not any(part.isdigit() for part in path):  # in a list the next element takes the place
        assert without(once, pointer) == once
