"""Flagger's metrics under Flagger's names, so that dashboards and alerts of Flagger's users go on working.

The label `name` is the target's name, as it is there.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agent.core.rollout.actions import Weights
from agent.core.rollout.plan import Plan
from agent.core.rollout.status import Phase

_STATUS = {Phase.PROGRESSING: 0, Phase.FAILED: 2}
_OTHERWISE = 1


class FlaggerMetrics:
    """Registers itself in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        target = ["name", "namespace"]
        outcome = [*target, "deployment_strategy", "analysis_status"]
        self._info = Gauge(
            "flagger_info", "Version and mesh provider.", ["version", "mesh_provider"], registry=registry
        )
        self._total = Gauge("flagger_canary_total", "Total number of canaries.", ["namespace"], registry=registry)
        self._status = Gauge(
            "flagger_canary_status", "0 running, 1 succeeded or at rest, 2 failed.", target, registry=registry
        )
        self._weight = Gauge(
            "flagger_canary_weight", "Share of the traffic in percent.", ["workload", "namespace"], registry=registry
        )
        self._analysis = Gauge(
            "flagger_canary_metric_analysis", "Last value of a metric.", [*target, "metric"], registry=registry
        )
        self._duration = Histogram(
            "flagger_canary_duration_seconds", "Seconds spent on an analysis tick.", target, registry=registry
        )
        self._successes = Counter("flagger_canary_successes", "Runs that ended well.", outcome, registry=registry)
        self._failures = Counter("flagger_canary_failures", "Runs that were rolled back.", outcome, registry=registry)

    def info(self, version: str, mesh_provider: str) -> None:
        """Who is at work."""
        self._info.labels(version, mesh_provider).set(1)

    def total(self, namespace: str, count: int) -> None:
        """How many Canaries a namespace has."""
        self._total.labels(namespace).set(count)

    def status(self, plan: Plan, phase: Phase) -> None:
        """Where a Canary stands."""
        self._status.labels(plan.target, plan.namespace).set(_STATUS.get(phase, _OTHERWISE))

    def weights(self, plan: Plan, weights: Weights) -> None:
        """Where its traffic goes."""
        self._weight.labels(plan.primary, plan.namespace).set(weights.primary)
        self._weight.labels(plan.target, plan.namespace).set(weights.canary)

    def measured(self, plan: Plan, metric: str, value: float) -> None:
        """The last value of a metric."""
        self._analysis.labels(plan.target, plan.namespace, metric).set(value)

    def spent(self, plan: Plan, seconds: float) -> None:
        """How long an analysis tick took."""
        self._duration.labels(plan.target, plan.namespace).observe(seconds)

    def finished(self, plan: Plan, *, success: bool, skipped: bool) -> None:
        """A run is over."""
        counter = self._successes if success else self._failures
        analysis = "skipped" if skipped else "completed"
        counter.labels(plan.target, plan.namespace, plan.strategy.value, analysis).inc()

    def forget(self, plan: Plan) -> None:
        """The Canary is gone: its gauges go, the counters stay."""
        self._status.remove_by_labels({"name": plan.target, "namespace": plan.namespace})
        self._analysis.remove_by_labels({"name": plan.target, "namespace": plan.namespace})
        for workload in (plan.primary, plan.target):
            self._weight.remove_by_labels({"workload": workload, "namespace": plan.namespace})
