"""Flagger's metrics by name, type and labels, for dashboards and alerts that were written for it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from rollout_world import World, make_plan

from agent.controllers.canary.metrics import FlaggerMetrics
from agent.core.rollout.actions import Weights
from agent.core.rollout.machine import step
from agent.core.rollout.snapshot import Answers, Stage
from agent.core.rollout.status import Phase

TARGET = {"name": "chat", "namespace": "prod"}
OUTCOME = {**TARGET, "deployment_strategy": "canary", "analysis_status": "completed"}
SERIES = {
    "flagger_info": ("gauge", {"version": "1", "mesh_provider": "istio"}, 1),
    "flagger_canary_total": ("gauge", {"namespace": "prod"}, 2),
    "flagger_canary_status": ("gauge", TARGET, 0),
    "flagger_canary_weight": ("gauge", {"workload": "chat-primary", "namespace": "prod"}, 70),
    "flagger_canary_metric_analysis": ("gauge", {**TARGET, "metric": "errors"}, 1.5),
    "flagger_canary_duration_seconds_count": ("histogram", TARGET, 1),
    "flagger_canary_successes_total": ("counter", OUTCOME, 1),
    "flagger_canary_failures_total": ("counter", OUTCOME, 1),
}


@pytest.fixture
def exported() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics, plan = FlaggerMetrics(registry), make_plan()
    metrics.info("1", "istio")
    metrics.total("prod", 2)
    metrics.status(plan, Phase.PROGRESSING)
    metrics.weights(plan, Weights(70, 30))
    metrics.measured(plan, "errors", 1.5)
    metrics.spent(plan, 0.2)
    metrics.finished(plan, success=True, skipped=False)
    metrics.finished(plan, success=False, skipped=False)
    return registry


@pytest.mark.parametrize("name", SERIES)
def test_a_metric_has_flagger_s_name_type_and_labels(exported: CollectorRegistry, name: str) -> None:
    kind, labels, value = SERIES[name]
    found = [
        (family.type, sample.labels, sample.value)
        for family in exported.collect()
        for sample in family.samples
        if sample.name == name
    ]
    assert found[0] == (kind, labels, value)


def test_nothing_else_is_called_flagger_s(exported: CollectorRegistry) -> None:
    shown = {sample.name for family in exported.collect() for sample in family.samples}
    extra = {name for name in shown - SERIES.keys() if not name.endswith(("_bucket", "_sum", "_created"))}
    assert extra == set()


def test_the_duration_has_the_default_buckets(exported: CollectorRegistry) -> None:
    bounds = [
        sample.labels["le"]
        for family in exported.collect()
        for sample in family.samples
        if sample.name == "flagger_canary_duration_seconds_bucket"
    ]
    assert {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0"} <= set(bounds)


@pytest.mark.parametrize(
    ("phase", "value"),
    [(Phase.PROGRESSING, 0), (Phase.FAILED, 2), (Phase.SUCCEEDED, 1), (Phase.WAITING, 1), (Phase.PROMOTING, 1)],
)
def test_the_status_of_a_phase(phase: Phase, value: int) -> None:
    registry = CollectorRegistry()
    FlaggerMetrics(registry).status(make_plan(), phase)
    assert registry.get_sample_value("flagger_canary_status", TARGET) == value


def test_the_duration_is_that_of_analyses_alone() -> None:
    world = World(make_plan(metrics=()))
    seen = {}
    for tick in range(9):
        if tick == 2:
            world.revision = "b"
        decision = step(world.snapshot(Stage.ROUTED, Answers(), due=True))
        rule = world.tick()
        seen[rule] = decision.analysed
    assert seen["advance"]
    assert seen["promote"]
    assert not seen["start"]
    assert not seen["unchanged"]
