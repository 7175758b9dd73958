"""Health by expressions of the spec (`healthCheckExprs`), for kinds that do not report it in the usual conditions.

The rule is that of Flux's RFC 9: an observed generation that is behind decides first, then inProgress, failed and
current, each as soon as it is true; nothing true means that the object is on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.api.kustomization import HealthCheckExpr
from agent.core.evaluation import Evaluation
from agent.core.health.status import CURRENT, Health, Status, failed, in_progress
from agent.core.objects import Manifest, split_api_version

_JOB = ("batch", "Job")
_VERDICTS = {"InProgress": in_progress(""), "Failed": failed(""), "Current": CURRENT}


def compiled_of(check: HealthCheckExpr) -> dict[str, str]:
    """The expressions of a check by their names in messages, in the order in which errors are looked for."""
    named = {"Current": check.current, "Failed": check.failed, "InProgress": check.in_progress}
    return {name: text for name, text in named.items() if text}


def evaluated_of(check: HealthCheckExpr) -> dict[str, str]:
    """The same in the order in which they decide."""
    named = compiled_of(check)
    return {name: named[name] for name in _VERDICTS if name in named}


def problem(checks: Sequence[HealthCheckExpr], compiled: Sequence[Sequence[Evaluation]]) -> str | None:
    """What is wrong with the checks, as Flux words it, or None.

    `compiled` has, for each check, what became of the expressions of `compiled_of`.
    """
    seen = set()
    for position, (check, evaluations) in enumerate(zip(checks, compiled, strict=True)):
        group, kind = group_kind(check)
        if (group, kind) in seen:
            name = f"{kind}.{group}" if group else kind
            return f"duplicate custom health check for GroupKind {name} at healthchecks[{position}]"
        seen.add((group, kind))
        start = f"failed to create custom status evaluator for healthchecks[{position}]: "
        if not check.current:
            return f"{start}expression Current not specified"
        for name, evaluation in zip(compiled_of(check), evaluations, strict=True):
            if evaluation.invalid:
                return f"{start}failed to parse the expression {name}: {evaluation.error}"
    return None


def group_kind(check: HealthCheckExpr) -> tuple[str, str]:
    """API group and kind that a check is for; the kind is empty if it is for the whole group."""
    group, _ = split_api_version(check.api_version)
    return group, check.kind or ""


def check_for(checks: Sequence[HealthCheckExpr], group: str, kind: str) -> HealthCheckExpr | None:
    """The check that judges a kind: its own before that of its group. Jobs keep the built-in rule."""
    if (group, kind) == _JOB:
        return None
    by_kind = {group_kind(check): check for check in checks}
    return by_kind.get((group, kind)) or by_kind.get((group, ""))


def outdated(manifest: Manifest) -> bool:
    """True if the object's controller has not seen its present generation; anything but integers says nothing."""
    observed = _integer(manifest, "status", "observedGeneration")
    generation = _integer(manifest, "metadata", "generation")
    return observed is not None and generation is not None and observed != generation


def _integer(manifest: Manifest, section: str, name: str) -> int | None:
    fields: Any = manifest.get(section)
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def judged(check: HealthCheckExpr, evaluations: Sequence[Evaluation]) -> Health:
    """The health that the evaluations of `evaluated_of` amount to."""
    for name, evaluation in zip(evaluated_of(check), evaluations, strict=True):
        if evaluation.error:
            return Health(Status.UNKNOWN, evaluation.error)
        if evaluation.value:
            return _VERDICTS[name]
    return in_progress("")
