"""A KServe object that somebody changes past the rollout, and one whose Canary goes."""

from pathlib import Path

import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import CRDS, Rollouts
from kserve_world import KServeStory

from agent.adapters.kube.client import KubeClient
from agent.core.rollout.kserve.content import PROMOTED
from testbed.git import GitRepository
from testbed.kserve import CRDS as KSERVE_CRDS
from testbed.kserve import StatusWriter
from testbed.kube import Admin


@pytest.fixture
async def story(admin: Admin, namespace: str, tmp_path: Path) -> KServeStory:
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    return KServeStory(admin, namespace, GitRepository(tmp_path / "git"))


async def test_a_change_past_the_rollout_serves_and_is_told(
    admin: Admin, namespace: str, kube: KubeClient, story: KServeStory, tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    await rollouts.apply(story.service("1"), story.canary())
    async with StatusWriter(admin, namespace), canary_agent(kube, namespace):
        await rollouts.phase("Initialized")
        edit = {"spec": {"predictor": {"model": {"storageUri": "hf://org/chat-2"}}}}
        await admin.patch(*story.kind, namespace, "chat", edit)
        await rollouts.phase("Succeeded")
    assert await story.serving() == "2"
    assert any("was changed without the rollout" in text for text in await rollouts.events())


async def test_a_canary_that_gives_back_leaves_no_mark(
    admin: Admin, namespace: str, kube: KubeClient, story: KServeStory, tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    canary = story.canary()
    canary["spec"]["revertOnDeletion"] = True
    await rollouts.apply(story.service("1"), canary)
    async with StatusWriter(admin, namespace), canary_agent(kube, namespace):
        await rollouts.phase("Initialized")
        assert PROMOTED in (await story.live())["metadata"]["annotations"]
        await admin.delete("flagger.app/v1beta1", "Canary", namespace, "chat")

        async def gone() -> bool:
            return await rollouts.get("Canary", "chat", "flagger.app/v1beta1") is None

        await eventually(gone)
    live = await story.live()
    assert PROMOTED not in live["metadata"]["annotations"]
    assert "weir-canary" not in {entry["manager"] for entry in live["metadata"]["managedFields"]}
    assert await story.serving() == "1"
