"""Flags that change what a whole agent does, tried with an agent of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from tests.scenarios.conftest import KS, RunningAgent, Story

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {greeting: hi}\n"


async def test_sources_of_other_namespaces_can_be_forbidden(
    story: Story, own_agent: Callable[..., AbstractAsyncContextManager[RunningAgent]]
) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization("own")
    await story.kustomization("other", sourceRef={"kind": "GitRepository", "name": "repo", "namespace": "default"})
    async with own_agent(no_cross_namespace_refs=True):
        await story.ready("own")
        refused = await story.failed("other", "cross-namespace")
        reasons = {entry["type"]: entry["reason"] for entry in refused["status"]["conditions"]}
        assert (reasons["Ready"], reasons["Stalled"]) == ("AccessDenied", "AccessDenied")
    left = await story.admin.get(*KS, story.namespace, "own")
    assert left["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
