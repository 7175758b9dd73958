"""The CEL expressions of a Kustomization: checked before anything else is done, evaluated by the renderer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent.adapters.renderer import ExpressionMode
from agent.api.kustomization import HealthCheckExpr, Kustomization
from agent.core.dependencies import InvalidReadyExprError, Lookup, ready_variables, unmet
from agent.core.evaluation import Evaluation
from agent.core.health import Health
from agent.core.health.expressions import compiled_of, evaluated_of, judged, outdated, problem
from agent.core.health.status import Status, in_progress
from agent.core.objects import Manifest
from agent.errors import BuildError, ConfigurationError, OperationError

_Key = tuple[str, str]


class Evaluator(Protocol):
    """Knows CEL; the renderer pool does."""

    async def compile(self, mode: ExpressionMode, expressions: Sequence[str]) -> tuple[Evaluation, ...]:
        """What is wrong with each expression."""

    async def evaluate(
        self, mode: ExpressionMode, expressions: Sequence[str], variables: Mapping[str, Any]
    ) -> tuple[Evaluation, ...]:
        """The value of each expression."""


class Expressions:
    """Knows which Kustomizations have checks that were found sound already.

    `additive`: a readyExpr comes before the usual checks of a dependency, not in their place.
    """

    def __init__(self, evaluator: Evaluator, *, additive: bool = False) -> None:
        self._evaluator = evaluator
        self._additive = additive
        self._sound: dict[_Key, tuple[HealthCheckExpr, ...]] = {}

    def forget(self, key: _Key) -> None:
        """Drop what is known about a Kustomization."""
        self._sound.pop(key, None)

    async def check(self, kustomization: Kustomization) -> None:
        """Compile `healthCheckExprs`. Raises ConfigurationError, as Flux words it, if they can never work."""
        checks = kustomization.spec.health_check_exprs
        key = (kustomization.namespace, kustomization.name)
        if not checks:
            self._sound.pop(key, None)
            return
        if self._sound.get(key) == checks:
            return
        compiled = [await self._evaluator.compile("health", tuple(compiled_of(check).values())) for check in checks]
        wrong = problem(checks, compiled)
        if wrong:
            raise _invalid(wrong)
        self._sound[key] = checks

    async def unmet(self, kustomization: Kustomization, lookup: Lookup, revision: str) -> str | None:
        """The first dependency that is not met, or None. Raises ConfigurationError for a readyExpr that cannot work."""
        evaluations = {}
        for position, dependency in enumerate(kustomization.spec.depends_on):
            other = lookup(*kustomization.dependency_key(dependency))
            if dependency.ready_expr and other is not None:
                evaluations[position] = await self._ready(kustomization, other, dependency.ready_expr)
        try:
            return unmet(kustomization, lookup, revision, evaluations, additive=self._additive)
        except InvalidReadyExprError as error:
            # "terminal error" is what Flux's controller runtime puts before an error that ends all retries
            raise _invalid(f"terminal error: {error}") from None

    async def _ready(self, kustomization: Kustomization, other: Kustomization, expression: str) -> Evaluation:
        try:
            (evaluation,) = await self._evaluator.evaluate(
                "ready", (expression,), ready_variables(kustomization, other)
            )
        except BuildError as error:
            return Evaluation(error=f"failed to evaluate the CEL expression '{expression}': {error.message}")
        return evaluation


async def judge(evaluator: Evaluator, check: HealthCheckExpr, live: Manifest) -> Health:
    """The health of a live object by the expressions for its kind."""
    if outdated(live):
        return in_progress("")
    try:
        return judged(check, await evaluator.evaluate("health", tuple(evaluated_of(check).values()), live))
    except OperationError as error:
        return Health(Status.UNKNOWN, error.message)


def _invalid(message: str) -> ConfigurationError:
    return ConfigurationError(
        f"Reconciliation failed terminally due to configuration error: {message}", reason="InvalidCELExpression"
    )
