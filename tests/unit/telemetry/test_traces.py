"""Traces: spans of passes and their steps, sent to a receiver on loopback as OTLP over HTTP; none without a wish."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from agent.errors import BuildError
from agent.telemetry.tracing import note, span, traced, tracing_from
from testbed.otlp import TraceReceiver, attributes, trace_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[TraceReceiver]:
    async with trace_receiver() as running:
        yield running


@traced("apply")
async def apply() -> str:
    return "applied"


@traced("build")
async def build(error: Exception) -> None:
    raise error


async def test_a_pass_and_its_steps_are_one_trace_with_the_names_of_the_object(
    receiver: TraceReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    async with tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}) as tracing:
        assert tracing is not None
        with tracing.whole("reconcile Kustomization", kind="Kustomization", namespace="team", name="app"):
            with span("fetch"):
                pass
            with span("look"):
                note(revision="main@sha1:1")
            assert await apply() == "applied"
    root, fetch, applied = (receiver.named(name) for name in ("reconcile Kustomization", "fetch", "apply"))
    assert root.trace_id == fetch.trace_id == applied.trace_id
    assert fetch.parent_span_id == applied.parent_span_id == root.span_id
    names = {"weir.kind": "Kustomization", "weir.namespace": "team", "weir.name": "app"}
    assert attributes(fetch) == names
    assert (
        attributes(receiver.named("look"))
        == attributes(applied)
        == attributes(root)
        == names | {"weir.revision": "main@sha1:1"}
    )
    assert receiver.services == {"weir"}


@pytest.mark.parametrize(
    ("error", "told"), [(BuildError("no such base"), "no such base"), (ValueError("password"), "ValueError")]
)
async def test_a_step_that_fails_says_why_but_no_text_of_others(
    receiver: TraceReceiver, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    async with tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}) as tracing:
        assert tracing is not None
        with pytest.raises(type(error)), tracing.whole("reconcile Kustomization", name="app"):
            await build(error)
    for name in ("build", "reconcile Kustomization"):
        status = receiver.named(name).status
        assert (status.code, status.message) == (Status.STATUS_CODE_ERROR, told)
        assert not receiver.named(name).events


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_without_a_wish_steps_cost_nothing(environment: dict[str, str]) -> None:
    async with tracing_from(environment) as tracing:
        assert tracing is None
        note(revision="1")
        assert await apply() == "applied"


def test_the_agent_does_not_import_the_sdk_by_itself() -> None:
    code = "import sys, agent.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_a_receiver_that_is_not_there_costs_its_spans_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as tracing:
        assert tracing is not None
        with tracing.whole("reconcile Kustomization", name="app"):
            assert await apply() == "applied"
