"""What people and dashboards hear of a pass: events in Flux's words, log lines in its keys, metrics by its names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from agent.api.duration import format_duration, format_elapsed
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.dependencies import DependencyError
from agent.controllers.kustomization.run import Run
from agent.controllers.sources import SourceNotFoundError
from agent.core import conditions as c
from agent.core.changeset import ChangeSet
from agent.core.outcome import HEALTH_CHECK_CANCELED, RECONCILIATION_SUCCEEDED, Attempt
from agent.errors import Next, WaitingError, WeirError
from agent.telemetry.events import EventRecorder, EventType, reference_to
from agent.telemetry.metrics import Metrics

COMPONENT = "kustomize-controller"
_REVISION = f"{Kustomization.GROUP}/revision"
_ORIGIN = f"{Kustomization.GROUP}/originRevision"
_COMMIT_STATUS = f"{Kustomization.GROUP}/commit_status"
_OUTPUT_BYTES = 48 * 1024
"""Of change set a log line. `flux logs` ends at a line of 64 KiB."""


class Reporter:
    """Tells of passes over Kustomizations. `grouped`: change sets are logged by action (the gate GroupChangeLog)."""

    def __init__(self, events: EventRecorder, metrics: Metrics, *, grouped: bool = False) -> None:
        self._grouped = grouped
        self._events = events
        self._metrics = metrics

    @contextmanager
    def measured(self, kustomization: Kustomization) -> Iterator[None]:
        """Duration metric of a pass."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._metrics.reconcile_duration.labels(
                Kustomization.KIND, kustomization.name, kustomization.namespace
            ).observe(time.perf_counter() - started)

    def forget(self, key: tuple[str, str]) -> None:
        """The object is gone, and so are its time series."""
        self._metrics.forget(Kustomization.KIND, *key)

    def changed(self, run: Run, changes: ChangeSet, *, pruned: bool = False) -> None:
        """Objects were applied or pruned."""
        for change in changes.changes:
            self._metrics.objects.labels(change.action.value).inc()
        lines = changes.text(changes.changes if pruned else None)
        if not lines:
            return
        message = "garbage collection completed" if pruned else "server-side apply completed"
        for part in changes.in_parts(_OUTPUT_BYTES):
            output = part.as_grouped_log() if self._grouped else part.as_log()
            self._log().info(message, output=output, revision=run.revision)
        self._event(run.kustomization, "Normal", c.PROGRESSING, lines, run=run)

    def remarks(self, run: Run, changes: ChangeSet) -> None:
        """Objects were written in another form than Git has them.

        References wait for a rollout although the revision that names them is applied, or fields were left out.
        """
        for change in changes.written:
            if change.withheld:
                fields = ", ".join(change.withheld)
                self._remark(run, f"{change.key}: {fields} withheld, the rollout of its Canary decides when it serves")
            if change.undeclared:
                fields = ", ".join(change.undeclared)
                self._remark(run, f"{change.key}: {fields} left out, its kind does not have that in this cluster")

    def _remark(self, run: Run, text: str) -> None:
        self._log().info(text, revision=run.revision)
        self._event(run.kustomization, "Normal", c.PROGRESSING, text, run=run)

    def canceled(self, run: Run, attempt: Attempt, by: str) -> None:
        """News have put an end to a health check."""
        message = f"Health checks canceled due to new reconciliation triggered by {by}"
        self._log().info(message, revision=attempt.revision)
        self._event(run.kustomization, "Normal", HEALTH_CHECK_CANCELED, message, run=attempt)

    def succeeded(self, run: Run, healthy_after: float | None) -> None:
        """A noteworthy pass went well.

        `healthy_after` is how long its health check took, in seconds, if that is news.
        """
        kustomization = run.kustomization
        if healthy_after is not None:
            text = f"Health check passed in {format_elapsed(healthy_after)}"
            self._event(kustomization, "Normal", c.PROGRESSING, text, run=run)
        message = f"Reconciliation finished in {_took(run)}, next run in {format_duration(kustomization.interval)}"
        self._log().info(message, revision=run.revision)
        self._event(
            kustomization, "Normal", RECONCILIATION_SUCCEEDED, message, run=run, extra={_COMMIT_STATUS: "update"}
        )

    def failed(self, run: Run, error: WeirError) -> None:
        """A pass ended without success. A source that does not exist is no event, as in Flux."""
        if isinstance(error, WaitingError):
            self._log().info(error.message, reason=error.reason)
            if isinstance(error, DependencyError):
                text = f"Dependencies do not meet ready condition, retrying in {format_duration(error.after)}"
                told = f"{text}: {error.circle}" if error.circle else text
                self._event(run.kustomization, "Normal", error.reason, told, run=run)
            return
        self._log().error(_ended(run, error), error=error.message, reason=error.reason, revision=run.revision)
        if isinstance(error, SourceNotFoundError):
            return
        self._event(run.kustomization, "Warning", error.reason, error.message, run=run)

    def finalized(self, kustomization: Kustomization, changes: ChangeSet) -> None:
        """The objects of a deleted Kustomization were deleted."""
        if changes.changes:
            self._event(kustomization, "Normal", RECONCILIATION_SUCCEEDED, changes.text(changes.changes))

    def waiting(self, kustomization: Kustomization, message: str) -> None:
        """A deletion waits for another Kustomization."""
        self._log().info(message)
        self._event(kustomization, "Normal", c.PROGRESSING, message)

    def warn(self, kustomization: Kustomization, message: str) -> None:
        """Something a person should know."""
        self._log().error(message)
        self._event(kustomization, "Warning", "PruneFailed", message)

    def _event(
        self,
        kustomization: Kustomization,
        kind: EventType,
        reason: str,
        message: str,
        *,
        run: Run | Attempt | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        """Without a pass (`run`), the revision is the one that was applied last."""
        status = kustomization.status
        revision = run.revision if run else status.last_applied_revision
        origin = run.origin_revision if run else status.last_applied_origin_revision
        annotations = dict(extra or {})
        if revision:
            annotations[_REVISION] = revision
            if origin:
                annotations[_ORIGIN] = origin
        self._events.event(
            reference_to(kustomization), kind, reason, message, component=COMPONENT, annotations=annotations
        )

    @staticmethod
    def _log() -> structlog.typing.FilteringBoundLogger:
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        return log


def _took(run: Run) -> str:
    return format_elapsed((datetime.now(UTC) - run.started).total_seconds())


def _ended(run: Run, error: WeirError) -> str:
    """What the log says of a failure, in Flux's words where there is a next try."""
    if error.next is not Next.RETRY:
        return "Reconciliation failed"
    return f"Reconciliation failed after {_took(run)}, next try in {format_duration(run.kustomization.retry_interval)}"
