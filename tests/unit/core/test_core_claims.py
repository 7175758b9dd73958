"""Who may apply and delete an object, by its labels and annotations."""

from __future__ import annotations

from typing import Any

import pytest
from core_values import manifest

from agent.core.claims import Handling, deletable, handling, owner_of, recreates
from agent.core.normalize import owner_labels

GROUP = "kustomize.toolkit.fluxcd.io"
PLAIN = manifest("ConfigMap")
OWNER = ("team", "app")


def _marked(where: str = "annotations", **marks: str) -> dict[str, Any]:
    return manifest("ConfigMap", metadata={where: {f"{GROUP}/{name}": value for name, value in marks.items()}})


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("mark", [{"reconcile": "disabled"}, {"reconcile": "Disabled"}, {"ssa": "Ignore"}])
def test_objects_that_ask_to_be_left_alone(where: str, mark: dict[str, str]) -> None:
    asking = _marked(where, **mark)
    assert handling(asking, None) is Handling.SKIP
    assert handling(asking, PLAIN) is Handling.SKIP
    assert handling(PLAIN, asking) is Handling.SKIP, "the live object may ask too"


@pytest.mark.parametrize(
    "mark", [{"reconcile": "enabled"}, {"ssa": "Merge"}, {"ssa": "Override"}, {"prune": "disabled"}]
)
def test_other_marks_do_not_stop_an_apply(mark: dict[str, str]) -> None:
    assert handling(_marked(**mark), None) is Handling.APPLY
    assert handling(_marked(**mark), PLAIN) is Handling.APPLY


def test_only_if_it_is_not_there_yet() -> None:
    once = _marked(ssa="IfNotPresent")
    assert handling(once, None) is Handling.APPLY
    assert handling(once, PLAIN) is Handling.SKIP
    assert handling(PLAIN, once) is Handling.APPLY, "the wish counts in Git, not on the live object"


def test_recreation_is_asked_for_on_either_side() -> None:
    assert recreates(_marked(force="Enabled"), None)
    assert recreates(PLAIN, _marked("labels", force="enabled"))
    assert not recreates(PLAIN, None)
    assert not recreates(_marked(force="disabled"), PLAIN)


def _owned(name: str = "app", namespace: str = "team", **marks: str) -> dict[str, Any]:
    annotations = {f"{GROUP}/{key}": value for key, value in marks.items()}
    return manifest("ConfigMap", metadata={"labels": owner_labels(name, namespace), "annotations": annotations})


def test_owners() -> None:
    assert owner_of(_owned()) == OWNER
    assert owner_of(PLAIN) is None
    half = manifest("ConfigMap", metadata={"labels": {f"{GROUP}/name": "app"}})
    assert owner_of(half) is None


@pytest.mark.parametrize(
    ("live", "may"),
    [
        (_owned(), True),
        (_owned(prune="enabled"), True),
        (_owned(ssa="Merge"), True),
        (_owned(ssa="IfNotPresent"), True),
        (_owned(name="other"), False),
        (_owned(namespace="other"), False),
        (PLAIN, False),
        (manifest("ConfigMap", metadata={"labels": {f"{GROUP}/name": "app"}}), False),
        (_owned(prune="disabled"), False),
        (_owned(prune="Disabled"), False),
        (_owned(reconcile="disabled"), False),
        (_owned(ssa="Ignore"), False),
    ],
)
def test_only_what_is_still_ours_and_not_protected_is_deleted(live: dict[str, Any], may: bool) -> None:
    assert deletable(live, OWNER) is may
