"""What makes a live object worth another look."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.fingerprint import fingerprint_of

METADATA: dict[str, Any] = {"uid": "u", "resourceVersion": "7", "labels": {"a": "1"}, "annotations": {"b": "2"}}
REQUEST = {"b": "2", "reconcile.fluxcd.io/requestedAt": "now"}
COUNTED = {"b": "2", "deployment.kubernetes.io/revision": "2"}


@pytest.mark.parametrize(
    "change",
    [{"uid": "v"}, {"resourceVersion": "8"}, {"generation": 1}, {"labels": {}}, {"annotations": {"b": "3"}}],
)
def test_what_changes_it(change: dict[str, Any]) -> None:
    assert fingerprint_of(METADATA | change) != fingerprint_of(METADATA)


@pytest.mark.parametrize("change", [{"resourceVersion": "8"}, {"annotations": REQUEST}, {"annotations": COUNTED}])
def test_what_does_not_change_that_of_an_object_with_generations(change: dict[str, Any]) -> None:
    known = METADATA | {"generation": 4}
    assert fingerprint_of(known | change) == fingerprint_of(known)
