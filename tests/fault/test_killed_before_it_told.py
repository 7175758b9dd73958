"""A change that was recorded by an agent that is killed is told by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from aiohttp import web
from fault_agent import AgentProcess
from fault_world import World

from agent.adapters.journal import Journal
from agent.controllers.changelog import ChangeLog
from agent.server.listeners import serving
from agent.settings import Address
from testbed.ports import free_port

REVISION = "a" * 40


class Notified:
    """A notification-controller that answers nobody who tells of references until `answers` is set."""

    def __init__(self) -> None:
        self.url = ""
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """One event."""
        event = await request.json()
        if event["reason"] == "ReferencesAdded":
            self.told.put_nowait(event)
            await self.answers.wait()
        return web.Response()

    async def next(self) -> dict[str, Any]:
        """The next event about them."""
        async with asyncio.timeout(60):
            return await self.told.get()


@pytest.fixture
async def notified() -> AsyncIterator[Notified]:
    taking = Notified()
    port = free_port()
    taking.url = f"http://127.0.0.1:{port}/"
    async with serving(Address(host="127.0.0.1", port=port), [web.post("/", taking.take)]):
        yield taking
        taking.answers.set()


def served(namespace: str) -> str:
    container = {"name": "server", "image": "vllm/vllm-openai", "args": ["--model=org/m", f"--revision={REVISION}"]}
    template = {"metadata": {"labels": {"app": "chat"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "chat"}}, "template": template}
    metadata = {"name": "chat", "namespace": namespace}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


async def test_killed_between_the_record_and_the_telling(agent: AgentProcess, world: World, notified: Notified) -> None:
    agent.flags = (f"--events-addr={notified.url}",)
    world.content = {"part-0": {}}
    commit = world.repository.commit({"part-0/chat.yaml": served(world.namespace)})
    await world.declare()
    await agent.start()
    before = await notified.next()
    await world.until_settled(commit, agent.process)
    await agent.kill()
    while not notified.told.empty():  # what it sent again
        notified.told.get_nowait()
    notified.answers.set()
    await agent.start()
    again = await notified.next()
    assert (again["metadata"], again["message"]) == (before["metadata"], before["message"])
    await agent.terminate(30.0)
    journal = Journal(agent.storage / "changes" / "history.jsonl", limit=1000)
    assert ChangeLog(journal=journal).left() == ()
    assert notified.told.empty()
