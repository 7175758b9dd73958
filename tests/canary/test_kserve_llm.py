"""An LLMInferenceService: a second one has the new model, the weights of their routing group split the traffic.

KServe's controller is played by a writer of statuses (testbed/kserve); the API server and the agent are real.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import Judge, whole_agent
from kserve_world import KServeStory, kserve_story, version_in

from testbed.controlplane import ControlPlane
from testbed.kserve.status import LLM_SERVICES
from testbed.kube import Admin, Object


@pytest.fixture
async def story(admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path) -> AsyncIterator[KServeStory]:
    async with kserve_story(admin, namespace, judge[1], tmp_path, kind=LLM_SERVICES) as (found, _):
        yield found


@pytest.fixture
def rollouts(admin: Admin, namespace: str, tmp_path: Path) -> Rollouts:
    """Questions about the Canary; nothing of it runs as pods here."""
    return Rollouts(admin, namespace, tmp_path)


def share(service: Object) -> Any:
    """The version, and the routing group with the weight in it."""
    route = service["spec"]["router"]["route"]
    return version_in(service), route.get("group"), route.get("weight")


async def test_the_second_service_joins_the_group_with_its_first_share(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(share) as first, story.watched(share, "chat-canary") as second:
            await story.push("2")
            await rollouts.phase("Succeeded")
            await eventually(lambda: (first[-1], second[-1]) == (("2", "chat", 100), ("2", "chat", 60)))
    assert second == [("2", None, None), ("2", "chat", 30), ("2", "chat", 60)]
    assert first == [
        ("1", None, None),
        ("1", "chat", 70),
        ("1", "chat", 40),
        ("2", "chat", 40),
        ("2", "chat", 100),
    ]
    assert await story.admin.find(*story.kind, story.namespace, "chat-canary") is None


async def test_a_rollback_takes_the_second_service_away(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        judge[0].refuses = True
        await story.push("2")
        rejected = await rollouts.phase("Failed")
        await story.again()
        await story.push("2", note="unrelated")
        assert share(await story.live()) == ("1", "chat", 100), "alone in its group"
        assert await story.admin.find(*story.kind, story.namespace, "chat-canary") is None
        assert await rollouts.status() == rejected


async def test_a_model_that_cannot_be_loaded_is_rolled_back_at_once(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        await story.push("broken")
        await rollouts.phase("Failed")
        assert await story.serving() == "1"
    texts = await rollouts.events()
    assert any("ModelLoadFailed in pod chat-canary-kserve-" in text for text in texts), texts


async def test_a_model_that_comes_while_another_one_is_loading_takes_its_place(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(version_in, "chat-canary") as tried:
            await story.push("slow")
            await eventually(lambda: tried == ["slow"])
            await story.push("3")
            await eventually(lambda: tried[-1] == "3")
            await rollouts.phase("Succeeded")
        assert await story.serving() == "3"


async def test_no_run_begins_without_room_for_the_devices_that_it_claims(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    name, driver, api = f"gpu-{story.namespace}", f"{story.namespace}.example.com", "resource.k8s.io/v1"
    selector = {"cel": {"expression": f'device.driver == "{driver}"'}}
    device_class = {"metadata": {"name": name}, "spec": {"selectors": [selector]}}
    request = {"name": "gpu", "exactly": {"deviceClassName": name, "count": 2}}
    template = {"metadata": {"name": "two", "namespace": story.namespace}}
    claims = {"spec": {"spec": {"devices": {"requests": [request]}}}}
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    devices = {"driver": driver, "pool": pool, "nodeName": name, "devices": [{"name": f"gpu-{n}"} for n in range(4)]}
    await story.admin.apply({"apiVersion": api, "kind": "DeviceClass", **device_class})
    await story.admin.apply({"apiVersion": api, "kind": "ResourceClaimTemplate", **template, **claims})
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        await story.push("2", claims="two")
        needed = f"2 pods with 2 devices of class {name} each needed, there is room for 0"
        assert needed in await rollouts.blocked("InsufficientAccelerators")
        await story.admin.apply(
            {"apiVersion": api, "kind": "ResourceSlice", "metadata": {"name": name}, "spec": devices}
        )
        await rollouts.phase("Succeeded")
    await story.admin.delete(api, "ResourceSlice", None, name)
    await story.admin.delete(api, "DeviceClass", None, name)
