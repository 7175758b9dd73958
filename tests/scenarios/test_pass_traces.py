"""Traces of a running agent: where the time of a pass goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from testbed.otlp import attributes, trace_receiver
from tests.scenarios.conftest import RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


async def test_the_steps_of_a_pass_are_spans_that_name_object_and_revision(
    story: Story, own_agent: OwnAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = story.git.commit({"a.yaml": CONFIG % "a", "b.yaml": CONFIG % "b"})
    await story.source()
    await story.kustomization(wait=True)
    async with trace_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        async with own_agent():
            await story.ready(revision=first)
            second = story.git.commit({"b.yaml": None})
            await story.pull("now")
            await story.ready(revision=second)
        spans = [one for one in receiver.spans if attributes(one).get("weir.namespace") == story.namespace]
    for commit in (first, second):
        assert {"fetch", "build", "apply", "prune"} <= _steps(spans, "Kustomization", f"main@sha1:{commit}")
        assert {"fetch", "archive"} <= _steps(spans, "GitRepository", f"main@sha1:{commit}")
    assert "health" in {one.name for one in spans}
    passes = {one.span_id: one for one in spans if one.name.startswith("reconcile ")}
    assert all(one.parent_span_id in passes for one in spans if one.span_id not in passes)
    assert all(one.end_time_unix_nano >= one.start_time_unix_nano for one in spans)


def _steps(spans: list[Span], kind: str, revision: str) -> set[str]:
    wanted = {"weir.kind": kind, "weir.revision": revision}
    return {one.name for one in spans if wanted.items() <= attributes(one).items()}
