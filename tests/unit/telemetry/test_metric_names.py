"""Metrics: the names and labels that Flux's dashboards query, and nothing that is never set."""

from __future__ import annotations

from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from agent.runtime.queue import WorkQueue
from agent.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, sample: str, /, **labels: str) -> float | None:
    return samples(metrics).get((sample, frozenset(labels.items())))


def test_reconcile_durations_have_flux_s_buckets_from_10_ms_to_30_min() -> None:
    metrics = Metrics()
    metrics.reconcile_duration.labels("Kustomization", "app", "flux-system").observe(0.02)
    found = {
        float(dict(labels)["le"])
        for name, labels in samples(metrics)
        if name == "gotk_reconcile_duration_seconds_bucket"
    }
    bounds = sorted(found)
    assert (bounds[0], bounds[9], bounds[-1]) == (0.01, 1800.0, float("inf"))
    assert len(bounds) == 11
    ratios = [after / before for before, after in pairwise(bounds[:10])]
    assert max(ratios) / min(ratios) < 1.01
    assert not [name for name, _ in samples(metrics) if name.endswith("_created")]
    about = {"kind": "Kustomization", "name": "app", "namespace": "flux-system"}
    assert value(metrics, "gotk_reconcile_duration_seconds_count", **about) == 1


def test_an_object_s_series_go_with_it() -> None:
    metrics = Metrics()
    for name in ("app", "other"):
        metrics.reconcile_duration.labels("Kustomization", name, "flux-system").observe(0.02)
    metrics.forget("Kustomization", "flux-system", "app")
    metrics.forget("Kustomization", "flux-system", "never-seen")
    about = {"kind": "Kustomization", "namespace": "flux-system"}
    assert value(metrics, "gotk_reconcile_duration_seconds_count", name="app", **about) is None
    assert value(metrics, "gotk_reconcile_duration_seconds_count", name="other", **about) == 1


def test_a_controller_s_queue_and_workers_are_read_at_the_scrape() -> None:
    metrics = Metrics()
    backlog, active = [3.0], [1.0]
    metrics.follow(
        "kustomization", workers=4, active=lambda: active[0], depth=lambda: backlog[0], running=lambda: [1.5, 0.5]
    )
    assert value(metrics, "controller_runtime_max_concurrent_reconciles", controller="kustomization") == 4
    assert value(metrics, "workqueue_depth", name="kustomization") == 3
    assert value(metrics, "workqueue_unfinished_work_seconds", name="kustomization") == 2
    assert value(metrics, "workqueue_longest_running_processor_seconds", name="kustomization") == 1.5
    assert value(metrics, "controller_runtime_reconcile_total", controller="kustomization", result="error") == 0
    assert value(metrics, "controller_runtime_active_workers", controller="kustomization") == 1
    backlog[0], active[0] = 0.0, 2.0
    assert value(metrics, "workqueue_depth", name="kustomization") == 0
    assert value(metrics, "controller_runtime_active_workers", controller="kustomization") == 2


def test_counters_carry_the_names_of_controller_runtime_and_client_go() -> None:
    metrics = Metrics()
    metrics.reconciles.labels("gitrepository", "success").inc()
    metrics.reconcile_errors.labels("gitrepository").inc()
    metrics.reconcile_time.labels("gitrepository").observe(0.3)
    metrics.requests.labels("200", "GET", "10.0.0.1:443").inc()
    about = {"controller": "gitrepository"}
    assert value(metrics, "controller_runtime_reconcile_total", result="success", **about) == 1
    assert value(metrics, "controller_runtime_reconcile_errors_total", **about) == 1
    assert value(metrics, "controller_runtime_reconcile_time_seconds_sum", **about) == 0.3
    assert value(metrics, "rest_client_requests_total", code="200", method="GET", host="10.0.0.1:443") == 1


def test_a_queue_is_counted_as_client_go_counts_it() -> None:
    now = [0.0]
    metrics = Metrics()
    queue = WorkQueue[str](clock=lambda: now[0], rand=lambda: 0.0, observer=metrics.queue("kustomization"))
    queue.add("a")
    queue.add("a")
    now[0] = 3.0
    assert queue.take() is not None
    now[0] = 5.0
    assert queue.running() == [2.0]
    queue.retry("a")
    queue.done("a")
    about = {"name": "kustomization"}
    assert value(metrics, "workqueue_adds_total", **about) == 2
    assert value(metrics, "workqueue_retries_total", **about) == 1
    assert value(metrics, "workqueue_queue_duration_seconds_sum", **about) == 3
    assert value(metrics, "workqueue_work_duration_seconds_sum", **about) == 2
    assert queue.running() == []


def test_two_agents_do_not_share_counters() -> None:
    one, two = Metrics(), Metrics()
    one.reconcile_errors.labels("canary").inc()
    assert value(two, "controller_runtime_reconcile_errors_total", controller="canary") is None


def test_the_process_is_described() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info", "weir_leader"} <= names
