"""A rollback that is put back by a pull request, from the push of a worse model to what people do with the request."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import Judge, whole_agent
from loopback import listening
from played_forge import Kind, PlayedForge
from write_back_story import BAD, CANARY, GOOD, Story

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from tests.fault.fault_agent import AgentProcess

TOKEN = "t0ken-of-the-robot"
WORSE = "hf://acme/chat@" + "3" * 40
FLAGS = ("--controllers=source,kustomize,canary", "--mesh-provider=kubernetes", "--minimum-analysis-interval=300ms")


@asynccontextmanager
async def played(
    kind: Kind, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path
) -> AsyncIterator[tuple[Story, PlayedForge, GitHTTPServer]]:
    """A guarded Canary whose hook refuses everything, its repository, and the API beside it."""
    judge[0].refuses = True
    path = f"acme/{rollouts.namespace}"
    async with GitHTTPServer(tmp_path / "git") as server:
        story = Story(rollouts, server.repository(path), judge[1])
        story.judge = "guarded"
        forge = PlayedForge(kind, path, story.git, TOKEN)
        async with listening(forge.answer) as forge.url:
            await story.secret(username="weir", password="over-git", token=TOKEN)
            try:
                yield story, forge, server
            finally:
                forge.released.set()
        assert forge.refused == []


async def begin(story: Story, forge: PlayedForge, server: GitHTTPServer) -> None:
    await story.begin(
        server.url(forge.path),
        write_back="pull-request",
        write_back_secret="writer",
        write_back_provider=forge.kind,
        write_back_api=forge.url,
    )


@pytest.mark.parametrize("kind", ["github", "gitlab"])
async def test_a_pull_request_is_opened_held_closed_and_merged(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path, kind: Kind
) -> None:
    async with (
        played(kind, rollouts, judge, tmp_path) as (story, forge, server),
        whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"),
    ):
        await begin(story, forge, server)
        bad = await story.push(BAD)
        first = await story.result("proposed")
        (pull,) = forge.pulls
        assert (first["url"], first["branch"], first["proposal"]) == (forge.page(1), pull.head, "open")
        assert story.git.head() == bad, "nobody pushes to the branch that is followed"
        assert story.git.read("target.yaml", branch=pull.head).decode() == story.target(GOOD)
        assert f"Weir-Restored: {GOOD}" in pull.text.splitlines()
        assert server.authorizations == {"", "Basic " + base64.b64encode(b"weir:over-git").decode()}

        await story.push(BAD, note="unrelated")
        assert BAD in await rollouts.blocked("Quarantined")
        forge.close()
        await story.look()
        closed = await story.proposal("closed")
        assert closed["url"] == first["url"]
        await eventually(lambda: rollouts.told(closed["text"]))
        await story.annotate(CANARY, "chat", write_back_status=None)
        assert (await story.proposal("closed"))["text"] == closed["text"]
        assert len(forge.pulls) == 1, "what a person has closed is not opened again"

        await story.push(WORSE)
        second = await story.proposal("open")
        assert (second["url"], forge.pulls[-1].head == pull.head) == (forge.page(2), False)
        async with rollouts.phases() as phases:
            merged = forge.merge()
            await story.look()
            await eventually(lambda: phases[-1] == "Succeeded")
        assert phases == ["Failed", "Succeeded"]
        assert story.git.head() == merged
        assert story.git.read("target.yaml").decode() == story.target(GOOD)
        assert len(forge.pulls) == 2
    assert await story.starts() == 2, "what was put back is what was promoted: no run"


async def test_an_agent_that_is_killed_between_push_and_pull_request_opens_it_once(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    weir = AgentProcess(control_plane.kubeconfig, rollouts.namespace, tmp_path, *FLAGS)
    async with played("github", rollouts, judge, tmp_path) as (story, forge, server):
        try:
            await weir.start()
            await begin(story, forge, server)
            forge.silence = "unheard"
            await story.push(BAD)
            await eventually(lambda: forge.hanging == 1)
            assert forge.pulls == []
            await weir.kill()
            forge.silence = "unanswered"
            await weir.start()
            await eventually(lambda: forge.hanging == 2)
            await weir.kill()
            forge.silence = ""
            await weir.start()
            assert (await story.result("proposed"))["url"] == forge.page(1)
            (pull,) = forge.pulls
            assert sorted(story.git.refs) == ["refs/heads/main", f"refs/heads/{pull.head}"]
            assert weir.crashed() == ""
        finally:
            await weir.kill()
