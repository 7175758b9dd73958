"""Merge patches (RFC 7386) of statuses."""

from __future__ import annotations

from typing import Any

import msgspec
from core_values import NOW, kustomization
from hypothesis import given
from hypothesis import strategies as st

from agent.api.kustomization import KustomizationStatus
from agent.core.inventory import Inventory
from agent.core.outcome import Applied, Attempt, Failed, Progress, Suspended, fold
from agent.core.statuspatch import merge_patch, status_patch

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def applied(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_the_patch_turns_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert applied(old, merge_patch(old, new)) == new


@given(OBJECTS)
def test_nothing_to_say_about_equals(value: dict[str, Any]) -> None:
    assert merge_patch(value, dict(value)) == {}


@given(OBJECTS, OBJECTS)
def test_no_member_is_sent_that_both_share(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert not [name for name in patch if name in old and name in new and old[name] == new[name]]


def test_lists_are_replaced_whole() -> None:
    assert merge_patch({"a": [1, 2]}, {"a": [1, 3]}) == {"a": [1, 3]}


ATTEMPT = Attempt(revision="main@sha1:1", digest="sha256:1", started=NOW)
OUTCOMES = st.sampled_from(
    [
        Progress(attempt=ATTEMPT, message="going", inventory=Inventory()),
        Applied(attempt=ATTEMPT, inventory=Inventory()),
        Applied(attempt=ATTEMPT, inventory=Inventory(), healthy_after=1.5),
        Failed(reason="BuildFailed", message="no"),
        Failed(reason="HealthCheckFailed", message="ill", attempt=ATTEMPT, health="very"),
        Suspended(),
    ]
)


@given(st.lists(OUTCOMES, max_size=4))
def test_statuses_that_follow_each_other_patch_into_each_other(outcomes: list[Any]) -> None:
    stored: dict[str, Any] = {"observedGeneration": -1}
    for outcome in outcomes:
        current = kustomization(status=stored, requested="now")
        status = fold(current, outcome, NOW)
        stored = applied(stored, _json(status_patch(current.status, status)))
        assert kustomization(status=stored).status == status


def _json(patch: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(patch))
    return value


def test_a_removed_field_is_sent_as_null() -> None:
    old = KustomizationStatus(last_handled_reconcile_at="a", last_applied_revision="r")
    assert status_patch(old, KustomizationStatus(last_applied_revision="r")) == {"lastHandledReconcileAt": None}
