"""Who is woken when a Kustomization moves."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.kustomization import Kustomization
from agent.controllers.triggers import watch_dependencies
from agent.runtime.queue import WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Item, ObjectKey

WHEN = "2026-01-01T00:00:00Z"


def kustomization(
    name: str, ready: str, reason: str = "R", revision: str = "1", labels: dict[str, str] | None = None, **spec: Any
) -> Kustomization:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": "", "lastTransitionTime": WHEN}
    return Kustomization.from_object(
        {
            "metadata": {"namespace": "team", "name": name, "labels": labels or {}},
            "spec": {"interval": "1m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "r"}, **spec},
            "status": {"conditions": [condition], "lastAppliedRevision": revision},
        }
    )


class World:
    """Kustomizations that change, and who is queued because of it."""

    def __init__(self) -> None:
        self.store: Store[Kustomization] = Store()
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue()
        self.versions = 0
        watch_dependencies(self.store, self.queue)

    def put(self, value: Kustomization) -> list[str]:
        """Names of those that are woken."""
        self.versions += 1
        self.store.feed(Apply(Item(ObjectKey(value.namespace, value.name), str(self.versions), value)))
        woken = []
        while (key := self.queue.take()) is not None:
            woken.append(key[0][1])
            self.queue.done(key[0])
        return sorted(woken)


def test_dependents_are_woken_when_a_dependency_becomes_ready_or_moves_on() -> None:
    world = World()
    for name in ("one", "two"):
        world.put(kustomization(name, "False", "DependencyNotReady", dependsOn=[{"name": "base"}]))
    world.put(kustomization("other", "False", dependsOn=[{"name": "base", "namespace": "infra"}]))
    assert world.put(kustomization("base", "Unknown")) == []
    assert world.put(kustomization("base", "True")) == ["one", "two"]
    assert world.put(kustomization("base", "True")) == []
    assert world.put(kustomization("base", "True", revision="2")) == ["one", "two"]
    assert world.put(kustomization("base", "False", revision="2")) == []


def test_a_dependent_that_is_about_to_find_the_old_state_is_woken_too() -> None:
    world = World()
    world.put(kustomization("base", "True", revision="1"))
    # its pass at revision 2 has read base at revision 1, but has not written what it made of that
    world.put(kustomization("app", "True", revision="1", dependsOn=[{"name": "base"}]))
    assert world.put(kustomization("base", "True", revision="2")) == ["app"]


@pytest.mark.parametrize(
    ("reason", "expression", "woken"),
    [("DependencyNotReady", "…", ["app"]), ("DependencyNotReady", None, []), ("BuildFailed", "…", [])],
)
def test_who_waits_with_an_expression_is_woken_by_any_change(
    reason: str, expression: str | None, woken: list[str]
) -> None:
    world = World()
    world.put(kustomization("base", "False"))
    world.put(kustomization("app", "False", reason, dependsOn=[{"name": "base", "readyExpr": expression}]))
    assert world.put(kustomization("base", "False", labels={"stage": "open"})) == woken
