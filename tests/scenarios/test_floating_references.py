"""Registries under a policy: what a tag means is looked up, kept an eye on, and never in the way."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from testbed.processes import until
from tests.registries.registry_servers import Registry, registry
from tests.scenarios.conftest import KS, PATIENCE, RunningAgent, Story, conditions, message
from tests.scenarios.test_change_policy import approve, policy

PINNED = f"registry.example/vllm@sha256:{'c' * 64}"


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    """An image registry on loopback."""
    async with registry() as served:
        yield served


def push(server: Registry, tag: str, size: int) -> str:
    """What a push of a model of that size does; returns the digest."""
    body = json.dumps({"schemaVersion": 2, "layers": [{"size": size}]}).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    for name in (tag, digest):
        server.put(
            f"/v2/org/m/manifests/{name}", lambda: web.Response(body=body, headers={"Docker-Content-Digest": digest})
        )
    return digest


def server_of(model: str, note: str = "") -> str:
    """An InferenceService would do; a Deployment with an image volume needs no definition."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: chat, annotations: {{note: "{note}"}}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec:
      containers:
      - {{name: vllm, image: "{PINNED}"}}
      volumes:
      - {{name: model, image: {{reference: "{model}"}}}}
"""


async def asks(
    story: Story, server: Registry, interval: str = "1s", rules: Sequence[dict[str, Any]] = (), **more: Any
) -> None:
    """A policy that names the registry."""
    listed = {"scheme": "oci", "endpoint": server.url, **more}
    await policy(story, resolution={"interval": interval, "registries": [listed]}, rules=list(rules))


async def looked_at(server: Registry) -> None:
    """Wait until the tag was asked for again after the apply."""

    async def again() -> bool:
        return server.paths().count("/v2/org/m/manifests/v1") >= 3

    await until(again, timeout=PATIENCE, what="the tag is looked at again")


async def records(weir: RunningAgent, story: Story, op: str) -> list[dict[str, Any]]:
    """Change records about the Deployment, newest first."""
    found = await weir.get(f"/api/v1/changes?namespace={story.namespace}&name=chat")
    return [item["record"] for item in found["items"] if item["record"]["op"] == op]


async def test_a_tag_that_moves_is_a_change_although_nobody_committed_one(
    story: Story, weir: RunningAgent, server: Registry
) -> None:
    first = push(server, "v1", 1000)
    await asks(story, server)
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    added = [r for r in await records(weir, story, "added") if r["slot"] == "volume[model]"]
    assert added[0]["new"]["digest"]["value"] == first.removeprefix("sha256:")
    assert added[0]["new"]["size"]["bytes"] == 1000
    before = await story.admin.get("apps/v1", "Deployment", story.namespace, "chat")

    await looked_at(server)
    second = push(server, "v1", 2000)
    line = await story.event("app", "ModelFloated")
    assert first[7:19] in line
    assert second[7:19] in line
    assert await story.event("chat", "ModelFloated")
    (record,) = await records(weir, story, "floated")
    assert (record["cause"], record["action"]) == ("float", "alert")
    assert record["commit"]["old"] == record["commit"]["new"]
    assert (record["old"]["digest"]["value"], record["new"]["digest"]["value"]) == (first[7:], second[7:])
    # told, and nothing else: the object is as it was
    after = await story.admin.get("apps/v1", "Deployment", story.namespace, "chat")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


NOTE = "weir.dev/model-digest.volume-model"


async def rolled_out(story: Story, digest: str) -> dict[str, Any]:
    """Wait until the pods of the Deployment are made for that content."""

    def made(found: dict[str, Any] | None) -> bool:
        template = (found or {}).get("spec", {}).get("template", {})
        return template.get("metadata", {}).get("annotations", {}).get(NOTE) == digest

    return await story.until(("apps/v1", "Deployment"), "chat", made)


async def test_content_that_moved_is_rolled_out_where_a_policy_says_so(story: Story, server: Registry) -> None:
    push(server, "v1", 1000)
    await asks(story, server, rules=[{"action": "rollout", "operations": ["floated"]}])
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await looked_at(server)
    second = push(server, "v1", 2000)
    await rolled_out(story, second)
    assert "pods of Deployment chat are started anew" in await story.event("app", "ContentRollout")
    # what Git applies next leaves it alone
    later = story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1", note="later")})
    await story.pull("later")
    await story.ready(revision=later)
    found = await rolled_out(story, second)
    assert found["metadata"]["annotations"]["note"] == "later"


async def test_content_that_moved_waits_for_a_person_where_a_policy_says_so(story: Story, server: Registry) -> None:
    first = push(server, "v1", 1000)
    await asks(story, server, rules=[{"action": "hold", "operations": ["floated"]}])
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await looked_at(server)
    second = push(server, "v1", 2000)
    found = await story.failed(text=f"{first[7:19]}) -> oci://registry.example/org/m:v1 ({second[:19]}) (floated)")
    assert conditions(found)["Ready"][1] == "HeldByPolicy"
    assert f"annotate the Kustomization with weir.dev/approve: {second[7:]}" in message(found)
    # nothing new is applied meanwhile, as long as Git names the tag
    held = story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1", note="held")})
    await story.pull("held")
    await story.until(KS, "app", lambda found: held in (found or {})["status"]["lastAttemptedRevision"])
    await approve(story, f"{second[7:20]} jane: evaluated")
    await rolled_out(story, second)
    await story.ready(revision=held)
    assert f"({second[7:20]} jane: evaluated)" in await story.event("app", "ChangeApproved")


async def test_a_tag_that_becomes_the_digest_it_means_is_respelled(
    story: Story, weir: RunningAgent, server: Registry
) -> None:
    digest = push(server, "v1", 1000)
    await asks(story, server)
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()

    await looked_at(server)
    pinned = story.git.commit({"chat.yaml": server_of(f"registry.example/org/m@{digest}")})
    await story.pull("pinned")
    await story.ready(revision=pinned)
    assert [record["slot"] for record in await records(weir, story, "respelled")] == ["volume[model]"]
    assert await records(weir, story, "changed") == []


async def test_a_registry_that_is_down_is_in_nobodys_way(story: Story, weir: RunningAgent, server: Registry) -> None:
    server.status("/v2/org/m/manifests/v1", 503)
    await asks(story, server, interval="10m")
    floating = story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready(revision=floating)
    (model,) = [r for r in await records(weir, story, "added") if r["slot"] == "volume[model]"]
    assert model["new"]["identity"]["unresolved"] == "unreachable"
    pinned = story.git.commit({"chat.yaml": server_of(f"registry.example/org/m@sha256:{'e' * 64}")})
    await story.pull("pinned")
    await story.ready(revision=pinned)
    assert [record["slot"] for record in await records(weir, story, "changed")] == ["volume[model]"]


async def test_credentials_come_from_the_secret_of_the_policy_and_show_nowhere(
    story: Story, weir: RunningAgent, server: Registry
) -> None:
    push(server, "v1", 1000)
    login = {"username": "me", "password": "hunter2-very-secret"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in login.items()}
    metadata = {"name": "registry", "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    asked: list[str] = []

    async def manifest(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization", ""))
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    server.ask("/v2/org/m/manifests/v1", manifest)
    await asks(story, server, interval="10m", secretRef={"name": "registry"})
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    expected = base64.b64encode(b"me:hunter2-very-secret").decode()
    assert f"Basic {expected}" in asked
    (model,) = [r for r in await records(weir, story, "added") if r["slot"] == "volume[model]"]
    assert model["new"]["identity"]["unresolved"] == "auth"
    told = weir.log.read_text() + json.dumps(await weir.get("/api/v1/changes")) + str(await story.events("app"))
    assert "hunter2" not in told
    assert expected not in told


async def test_without_a_policy_nobody_is_asked(story: Story, weir: RunningAgent, server: Registry) -> None:
    push(server, "v1", 1000)
    host = server.url.removeprefix("http://")
    story.git.commit({"chat.yaml": server_of(f"{host}/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    (model,) = [r for r in await records(weir, story, "added") if r["slot"] == "volume[model]"]
    assert model["new"]["identity"]["unresolved"] == "offline"
    assert server.asked == []
