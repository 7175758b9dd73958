"""Pods that run something else than Git resolves to are found, told of, and forgotten once they are right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from testbed.controlplane import ControlPlane
from testbed.kube import Admin, condition
from testbed.node import Access, Image, ProcessNode
from tests.registries.registry_servers import Registry, registry
from tests.scenarios.conftest import KS, RunningAgent, Story, message
from tests.scenarios.test_change_policy import policy
from tests.scenarios.test_floating_references import looked_at, push

SLEEP = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done")
POD = ("v1", "Pod")


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    """An image registry on loopback."""
    async with registry() as found:
        yield found


@pytest.fixture
async def node(
    control_plane: ControlPlane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessNode]:
    access = Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)
    workdir = tmp_path_factory.mktemp("node")
    async with ProcessNode(access, workdir=workdir, images=IMAGES, name="stale-tests") as running:
        yield running


IMAGES: dict[str, Image] = {}


def deployment(image: str, revision: str, strategy: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: chat}}
spec:
  replicas: 1
  {strategy}
  serviceName: chat
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: vllm, image: "{image}", args: [--model, org/m, --revision, "{revision}"]}}
"""


async def running(story: Story) -> dict[str, Any]:
    """Wait until the pod runs."""
    return await story.until(POD, "chat-0", lambda found: (found or {}).get("status", {}).get("phase") == "Running")


async def stale(story: Story, text: str) -> str:
    """Wait until the Kustomization says that pods are stale."""
    found = await story.until(KS, "app", lambda found: text in message(found, "StaleServing"))
    return message(found, "StaleServing")


async def current(story: Story) -> None:
    """Wait until it does not any more."""
    await story.until(KS, "app", lambda found: not condition(found, "StaleServing"))


async def gauge(weir: RunningAgent, story: Story) -> str:
    """The metric's value, "" without one."""
    async with aiohttp.ClientSession() as session, session.get(f"{weir.metrics}/metrics") as response:
        lines = (await response.text()).splitlines()
    start = f'weir_stale_serving{{name="app",namespace="{story.namespace}"}} '
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


@pytest.fixture
def programs() -> None:
    """What runs under the images' names."""
    IMAGES.clear()


async def test_pods_of_an_older_text_are_stale_until_they_are_replaced(
    story: Story, weir: RunningAgent, programs: None, node: ProcessNode
) -> None:
    IMAGES["registry.example/vllm"] = Image(entrypoint=SLEEP)
    on_delete = "updateStrategy: {type: OnDelete}"
    await policy(story, serving={"interval": "1s", "after": "0s"})
    story.git.commit({"chat.yaml": deployment("registry.example/vllm:v1", "a" * 40, on_delete)})
    await story.source()
    await story.kustomization()
    await story.ready()
    await running(story)
    second = story.git.commit({"chat.yaml": deployment("registry.example/vllm:v1", "b" * 40, on_delete)})
    await story.pull("b")
    await story.ready(revision=second)
    told = await stale(story, "container[vllm].model of StatefulSet chat")
    assert told.endswith(f"pods run hf://org/m@{'a' * 40}, Git asks for hf://org/m@{'b' * 40}")
    assert condition(await story.ready(), "Ready") == "True"  # told, and nothing else
    assert "pods run hf://org/m@aaaa" in await story.event("chat", "ModelStaleServing")
    assert await gauge(weir, story) == "1.0"
    (shown,) = (await weir.get(f"/api/v1/kustomizations?namespace={story.namespace}"))["items"]
    assert [(one["object"], one["pods"]) for one in shown["stale"]] == [
        (f"StatefulSet/{story.namespace}/chat", ["chat-0"])
    ]
    await story.admin.delete(*POD, story.namespace, "chat-0")
    await current(story)
    assert "pods run what Git asks for again" in await story.event("app", "ServingCurrent")
    assert await gauge(weir, story) == "0.0"


async def test_pods_of_a_tag_that_moved_are_stale_until_they_have_pulled_it(
    story: Story, server: Registry, programs: None, node: ProcessNode
) -> None:
    first = push(server, "v1", 1000)
    IMAGES["registry.example/org/m:v1"] = Image(entrypoint=SLEEP, digest=first)
    asked = {"interval": "1s", "registries": [{"scheme": "oci", "endpoint": server.url}]}
    await policy(story, serving={"interval": "1s", "after": "0s"}, resolution=asked)
    story.git.commit({"chat.yaml": deployment("registry.example/org/m:v1", "a" * 40)})
    await story.source()
    await story.kustomization()
    await story.ready()
    await running(story)
    await looked_at(server)
    second = push(server, "v1", 2000)
    told = await stale(story, "container[vllm].image of StatefulSet chat")
    assert f"({first[:19]}), Git asks for oci://registry.example/org/m:v1 ({second[:19]})" in told
    IMAGES["registry.example/org/m:v1"] = Image(entrypoint=SLEEP, digest=second)
    await story.admin.delete(*POD, story.namespace, "chat-0")
    await current(story)
