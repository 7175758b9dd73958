"""Flux reference, section 5.1: annotations and labels that people and webhooks write on objects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from agent.gates import FeatureGates
from tests.scenarios.conftest import KS, REPO, RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: out}\ndata: {model: '${model}'}\n"
WATCHED = {"reconcile.fluxcd.io/watch": "Enabled"}


async def variables(story: Story, kind: str, model: str, labels: dict[str, str]) -> None:
    """The ConfigMap or Secret that the Kustomization reads."""
    values = {"data": {"model": model}} if kind == "ConfigMap" else {"stringData": {"model": model}}
    metadata = {"name": "vars", "namespace": story.namespace, "labels": labels}
    await story.admin.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **values})


async def begin(story: Story, kind: str, labels: dict[str, str]) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await variables(story, kind, "small", labels)
    await story.kustomization(postBuild={"substituteFrom": [{"kind": kind, "name": "vars"}]})


async def serves(story: Story, model: str, name: str = "out") -> None:
    await story.admin.wait_for(
        "v1", "ConfigMap", story.namespace, name, lambda found: (found or {}).get("data") == {"model": model}
    )


async def test_a_request_is_an_opaque_token_and_is_echoed_by_both_kinds(story: Story) -> None:
    story.git.commit({"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"})
    await story.source()
    await story.kustomization()
    await story.ready()
    for kind, name in ((REPO, "repo"), (KS, "app")):
        for token in ("2026-01-02T03:04:05.678901234Z", "2026-01-02 03:04:05.678 +0000 UTC m=+0.1", "now!"):
            await story.request(kind, name, token)
            await story.until(kind, name, lambda found, token=token: _handled(found) == token)


def _handled(found: dict[str, Any] | None) -> str:
    return str((found or {}).get("status", {}).get("lastHandledReconcileAt", ""))


async def test_a_marked_secret_starts_a_pass_when_it_changes(story: Story) -> None:
    await begin(story, "Secret", WATCHED)
    await serves(story, "small")
    await variables(story, "Secret", "large", WATCHED)
    await serves(story, "large")


async def test_a_marked_config_map_starts_a_pass_when_it_changes(story: Story) -> None:
    await begin(story, "ConfigMap", WATCHED)
    await serves(story, "small")
    await variables(story, "ConfigMap", "large", WATCHED)
    await serves(story, "large")


async def test_one_without_the_mark_waits_for_the_next_pass(story: Story) -> None:
    await begin(story, "ConfigMap", {"reconcile.fluxcd.io/watch": "enabled"})
    await serves(story, "small")
    await story.ready()
    await _marked_changes_have_been_seen(story, "one", "two")  # by then nothing is left to do for the first
    await variables(story, "ConfigMap", "large", {"reconcile.fluxcd.io/watch": "enabled"})
    await _marked_changes_have_been_seen(story, "three", "four")
    await serves(story, "small")
    await story.request(KS, "app", "now")
    await serves(story, "large")


async def test_another_selector_marks_others(story: Story, own_agent: OwnAgent) -> None:
    mine = {"team": "serving"}
    await begin(story, "ConfigMap", mine)
    async with own_agent(watch_configs_label_selector="team=serving"):
        await serves(story, "small")
        await variables(story, "ConfigMap", "large", mine)
        await serves(story, "large")


async def test_with_the_gate_no_mark_has_an_effect_and_no_secret_is_watched(story: Story, own_agent: OwnAgent) -> None:
    await begin(story, "Secret", WATCHED)
    async with own_agent(gates=FeatureGates(disable_config_watchers=True)) as agent:
        await serves(story, "small")
        await variables(story, "Secret", "large", WATCHED)
        await story.request(KS, "app", "now")
        await serves(story, "large")
        requests = await agent.requests()
        assert not [name for name in requests if name in ("watch secrets", "list secrets")]


async def _marked_changes_have_been_seen(story: Story, *models: str) -> None:
    """What was changed later has had its effect."""
    metadata = {"name": "later", "namespace": story.namespace, "labels": WATCHED}
    await story.kustomization(
        "later", namePrefix="later-", postBuild={"substituteFrom": [{"kind": "ConfigMap", "name": "later"}]}
    )
    for model in models:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"model": model}}
        await story.admin.apply(config)
        await serves(story, model, "later-out")
