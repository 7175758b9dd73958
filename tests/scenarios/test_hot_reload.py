"""Adapters of a server that runs: loaded where a policy says so, and pods replaced where that does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from agent.adapters.loraservers import LoraError, LoraServers
from testbed.lora import LoraServer, lora_server
from testbed.processes import until
from tests.scenarios.conftest import PATIENCE, Story
from tests.scenarios.test_change_policy import policy

APPS = ("apps/v1", "Deployment")


@pytest.fixture
async def vllm() -> AsyncIterator[LoraServer]:
    """What runs in the pod."""
    async with lora_server(sql="org/sql-1") as served:
        yield served


def deployment(vllm: LoraServer, *adapters: str, seed: int = 0) -> str:
    """Its one pod is ready as soon as a test says so: the control plane has no node for it."""
    args = ["--model", "org/m", "--seed", str(seed), "--port", str(vllm.port), "--enable-lora", "--lora-modules"]
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: chat}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec:
      nodeSelector: {{no-such: node}}
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        args: {[*args, *adapters]}
        env: [{{name: VLLM_ALLOW_RUNTIME_LORA_UPDATING, value: "True"}}]
"""


async def started(story: Story, but: str = "") -> str:
    """Play the kubelet: the Deployment's pod runs and is ready, at the server's address; its name."""
    found: list[str] = []

    async def there() -> bool:
        pods = await story.admin.list("v1", "Pod", story.namespace, "app=chat")
        found[:] = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"] != but]
        return bool(found)

    await until(there, timeout=PATIENCE, what="the Deployment's pod")
    ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "PodScheduled")]
    container = {"name": "vllm", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": ready, "containerStatuses": [container]}
    await story.admin.patch("v1", "Pod", story.namespace, found[0], {"status": status}, subresource="status")
    return found[0]


async def begin(story: Story, vllm: LoraServer) -> str:
    await policy(story, rules=[{"action": "hot-reload", "kinds": ["adapter"]}])
    story.git.commit({"chat.yaml": deployment(vllm, "sql=org/sql-1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    return await started(story)


async def push(story: Story, text: str) -> None:
    commit = story.git.commit({"chat.yaml": text})
    await story.pull(commit)
    await story.ready(revision=commit)


async def templates(story: Story) -> int:
    """How many pod templates the Deployment has had."""
    return len(await story.admin.list("apps/v1", "ReplicaSet", story.namespace))


async def args(story: Story) -> list[str]:
    found: dict[str, Any] = await story.admin.get(*APPS, story.namespace, "chat")
    return list(found["spec"]["template"]["spec"]["containers"][0]["args"])


async def test_adapters_are_loaded_into_pods_that_go_on_running(story: Story, vllm: LoraServer) -> None:
    await begin(story, vllm)
    await push(story, deployment(vllm, "sql=org/sql-2", "chat=org/chat"))
    assert vllm.adapters == {"sql": "org/sql-2", "chat": "org/chat"}
    assert vllm.calls == ["unload sql", "load sql=org/sql-2", "load chat=org/chat"]
    assert (await args(story))[-1] == "sql=org/sql-1", "the pod template was left alone"
    assert await templates(story) == 1
    assert "chat, sql in 1 pods of Deployment chat" in await story.event("app", "AdaptersLoaded")

    # another commit leaves it so, and one that takes an adapter away unloads it
    story.git.commit({"other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"})
    await push(story, deployment(vllm, "sql=org/sql-2"))
    assert vllm.adapters == {"sql": "org/sql-2"}
    assert (await args(story))[-1] == "sql=org/sql-1"

    # what else changes takes effect as usual, with the adapters in it
    await push(story, deployment(vllm, "sql=org/sql-2", seed=1))
    assert (await args(story))[-1] == "sql=org/sql-2"
    await until(lambda: _has(templates(story), 2), timeout=PATIENCE, what="pods with the new words")


async def _has(answer: Awaitable[int], wanted: int) -> bool:
    return await answer == wanted


async def test_where_the_server_does_not_load_pods_are_replaced(story: Story, vllm: LoraServer) -> None:
    await begin(story, vllm)
    vllm.allows = False
    await push(story, deployment(vllm, "sql=org/sql-1", "chat=org/chat"))
    assert (await args(story))[-1] == "chat=org/chat"
    line = await story.event("app", "HotReloadFailed")
    assert "the server does not let adapters be loaded while it runs" in line


async def test_a_pod_that_comes_is_brought_to_what_git_asks_for(story: Story, vllm: LoraServer) -> None:
    first = await begin(story, vllm)
    await push(story, deployment(vllm, "sql=org/sql-2"))
    vllm.adapters = {"sql": "org/sql-1"}  # as a new pod is started, with the words of the old template
    await story.admin.delete("v1", "Pod", story.namespace, first)
    await started(story, but=first)

    async def loaded() -> bool:
        return vllm.adapters == {"sql": "org/sql-2"}

    await until(loaded, timeout=PATIENCE, what="the adapter in the new pod")


async def test_what_servers_answer_is_told_without_more(vllm: LoraServer) -> None:
    url = f"http://127.0.0.1:{vllm.port}"
    async with LoraServers() as servers:
        assert await servers.bring(url, "/v1", {"sql": "org/sql-1"}, ["never"]) == []
        assert vllm.calls == []
        with pytest.raises(LoraError, match=r"adapter x: .*No adapter found for org/missing"):
            await servers.bring(url, "/v1", {"x": "org/missing"}, ())
        vllm.key = "secret"
        with pytest.raises(LoraError, match="asks for an API key"):
            await servers.bring(url, "/v1", {"x": "org/x"}, ())
        with pytest.raises(LoraError, match="cannot be reached"):
            await servers.bring("http://127.0.0.1:1", "/v1", {"x": "org/x"}, ())
