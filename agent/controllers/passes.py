"""Controllers with their queues; what logs and metrics say of each pass, whatever its kind."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from agent.api.meta import Resource
from agent.runtime.backoff import Backoff
from agent.runtime.controller import Controller, Pass, Result
from agent.runtime.queue import WorkQueue
from agent.settings import Settings
from agent.telemetry.logging import named, object_context
from agent.telemetry.metrics import Metrics
from agent.telemetry.tracing import Tracing

Key = tuple[str, str]
Reconcile = Callable[[Key], Awaitable[Result]]
_RESULTS = {"crash": "error", "retry": "error", "stall": "error", "requeue": "requeue_after"}
"""controller-runtime's words for how a pass ended, where it is not `success`."""


class Passes:
    """Makes the controllers of one agent; `controllers` are those made so far."""

    def __init__(self, settings: Settings, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self.controllers: list[Controller[Key]] = []
        self._settings = settings
        self._metrics = metrics
        self._log = named("weir")

    def busy(self) -> bool:
        """Whether any pass is under way or due."""
        return any(controller.queue.working or controller.queue.due() for controller in self.controllers)

    async def calm(self) -> None:
        """Wait until no pass with news is under way or due: a second at most for each kind of pass."""
        for controller in tuple(self.controllers):
            await controller.queue.calm()

    def controller(
        self, role: str, kind: type[Resource], reconcile: Reconcile, *, at_least: int = 1, name: str = ""
    ) -> Controller[Key]:
        """A controller of one kind, with as many workers as its role has, or `at_least` so many.

        `name` tells it from another controller of the same kind.
        """
        settings, name = self._settings, name or kind.KIND.lower()
        retry = Backoff(initial=settings.min_retry_delay, maximum=settings.max_retry_delay)
        workers = max(settings.workers(role), at_least)
        queue = WorkQueue[Key](backoff=retry, observer=self._metrics.queue(name))
        controller = Controller(
            name,
            partial(self._with_context, kind, reconcile),
            queue,
            workers,
            on_crash=partial(self._crashed, kind),
            on_pass=partial(self._passed, kind),
        )
        self._metrics.follow(
            name, workers=workers, active=lambda: len(queue.working), depth=queue.due, running=queue.running
        )
        self.controllers.append(controller)
        return controller

    def _crashed(self, kind: type[Resource], name: str, key: Any, error: Exception) -> None:
        self._metrics.reconcile_errors.labels(name).inc()
        about = object_context(kind.KIND, kind.GROUP, *key)
        self._log.error("a pass failed unexpectedly", **about, error=error, exc_info=error)

    def _passed(self, kind: type[Resource], done: Pass[Key]) -> None:
        """Counts a pass. An error that left the pass is in no status, hence the line in the log."""
        self._metrics.reconciles.labels(done.controller, _RESULTS.get(done.outcome, "success")).inc()
        self._metrics.reconcile_time.labels(done.controller).observe(done.seconds)
        if done.outcome in {"retry", "stall"}:
            self._metrics.reconcile_errors.labels(done.controller).inc()
            about = object_context(kind.KIND, kind.GROUP, *done.key)
            self._log.error("a pass ended early", **about, error=done.error, next=done.outcome)

    async def _with_context(self, kind: type[Resource], reconcile: Reconcile, key: Key) -> Result:
        """The pass; what it writes into the log and traces, it and what it leaves behind, names object and pass."""
        about, number = object_context(kind.KIND, kind.GROUP, *key), str(uuid.uuid4())
        with structlog.contextvars.bound_contextvars(**about, reconcileID=number):
            if self._tracing is None:
                return await reconcile(key)
            names = {"kind": kind.KIND, "namespace": key[0], "name": key[1]}
            with self._tracing.whole(f"reconcile {kind.KIND}", **names, reconcile_id=number):
                return await reconcile(key)
