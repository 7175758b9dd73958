"""What the applying manager takes over from tools that were there before it."""

from __future__ import annotations

from typing import Any

import pytest
from core_values import manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.fieldsets import union
from agent.core.takeover import predecessors, takeover, version_migration

ME = "kustomize-controller"
EARLIER = predecessors(ME, ("argocd",))
DESIRED = manifest("ConfigMap")


def entry(manager: str, operation: str = "Update", fields: Any = None, **rest: Any) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {f"f:{manager}": {}}} if fields is None else fields,
        **rest,
    }


def live(*entries: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return manifest("ConfigMap", metadata={"resourceVersion": "7", "managedFields": list(entries), **metadata})


@pytest.mark.parametrize(
    ("manager", "operation"),
    [
        ("kubectl", "Apply"),
        ("kubectl", "Update"),
        ("kubectl-client-side-apply", "Update"),
        ("kubectl-edit", "Update"),
        ("before-first-apply", "Update"),
        ("kustomize-controller", "Update"),
        ("argocd", "Apply"),
        ("argocd-controller", "Update"),
    ],
)
def test_fields_of_earlier_managers_become_applied_ones(manager: str, operation: str) -> None:
    other = entry("helm", "Update")
    taken = takeover(DESIRED, live(entry(manager, operation), other), ME, EARLIER)
    assert taken is not None
    assert taken.result["metadata"]["managedFields"] == [other, entry(manager) | {"manager": ME, "operation": "Apply"}]
    assert taken.operations[-1] == {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}


@pytest.mark.parametrize(
    "one",
    [
        entry("kube-controller-manager"),
        entry("before-first-apply", "Apply"),
        entry("kubectl-edit", subresource="status"),
        entry(ME, "Apply"),
        entry("flux-client-side-apply"),
    ],
)
def test_other_managers_keep_theirs(one: dict[str, Any]) -> None:
    assert takeover(DESIRED, live(one), ME, EARLIER) is None


def test_sets_are_merged_into_the_one_that_is_there() -> None:
    own = entry(ME, "Apply", {"f:data": {"f:a": {}}}, time="t")
    taken = takeover(DESIRED, live(own, entry("kubectl"), entry("kubectl-edit", fields={"f:data": {}})), ME, EARLIER)
    assert taken is not None
    assert taken.result["metadata"]["managedFields"] == [
        own | {"fieldsV1": {"f:data": {".": {}, "f:a": {}, "f:kubectl": {}}}}
    ]


def test_a_prefix_that_means_the_manager_itself_changes_nothing() -> None:
    assert takeover(DESIRED, live(entry(ME, "Apply")), ME, predecessors(ME, ("kustomize",))) is None


def test_legacy_marks_go() -> None:
    marks = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "fluxcd.io/sync-checksum": "x", "mine": "1"}
    found = live(annotations=marks, labels={"fluxcd.io/sync-gc-mark": "x", "app": "a"})
    taken = takeover(DESIRED, found, ME, EARLIER)
    assert taken is not None
    assert [operation["path"] for operation in taken.operations] == [
        "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
        "/metadata/annotations/fluxcd.io~1sync-checksum",
        "/metadata/labels/fluxcd.io~1sync-gc-mark",
        "/metadata/resourceVersion",
    ]
    assert taken.result["metadata"]["annotations"] == {"mine": "1"}
    assert taken.result["metadata"]["labels"] == {"app": "a"}


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("side", ["desired", "live"])
def test_merge_means_that_others_keep_what_they_have(where: str, side: str) -> None:
    mark = {where: {"kustomize.toolkit.fluxcd.io/ssa": "Merge"}}
    found = live(entry("kubectl"), **(mark if side == "live" else {}))
    desired = manifest("ConfigMap", metadata=mark if side == "desired" else {})
    assert takeover(desired, found, ME, EARLIER) is None


def test_entries_of_an_older_version_are_moved_whoever_has_them() -> None:
    old = entry("someone") | {"apiVersion": "v1beta1", "subresource": "status"}
    (replace, version) = version_migration(live(entry("kubectl"), old), "v1")
    assert replace["value"] == [entry("kubectl"), old | {"apiVersion": "v1"}]
    assert version["value"] == "7"
    assert version_migration(live(entry("kubectl")), "v1") == ()
    assert version_migration(live(), "v1") == ()


SETS: Any = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', "v:1"]), inner, max_size=3),
    max_leaves=8,
)


def members(fields: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not fields:
        return {path}
    found = {path} if "." in fields else set()
    return found.union(*(members(below, (*path, name)) for name, below in fields.items() if name != "."))


@given(SETS, SETS)
def test_a_union_has_the_fields_of_both_and_no_others(one: Any, other: Any) -> None:
    # At the top, nothing at all is the empty set.
    assert members(union(one, other)) - {()} == (members(one) | members(other)) - {()}
