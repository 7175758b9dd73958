"""What a policy holds stays held over a restart, and what moved meanwhile is noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.registries.registry_servers import Registry, registry
from tests.scenarios.conftest import RunningAgent, Story
from tests.scenarios.test_change_policy import A, B, approve, policy, served
from tests.scenarios.test_change_policy import server as server_with
from tests.scenarios.test_floating_references import asks, looked_at, push, records, server_of

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    """An image registry on loopback."""
    async with registry() as found:
        yield found


async def test_a_held_change_stays_held_over_a_restart(story: Story, own_agent: OwnAgent) -> None:
    await policy(story, rules=[{"action": "hold", "kinds": ["model"], "operations": ["changed"]}])
    story.git.commit({"chat.yaml": server_with(A)})
    async with own_agent():
        await story.source()
        await story.kustomization()
        await story.ready()
        held = story.git.commit({"chat.yaml": server_with(B)})
        await story.pull("b")
        await story.failed(text=f"{held} is held")
    async with own_agent():
        # a commit beside it: the new process has to compare with what is applied, not with what it built first
        later = story.git.commit({"note.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: note}\n"})
        await story.pull("later")
        await story.failed(text=f"{later} is held: model container[vllm].model")
        assert await served(story) == A
        await approve(story, later)
        await story.ready(revision=later)
        assert await served(story) == B


async def test_a_tag_that_moved_while_no_agent_ran_is_noticed_by_another_pod(
    story: Story, own_agent: OwnAgent, server: Registry, tmp_path: Path
) -> None:
    """The second agent has an empty disk, as a Pod has that takes the place of one that is gone."""
    first = push(server, "v1", 1000)
    await asks(story, server)
    story.git.commit({"chat.yaml": server_of("registry.example/org/m:v1")})
    async with own_agent() as agent:
        await story.source()
        await story.kustomization()
        await story.ready()
        await looked_at(server)
        assert await records(agent, story, "floated") == []
    second = push(server, "v1", 2000)
    async with own_agent(storage_path=tmp_path / "another") as agent:
        assert first[7:19] in await story.event("app", "ModelFloated")
        assert "volume[model]" in {one["slot"] for one in await records(agent, story, "added")}  # seen by the first
        (record,) = await records(agent, story, "floated")
        assert record["new"]["digest"]["value"] == second[7:]
