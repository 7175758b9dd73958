"""Health checks that outlast their pass: one pass begins it, a later one finds how it ended.

News for the Kustomization (a revision, a spec, a request, a variable) overtakes a check; a pass without news, for an
interval or an object that was touched, lets it go on with the time that it had left.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.build import Built
from agent.controllers.kustomization.checked import passing_objects
from agent.controllers.kustomization.health import HealthPassed, HealthWaiter
from agent.controllers.kustomization.run import HealthCheck, Run
from agent.controllers.kustomization.targets import was_probe
from agent.controllers.triggers import source_of
from agent.core.inventory import Entry
from agent.runtime.controller import Controller

Key = tuple[str, str]
STEP = "Running health checks"


class Revision(Protocol):
    """What a source has to offer."""

    @property
    def revision(self) -> str:
        """Name and digest of it."""


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A check that news put an end to; `by` is the object that has them, as `Kind/namespace/name`."""

    check: HealthCheck
    by: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A check that all objects have passed, after `seconds`."""

    check: HealthCheck
    seconds: float


class HealthChecks:
    """The checks of all Kustomizations; `find` looks up the current revision of a source."""

    def __init__(self, waiter: HealthWaiter, find: Callable[[Kustomization], Awaitable[Revision]]) -> None:
        self._waiter = waiter
        self._find = find
        self._checks: dict[Key, HealthCheck] = {}
        self._news: dict[Key, str] = {}
        self._controller: Controller[Key] | None = None

    def attach(self, controller: Controller[Key]) -> None:
        """Waits run in this controller."""
        self._controller = controller

    def forget(self, key: Key) -> None:
        """There is nothing to go on with: the object is gone, or a pass has failed."""
        self._checks.pop(key, None)
        self._news.pop(key, None)

    def overtake(self, key: Key, by: str) -> None:
        """Something that a Kustomization is built with has changed: `by`, as `Kind/namespace/name`."""
        if key in self._checks:
            self._news[key] = by

    def abandon(self, key: Key) -> HealthCheck | None:
        """The check that was going on, which nobody will go on with."""
        return self._checks.pop(key, None)

    def begin(self, run: Run, *, announce: bool) -> HealthCheck:
        """The check of this pass. One that a pass without news interrupted goes on with the time it had left."""
        assert run.attempt is not None
        assert run.inventory is not None
        before = self._checks.get(run.key)
        generation, requested = run.kustomization.metadata.generation, run.kustomization.requested_at
        same = (
            before is not None
            and not run.changes.written
            and (before.generation, before.attempt.revision) == (generation, run.attempt.revision)
        )
        if before is not None and same:
            return replace(before, inventory=run.inventory, requested=requested)
        return HealthCheck(
            generation=generation,
            attempt=run.attempt,
            inventory=run.inventory,
            changes=run.changes,
            began=time.monotonic(),
            announce=announce,
            news=run.health_is_news,
            requested=requested,
        )

    def wait(self, run: Run, check: HealthCheck, target: Target, entries: tuple[Entry, ...], built: Built) -> None:
        """Wait beside the passes, for as long as the check has left."""
        assert self._controller is not None
        kustomization = run.kustomization
        self._checks[run.key] = check
        waiting = self._waiter.wait(
            target,
            entries,
            kustomization.effective_timeout(),
            kustomization.spec.health_check_exprs,
            home=kustomization.namespace,
            passing=passing_objects(built.objects),
            began=check.began,
        )
        self._controller.spawn_wait(run.key, waiting)

    async def ended(self, run: Run) -> Passed | Overtaken | None:
        """How the last check ended; None if a whole pass is due, be it that there was no check.

        The run goes on where the check began. Raises HealthFailedError, and what finding the source raises.
        """
        outcome, check = run.ended, self._checks.get(run.key)
        if outcome is None or check is None or was_probe(outcome):
            return None
        by = await self._overtaking(run.kustomization, check)
        if outcome.interrupted and not by:
            return None
        self.forget(run.key)
        if by:
            return Overtaken(check, by) if outcome.interrupted else None
        run.resume(check)
        run.at(STEP)
        if outcome.error is not None:
            raise outcome.error
        assert isinstance(outcome.result, HealthPassed)
        return Passed(check, outcome.result.seconds)

    async def _overtaking(self, kustomization: Kustomization, check: HealthCheck) -> str:
        """The object with news that the check does not know of; empty if there are none."""
        own = (kustomization.metadata.generation, kustomization.requested_at)
        if own != (check.generation, check.requested):
            return f"{Kustomization.KIND}/{kustomization.namespace}/{kustomization.name}"
        if (kustomization.namespace, kustomization.name) in self._news:
            return self._news[kustomization.namespace, kustomization.name]
        found = await self._find(kustomization)
        return "" if found.revision == check.attempt.revision else str(source_of(kustomization))
