"""Flux reference, sections 5.4 and 5.5: the metrics and the log lines that dashboards and `flux logs` read."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from agent.gates import FeatureGates
from agent.telemetry import logging
from testbed.processes import until
from tests.scenarios.conftest import KS, PATIENCE, RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
CONTROLLERS = ("kustomization", "gitrepository")


async def scrape(agent: RunningAgent) -> dict[str, list[dict[str, str]]]:
    """The labels of each sample, by its name."""
    async with aiohttp.ClientSession() as session, session.get(f"{agent.metrics}/metrics") as response:
        text = await response.text()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


@pytest.fixture
def lines(story: Story) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What an agent of the test's own writes into its log, so far; what others do elsewhere meanwhile is left out."""
    before = structlog.get_config()
    stream = io.StringIO()
    logging.configure("trace", stream)

    def read() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if line.get("namespace", story.namespace) == story.namespace]

    yield read
    structlog.configure(**before)


async def begin(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % "a", "b.yaml": CONFIG % "b"})
    await story.source()
    await story.kustomization()


async def test_the_metrics_that_flux_s_dashboards_query(story: Story, weir: RunningAgent) -> None:
    await begin(story)
    await story.ready()
    found = await scrape(weir)
    for name in ("reconcile_total", "reconcile_errors_total", "reconcile_time_seconds_bucket"):
        labels = found[f"controller_runtime_{name}"]
        assert {entry["controller"] for entry in labels} >= set(CONTROLLERS)
    results = {entry["result"] for entry in found["controller_runtime_reconcile_total"]}
    assert results == {"success", "error", "requeue", "requeue_after"}
    for name in ("max_concurrent_reconciles", "active_workers"):
        assert {entry["controller"] for entry in found[f"controller_runtime_{name}"]} >= set(CONTROLLERS)
    for name in (
        "depth",
        "adds_total",
        "retries_total",
        "unfinished_work_seconds",
        "longest_running_processor_seconds",
        "queue_duration_seconds_bucket",
        "work_duration_seconds_bucket",
    ):
        assert {entry["name"] for entry in found[f"workqueue_{name}"]} >= set(CONTROLLERS)
    assert {"code", "method", "host"} == set(found["rest_client_requests_total"][0])
    assert {entry["code"] for entry in found["rest_client_requests_total"]} >= {"200", "201"}
    assert found["process_resident_memory_bytes"] == found["process_cpu_seconds_total"] == [{}]
    absent = {"gotk_reconcile_condition", "gotk_suspend_status"}
    assert not absent & found.keys(), "Flux has given these up, and dashboards would count twice"


async def test_an_object_has_durations_as_long_as_it_exists(story: Story, weir: RunningAgent) -> None:
    await begin(story)
    await story.ready()

    async def series() -> set[tuple[str, str]]:
        labels = (await scrape(weir)).get("gotk_reconcile_duration_seconds_count", [])
        return {(entry["kind"], entry["name"]) for entry in labels if entry["namespace"] == story.namespace}

    async def come_to(*wanted: tuple[str, str]) -> None:
        """A pass is measured when it is over, a moment after the status that it has written."""

        async def come() -> bool:
            return await series() == set(wanted)

        await until(come, timeout=PATIENCE, what=f"durations of {wanted}")

    await come_to(("Kustomization", "app"), ("GitRepository", "repo"))
    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda found: found is None)
    await come_to(("GitRepository", "repo"))


async def test_a_line_about_an_object_has_the_keys_that_flux_logs_needs(
    story: Story, own_agent: OwnAgent, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    await begin(story)
    await story.kustomization("lost", path="./nowhere")
    async with own_agent():
        await story.ready()
        await story.failed("lost")
    told = lines()
    applied = next(line for line in told if line["msg"] == "server-side apply completed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", applied["ts"])
    assert applied["level"] == "info"
    assert applied["controller"] == "kustomization"
    assert applied["controllerGroup"] == "kustomize.toolkit.fluxcd.io"
    assert applied["controllerKind"] == "Kustomization"
    assert applied["Kustomization"] == {"name": "app", "namespace": story.namespace}
    assert (applied["name"], applied["namespace"]) == ("app", story.namespace)
    assert applied["revision"].startswith("main@sha1:")
    assert applied["output"] == {f"ConfigMap/{story.namespace}/{name}": "created" for name in "ab"}
    same_pass = [line["msg"] for line in told if line.get("reconcileID") == applied["reconcileID"]]
    assert len(same_pass) > 1
    assert len({line["reconcileID"] for line in told if "reconcileID" in line}) >= 3, "each pass has its own"
    failed = next(line for line in told if line["level"] == "error" and line.get("name") == "lost")
    assert "kustomization path not found" in failed["error"]
    assert re.fullmatch(r"Reconciliation failed after [0-9.ms]+, next try in 2s", failed["msg"])
    assert failed["revision"] == applied["revision"]
    assert {line["logger"] for line in told if "logger" in line} >= {"weir"}


async def test_an_event_is_a_line_of_level_trace(
    story: Story, own_agent: OwnAgent, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    await begin(story)
    async with own_agent():
        await story.ready()
        await story.event("app", "Reconciliation finished")
    traces = [line for line in lines() if line["level"] == "trace"]
    assert [line for line in traces if line["msg"].startswith("Reconciliation finished")]
    assert all(line["controllerKind"] in {"Kustomization", "GitRepository"} for line in traces)


async def test_changes_are_grouped_by_action_with_the_gate(
    story: Story, own_agent: OwnAgent, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    await begin(story)
    async with own_agent(gates=FeatureGates(group_change_log=True)):
        await story.ready()
    applied = next(line for line in lines() if line["msg"] == "server-side apply completed")
    assert applied["output"] == {"created": [f"ConfigMap/{story.namespace}/{name}" for name in "ab"]}
