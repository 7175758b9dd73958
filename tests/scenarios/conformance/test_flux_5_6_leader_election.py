"""Flux reference, section 5.6: the Lease, its name and its end, as far as the API server sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from agent.settings import ElectionSettings
from tests.scenarios.conftest import RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
LEASE = ("coordination.k8s.io/v1", "Lease")


async def held(story: Story, name: str) -> dict[str, Any]:
    found = await story.admin.wait_for(
        *LEASE, story.namespace, name, lambda lease: bool((lease or {}).get("spec", {}).get("holderIdentity"))
    )
    return dict(found["spec"])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "weir-leader-election"),
        ({"controllers": ("source",)}, "weir-source-leader-election"),
        ({"controllers": ("canary", "kustomize")}, "weir-kustomize-canary-leader-election"),
        (
            {"watch_label_selector": "sharding.fluxcd.io/key=shard1"},
            f"weir-leader-election-{hashlib.sha256(b'sharding.fluxcd.io/key=shard1').hexdigest()[:8]}",
        ),
    ],
)
async def test_the_lease_is_named_by_roles_and_selector_and_released_at_the_end(
    story: Story, own_agent: OwnAgent, settings: dict[str, Any], name: str
) -> None:
    async with own_agent(election=ElectionSettings(enabled=True), **settings):
        spec = await held(story, name)
        assert spec["leaseDurationSeconds"] == 35
    left = await story.admin.get(*LEASE, story.namespace, name)
    assert not left["spec"].get("holderIdentity")
    (only,) = await story.admin.list(*LEASE, story.namespace)
    assert only["metadata"]["name"] == name


async def test_without_release_on_cancel_the_lease_is_kept(story: Story, own_agent: OwnAgent) -> None:
    async with own_agent(election=ElectionSettings(enabled=True, release_on_cancel=False)):
        holder = (await held(story, "weir-leader-election"))["holderIdentity"]
    left = await story.admin.get(*LEASE, story.namespace, "weir-leader-election")
    assert left["spec"]["holderIdentity"] == holder


async def test_the_lease_may_be_in_another_namespace(story: Story, own_agent: OwnAgent) -> None:
    lease = (*LEASE, "default", "weir-leader-election")
    try:
        async with own_agent(election=ElectionSettings(enabled=True, namespace="default")):
            await story.admin.wait_for(*lease, lambda found: bool(found and found["spec"].get("holderIdentity")))
            assert await story.admin.list(*LEASE, story.namespace) == []
    finally:
        await story.admin.delete(*lease, missing_ok=True)


async def test_without_election_there_is_no_lease(story: Story, own_agent: OwnAgent) -> None:
    async with own_agent() as agent:
        await agent.ready()
    assert await story.admin.list(*LEASE, story.namespace) == []
