"""Prometheus metrics, under the names that Flux's and Flagger's dashboards already query, and Weir's own.

`Metrics` owns a registry; there is no process-wide default, so two agents in one test do not share counters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

# controller-runtime's bucket for Flux: exponential from 10 ms to 30 min
_RECONCILE_BUCKETS = tuple(round(0.01 * (180000 ** (step / 9)), 4) for step in range(10))
# the middle of controller-runtime's sixty buckets: what its dashboards' quantiles need
_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# client-go's: powers of ten from 10 ns
_QUEUE_BUCKETS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMetrics:
    """The metrics of one queue, as callables: a key was added, retried, taken after seconds, finished after seconds."""

    added: Callable[[], None]
    retried: Callable[[], None]
    taken: Callable[[float], None]
    finished: Callable[[float], None]


class Metrics:
    """All metrics of one agent."""

    def __init__(self) -> None:
        # One more series for each of Flux's per-object ones, and nothing that its dashboards know.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation there
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._flux()
        self._queues()
        self._weir()

    def _flux(self) -> None:
        registry = self.registry
        self.reconcile_duration = Histogram(
            "gotk_reconcile_duration_seconds",
            "The duration in seconds of a reconciliation.",
            ["kind", "name", "namespace"],
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self.reconciles = Counter(
            "controller_runtime_reconcile",
            "Total number of reconciliations per controller.",
            ["controller", "result"],
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors",
            "Total number of reconciliation errors per controller.",
            ["controller"],
            registry=registry,
        )
        self.reconcile_time = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller.",
            ["controller"],
            buckets=_PASS_BUCKETS,
            registry=registry,
        )
        self._max_concurrent = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller.",
            ["controller"],
            registry=registry,
        )
        self._active_workers = Gauge(
            "controller_runtime_active_workers",
            "Number of currently used workers per controller.",
            ["controller"],
            registry=registry,
        )
        self.requests = Counter(
            "rest_client_requests",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ["code", "method", "host"],
            registry=registry,
        )

    def _queues(self) -> None:
        """client-go's metrics of work queues."""
        registry, names = self.registry, ["name"]
        self._queue_depth = Gauge("workqueue_depth", "Current depth of workqueue.", names, registry=registry)
        self._queue_unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Seconds of work in progress.", names, registry=registry
        )
        self._queue_longest = Gauge(
            "workqueue_longest_running_processor_seconds", "Seconds of the longest pass.", names, registry=registry
        )
        self._queue_adds = Counter("workqueue_adds", "Keys added to the workqueue.", names, registry=registry)
        self._queue_retries = Counter("workqueue_retries", "Keys added after a failure.", names, registry=registry)
        self._queue_waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long a key stays in the workqueue before it is asked for.",
            names,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )
        self._queue_worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long working on a key takes.",
            names,
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        )

    def _weir(self) -> None:
        registry = self.registry
        self.loop_lag = Histogram(
            "weir_event_loop_lag_seconds",
            "How late the event loop ran a timer.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self.api_requests = Counter(
            "weir_api_requests", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
        )
        self.changes = Counter(
            "weir_changes", "Change records of models and data.", ["kind", "op", "action"], registry=registry
        )
        self.data_runs = Counter(
            "weir_data_runs", "Runs of DataTriggers that reached a state.", ["kind", "state"], registry=registry
        )
        self.stale_serving = Gauge(
            "weir_stale_serving",
            "References of a Kustomization of which pods run something else than Git asks for.",
            ["namespace", "name"],
            registry=registry,
        )
        self.objects = Counter("weir_objects", "Objects handled by Kustomizations.", ["action"], registry=registry)
        self.events_dropped = Counter(
            "weir_events_dropped", "Kubernetes Events not written.", ["why"], registry=registry
        )
        self.notifications_dropped = Counter(
            "weir_notifications_dropped",
            "Events not delivered to the notification-controller.",
            ["why"],
            registry=registry,
        )
        self.shortcuts_verified = Counter(
            "weir_shortcuts_verified", "With --verify: skipped work that was done.", ["shortcut"], registry=registry
        )
        self.shortcut_differences = Counter(
            "weir_shortcut_differences", "Those that had another outcome.", ["shortcut"], registry=registry
        )
        self.leader = Gauge("weir_leader", "1 while this process leads.", registry=registry)

    def queue(self, name: str) -> QueueMetrics:
        """Counts what happens to the keys of a controller's queue."""
        return QueueMetrics(
            added=self._queue_adds.labels(name).inc,
            retried=self._queue_retries.labels(name).inc,
            taken=self._queue_waited.labels(name).observe,
            finished=self._queue_worked.labels(name).observe,
        )

    def follow(
        self,
        controller: str,
        *,
        workers: int,
        active: Callable[[], float],
        depth: Callable[[], float],
        running: Callable[[], Sequence[float]],
    ) -> None:
        """Show a controller's workers and its queue; the callables are asked at every scrape.

        `running` are the seconds that each key in work has taken so far.
        """
        self._max_concurrent.labels(controller).set(workers)
        self._active_workers.labels(controller).set_function(active)
        self._queue_depth.labels(controller).set_function(depth)
        self._queue_unfinished.labels(controller).set_function(lambda: sum(running()))
        self._queue_longest.labels(controller).set_function(lambda: max(running(), default=0.0))
        self.reconcile_errors.labels(controller)
        for result in ("success", "error", "requeue", "requeue_after"):
            self.reconciles.labels(controller, result)

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """An object is gone, and so are its time series."""
        self.reconcile_duration.remove_by_labels({"kind": kind, "namespace": namespace, "name": name})

    def render(self) -> bytes:
        """The text exposition, from whichever thread asks for it."""
        return generate_latest(self.registry)
