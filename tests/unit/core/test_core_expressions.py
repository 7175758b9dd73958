"""What evaluations of CEL expressions amount to: for health, and for a dependency."""

from __future__ import annotations

from typing import Any

import pytest
from core_values import kustomization, manifest

from agent.api.kustomization import HealthCheckExpr
from agent.core.dependencies import InvalidReadyExprError, ready_variables, unmet
from agent.core.evaluation import Evaluation
from agent.core.health import Health, Status
from agent.core.health.expressions import check_for, compiled_of, evaluated_of, judged, outdated, problem

TRUE, FALSE, BROKEN = Evaluation(value=True), Evaluation(), Evaluation(error="no such key: x")
WRONG = Evaluation(error="ERROR: <input>:1:1", invalid=True)


def _check(api_version: str = "example.dev/v1", kind: str | None = "Model", **more: str) -> HealthCheckExpr:
    return HealthCheckExpr(api_version=api_version, kind=kind, **{"current": "c", **more})


FULL = _check(in_progress="i", failed="f")


@pytest.mark.parametrize(
    ("evaluations", "status"),
    [
        ((FALSE, FALSE, TRUE), Status.CURRENT),
        ((FALSE, TRUE, TRUE), Status.FAILED),
        ((TRUE, TRUE, TRUE), Status.IN_PROGRESS),
        ((FALSE, FALSE, FALSE), Status.IN_PROGRESS),
        # what decides before an error hides it, what would decide after it does not
        ((TRUE, BROKEN, BROKEN), Status.IN_PROGRESS),
        ((FALSE, TRUE, BROKEN), Status.FAILED),
        ((BROKEN, TRUE, TRUE), Status.UNKNOWN),
        ((FALSE, BROKEN, TRUE), Status.UNKNOWN),
        ((FALSE, FALSE, BROKEN), Status.UNKNOWN),
    ],
)
def test_in_progress_then_failed_then_current(evaluations: tuple[Evaluation, ...], status: Status) -> None:
    health = judged(FULL, evaluations)
    assert health.status is status
    assert health.message == (BROKEN.error if status is Status.UNKNOWN else "")


def test_only_current_is_required() -> None:
    assert evaluated_of(_check()) == {"Current": "c"}
    assert judged(_check(), (TRUE,)) == Health(Status.CURRENT)
    assert judged(_check(), (FALSE,)).status is Status.IN_PROGRESS
    assert list(evaluated_of(FULL).values()) == ["i", "f", "c"]
    assert list(compiled_of(FULL).values()) == ["c", "f", "i"]


@pytest.mark.parametrize(
    ("observed", "generation", "behind"),
    [(1, 2, True), (3, 2, True), (2, 2, False), ("1", 2, False), (1, "2", False), (None, 2, False), (True, 2, False)],
)
def test_an_observed_generation_that_is_behind(observed: Any, generation: Any, behind: bool) -> None:
    live = manifest("Model", metadata={"generation": generation}, status={"observedGeneration": observed})
    assert outdated(live) is behind


@pytest.mark.parametrize("status", [{}, None, "Loaded", []])
def test_a_status_of_any_shape_is_not_behind(status: Any) -> None:
    assert not outdated(manifest("Model", metadata={"generation": 2}, status=status))
    assert not outdated(manifest("Model", metadata={"generation": 2}))


def test_the_check_of_the_kind_comes_before_that_of_the_group() -> None:
    group, exact, core = _check(kind=None), _check(), _check("v1", "Pod")
    checks = (group, exact, core)
    assert check_for(checks, "example.dev", "Model") is exact
    assert check_for(checks, "example.dev", "Dataset") is group
    assert check_for(checks, "", "Pod") is core
    assert check_for(checks, "", "Service") is None
    assert check_for(checks, "other.dev", "Model") is None


def test_jobs_keep_the_built_in_rule() -> None:
    checks = (_check("batch/v1", None), _check("batch/v1", "Job"))
    assert check_for(checks, "batch", "Job") is None
    assert check_for(checks, "batch", "CronJob") is checks[0]


def _problem(*checks: HealthCheckExpr, **wrong: Evaluation) -> str | None:
    return problem(checks, [[wrong.get(text, FALSE) for text in compiled_of(check).values()] for check in checks])


def test_sound_checks_are_no_problem() -> None:
    assert _problem() is None
    assert _problem(FULL, _check(kind="Dataset"), _check(kind=None), _check("other.dev/v1")) is None


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"c": WRONG, "f": WRONG}, "Current"), ({"f": WRONG, "i": WRONG}, "Failed"), ({"i": WRONG}, "InProgress")],
)
def test_an_expression_that_cannot_be_read(wrong: dict[str, Evaluation], name: str) -> None:
    assert _problem(_check(kind="Dataset", current="other"), FULL, **wrong) == (
        "failed to create custom status evaluator for healthchecks[1]: "
        f"failed to parse the expression {name}: {WRONG.error}"
    )


def test_a_check_without_current() -> None:
    assert _problem(_check(current="", failed="f"), f=WRONG) == (
        "failed to create custom status evaluator for healthchecks[0]: expression Current not specified"
    )


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (_check(), _check("example.dev/v2"), "Model.example.dev"),
        (_check("v1", "Pod"), _check("v1", "Pod"), "Pod"),
        (_check(kind=None), _check(kind=""), ".example.dev"),
    ],
)
def test_a_kind_can_be_checked_once(first: HealthCheckExpr, second: HealthCheckExpr, name: str) -> None:
    assert _problem(first, second) == f"duplicate custom health check for GroupKind {name} at healthchecks[1]"


def _unmet(*evaluations: Evaluation | None, exists: bool = True) -> str | None:
    given = {position: evaluation for position, evaluation in enumerate(evaluations) if evaluation}
    app = kustomization(dependsOn=[{"name": f"base{position}"} for position in range(len(evaluations))])
    return unmet(app, lambda _namespace, name: kustomization(name) if exists else None, "main@sha1:1", given)


def test_a_ready_expression_replaces_the_checks() -> None:
    assert _unmet(None) == "dependency 'team/base0' is not ready"
    assert _unmet(TRUE, TRUE) is None
    assert _unmet(TRUE, FALSE) == "dependency 'team/base1' is not ready according to readyExpr eval"
    assert _unmet(BROKEN) == BROKEN.error
    missing = _unmet(None, exists=False)
    assert missing is not None
    assert missing.startswith("dependency 'team/base0' not found: ")


def test_an_invalid_ready_expression_is_an_error_when_its_turn_comes() -> None:
    with pytest.raises(InvalidReadyExprError, match=r"^failed to evaluate dependency base0: ERROR: <input>:1:1$"):
        _unmet(WRONG)
    assert _unmet(FALSE, WRONG) == "dependency 'team/base0' is not ready according to readyExpr eval"


def test_a_ready_expression_sees_both_objects_whole() -> None:
    seen = ready_variables(kustomization(generation=5, status={}), kustomization("base", path="./base"))
    assert seen["self"]["metadata"]["generation"] == 5
    assert seen["self"]["status"] == {}
    assert seen["dep"]["spec"]["path"] == "./base"
    assert seen["dep"]["spec"]["sourceRef"] == {"kind": "GitRepository", "name": "repo"}
    assert seen["dep"]["status"] == {"observedGeneration": -1}
