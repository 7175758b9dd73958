"""`dependsOn`, checked in the order of the spec, first failure wins."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from core_values import kustomization

from agent.api.kustomization import Kustomization
from agent.core.dependencies import circle, dependency_keys, unmet
from agent.core.evaluation import Evaluation

REVISION = "main@sha1:1"


def _condition(kind: str, status: str) -> dict[str, Any]:
    when = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": when}


def _base(name: str = "base", *, ready: str = "True", observed: int = 2, revision: str = REVISION, **spec: Any) -> Any:
    status = {
        "observedGeneration": observed,
        "conditions": [_condition("Ready", ready)] if ready else [],
        "lastAppliedRevision": revision,
    }
    return kustomization(name, status=status, **spec)


def _check(*others: Kustomization, **spec: Any) -> str | None:
    found = {(other.namespace, other.name): other for other in others}
    spec = {"dependsOn": [{"name": "base"}], **spec}
    return unmet(kustomization(**spec), lambda namespace, name: found.get((namespace, name)), REVISION)


def test_a_dependency_that_is_ready_at_the_revision_is_met() -> None:
    assert _check(_base()) is None
    assert _check(dependsOn=[]) is None


@pytest.mark.parametrize(
    "other",
    [_base(ready="False"), _base(ready="Unknown"), _base(ready=""), _base(observed=1), _base(observed=-1)],
)
def test_a_dependency_that_is_not_ready(other: Kustomization) -> None:
    assert _check(other) == "dependency 'team/base' is not ready"


def test_a_dependency_that_does_not_exist() -> None:
    problem = _check()
    assert problem is not None
    assert problem.startswith("dependency 'team/base' not found: ")


def test_a_dependency_of_the_same_source_has_to_be_at_the_same_revision() -> None:
    assert _check(_base(revision="main@sha1:0")) == "dependency 'team/base' revision is not up to date"
    never = msgspec.structs.replace(_base().status, last_applied_revision=None)
    assert _check(msgspec.structs.replace(_base(), status=never)) == "dependency 'team/base' revision is not up to date"


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "GitRepository", "name": "other"},
        {"kind": "OCIRepository", "name": "repo"},
        {"kind": "GitRepository", "name": "repo", "namespace": "elsewhere"},
    ],
)
def test_a_dependency_of_another_source_may_be_at_any_revision(source: dict[str, str]) -> None:
    assert _check(_base(revision="v1@sha1:9", sourceRef=source)) is None


def test_naming_ones_own_namespace_makes_no_other_source() -> None:
    source = {"kind": "GitRepository", "name": "repo", "namespace": "team"}
    assert (
        _check(_base(revision="main@sha1:0", sourceRef=source)) == "dependency 'team/base' revision is not up to date"
    )


def test_the_first_failure_in_the_order_of_the_spec_is_told() -> None:
    problem = _check(
        _base("a"),
        _base("b", ready="False"),
        _base("c", revision="main@sha1:0"),
        dependsOn=[{"name": "a"}, {"name": "c"}, {"name": "b"}, {"name": "absent"}],
    )
    assert problem == "dependency 'team/c' revision is not up to date"


def test_dependencies_in_other_namespaces() -> None:
    assert _check(_base(), dependsOn=[{"name": "base", "namespace": "infra"}]) is not None
    assert _check(_base(), dependsOn=[{"name": "base", "namespace": "team"}]) is None


def test_the_keys_of_dependencies() -> None:
    two = kustomization("two", dependsOn=[{"name": "x"}, {"name": "base", "namespace": "infra"}])
    assert dependency_keys(two) == {("team", "x"), ("infra", "base")}
    assert dependency_keys(kustomization()) == frozenset()


def test_a_revision_as_an_older_flux_wrote_it_is_the_same_one() -> None:
    commit = "0" * 40
    base = _base(revision=f"main/{commit}")
    waiting = kustomization(dependsOn=[{"name": "base"}])
    assert unmet(waiting, lambda *_: base, f"main@sha1:{commit}") is None


@pytest.mark.parametrize(
    ("additive", "value", "base", "problem"),
    [
        (False, True, _base(ready="False"), None),
        (True, True, _base(ready="False"), "dependency 'team/base' is not ready"),
        (True, True, _base(revision="main@sha1:0"), "dependency 'team/base' revision is not up to date"),
        (True, True, _base(), None),
        (True, False, _base(), "dependency 'team/base' is not ready according to readyExpr eval"),
    ],
)
def test_a_ready_expression_replaces_the_checks_or_comes_before_them(
    additive: bool, value: bool, base: Kustomization, problem: str | None
) -> None:
    waiting = kustomization(dependsOn=[{"name": "base", "readyExpr": "…"}])
    evaluations = {0: Evaluation(value=value)}
    assert unmet(waiting, lambda *_: base, REVISION, evaluations, additive=additive) == problem


def _circle(start: str, **dependencies: list[str]) -> tuple[str, ...]:
    """The circle that starts at one Kustomization; a dependency named `x?` has a readyExpr."""
    found = {
        name: kustomization(
            name, dependsOn=[{"name": to.rstrip("?")} | ({"readyExpr": "true"} if "?" in to else {}) for to in others]
        )
        for name, others in dependencies.items()
    }
    return tuple(name for _, name in circle(found[start], lambda _, name: found.get(name)))


def test_circles_of_dependencies() -> None:
    assert _circle("a", a=["a"]) == ("a", "a")
    assert _circle("a", a=["x", "b"], b=["c"], c=["a"], x=[]) == ("a", "b", "c", "a")
    assert _circle("a", a=["b"], b=["c"], c=["b"]) == ()  # those two tell of it themselves
    assert _circle("a", a=["b", "gone"], b=["c", "d"], c=["d"], d=[]) == ()
    assert _circle("a", a=["b"], b=["a?"]) == ()
