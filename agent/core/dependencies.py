"""`dependsOn`: may a Kustomization go ahead?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any

from agent.api.kustomization import Kustomization
from agent.core import conditions as c
from agent.core.evaluation import Evaluation
from agent.core.gitref import same_revision

Key = tuple[str, str]
Lookup = Callable[[str, str], Kustomization | None]


class InvalidReadyExprError(ValueError):
    """A readyExpr that no object can make work."""


def unmet(
    kustomization: Kustomization,
    lookup: Lookup,
    revision: str,
    evaluations: Mapping[int, Evaluation] = MappingProxyType({}),
    *,
    additive: bool = False,
) -> str | None:
    """The first dependency that is not met, as Flux words it, or None. Checked in the order of the spec.

    `revision` is that of the source's current artifact: a dependency from the same source has to have applied it.
    `evaluations` are what became of readyExpr, by position in dependsOn; they take the place of the usual checks, or
    with `additive` (Flux's gate AdditiveCELDependencyCheck) come before them. Raises InvalidReadyExprError.
    """
    for position, dependency in enumerate(kustomization.spec.depends_on):
        namespace, name = kustomization.dependency_key(dependency)
        label = f"dependency '{namespace}/{name}'"
        other = lookup(namespace, name)
        if other is None:
            return f"{label} not found: create the Kustomization or remove it from spec.dependsOn"
        if position in evaluations:
            evaluation = evaluations[position]
            if evaluation.invalid:
                raise InvalidReadyExprError(f"failed to evaluate dependency {name}: {evaluation.error}")
            if evaluation.error:
                return evaluation.error
            if not evaluation.value:
                return f"{label} is not ready according to readyExpr eval"
            if not additive:
                continue
        current = other.status.observed_generation == other.metadata.generation
        if not (current and c.is_true(other.status.conditions, c.READY)):
            return f"{label} is not ready"
        applied = other.status.last_applied_revision or ""
        if _source(other) == _source(kustomization) and not same_revision(applied, revision):
            return f"{label} revision is not up to date"
    return None


def circle(kustomization: Kustomization, lookup: Lookup) -> tuple[Key, ...]:
    """The way along dependsOn from a Kustomization back to itself, both ends included; empty if there is none.

    A dependency with a readyExpr is no part of one: it may be met by another that is not ready.
    """
    start = (kustomization.namespace, kustomization.name)
    came_from: dict[Key, Key] = {}
    to_visit = [start]
    while to_visit:
        key = to_visit.pop()
        visited = kustomization if key == start else lookup(*key)
        for following in _waited_for(visited):
            if following == start:
                way = [key]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return (*reversed(way), start)
            if following not in came_from:
                came_from[following] = key
                to_visit.append(following)
    return ()


def _waited_for(kustomization: Kustomization | None) -> tuple[Key, ...]:
    if kustomization is None:
        return ()
    plain = (dependency for dependency in kustomization.spec.depends_on if not dependency.ready_expr)
    return tuple(kustomization.dependency_key(dependency) for dependency in plain)


def ready_variables(kustomization: Kustomization, dependency: Kustomization) -> dict[str, Any]:
    """What a readyExpr sees: both objects whole; `status` is always there, if only empty."""
    return {"self": {"status": {}} | kustomization.to_object(), "dep": {"status": {}} | dependency.to_object()}


def in_order(kustomizations: Sequence[Kustomization]) -> Sequence[Kustomization]:
    """Those that others among them wait for come first. Where they wait in a circle, the order is left as it is."""
    if not any(kustomization.spec.depends_on for kustomization in kustomizations):
        return kustomizations
    named = {(kustomization.namespace, kustomization.name): kustomization for kustomization in kustomizations}
    sorter = TopologicalSorter({key: dependency_keys(one) & named.keys() for key, one in named.items()})
    try:
        return [named[key] for key in sorter.static_order()]
    except CycleError:
        return kustomizations


def _source(kustomization: Kustomization) -> tuple[str, str, str]:
    reference = kustomization.spec.source_ref
    return reference.kind, reference.name, kustomization.source_namespace


def dependency_keys(kustomization: Kustomization) -> frozenset[Key]:
    """Namespace and name of each Kustomization that this one names in dependsOn."""
    return frozenset(kustomization.dependency_key(dependency) for dependency in kustomization.spec.depends_on)
