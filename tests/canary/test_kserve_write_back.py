"""A rejected model of an InferenceService, put back in Git."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from canary_agent import eventually
from canary_cluster import FLAGGER, Rollouts
from canary_gitops import Judge, whole_agent
from kserve_world import KServeStory, kserve_story

from testbed.controlplane import ControlPlane
from testbed.kube import Admin


@pytest.fixture
async def story(admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path) -> AsyncIterator[KServeStory]:
    async with kserve_story(admin, namespace, judge[1], tmp_path) as (found, _):
        yield found


async def test_the_reference_of_an_inference_service_goes_back(
    control_plane: ControlPlane, admin: Admin, story: KServeStory, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, story.namespace, tmp_path)
    secret = {"name": "writer", "namespace": story.namespace}
    await admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": {"username": "weir"}})
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        allowed = {"": "commit", "-branch": "main", "-secret": "writer"}
        noted = {f"weir.dev/write-back{key}": value for key, value in allowed.items()}
        patch = {"metadata": {"annotations": noted}}
        await admin.patch(FLAGGER, "Canary", story.namespace, "chat", patch)
        judge[0].refuses = True
        before = story.git.read("service.yaml")
        async with rollouts.phases() as phases:
            story.commit("2")
            await story.pull()
            found = await admin.wait_for(
                FLAGGER, "Canary", story.namespace, "chat", lambda canary: '"committed"' in str(canary)
            )
            await eventually(lambda: phases[-1] == "Succeeded")
        assert phases[-2:] == ["Failed", "Succeeded"]
        assert found is not None
        assert story.git.read("service.yaml") == before
        (entry,) = json.loads(found["metadata"]["annotations"]["weir.dev/quarantine"])
        assert (entry["rejected"], entry["restore"]) == ("hf://org/chat-2", "hf://org/chat-1")
        assert "Weir-Restored: hf://org/chat-1" in story.git.message(story.git.head()).splitlines()
    assert await story.serving() == "1"
    starts = [text for text in await rollouts.events() if text.startswith("New revision detected!")]
    assert len(starts) == 1
