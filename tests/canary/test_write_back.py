"""What a rollback leaves in Git: a commit that puts back the rejected reference, and nothing else."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import REPOSITORY, Judge, whole_agent
from cli_agent import Person
from write_back_story import ALLOWED, BAD, CANARY, GOOD, Story

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitHTTPServer]:
    async with GitHTTPServer(tmp_path / "git") as running:
        yield running


@pytest.fixture
def story(rollouts: Rollouts, server: GitHTTPServer, judge: tuple[Judge, str]) -> Story:
    judge[0].refuses = True
    return Story(rollouts, server.repository(rollouts.namespace), judge[1])


@asynccontextmanager
async def agent(control_plane: ControlPlane, story: Story, tmp_path: Path, **settings: Any) -> AsyncIterator[str]:
    async with whole_agent(control_plane, story.rollouts.namespace, tmp_path / "weir", **settings) as api:
        yield api


async def test_a_bad_model_is_put_back_in_git(
    control_plane: ControlPlane, story: Story, server: GitHTTPServer, tmp_path: Path
) -> None:
    await story.secret(username="weir", password="may-write")
    async with agent(control_plane, story, tmp_path) as api:
        await story.begin(
            server.url(story.rollouts.namespace),
            **ALLOWED,
            write_back_committer="Robot <robot@example.org>",
        )
        first = story.git.head()
        async with story.rollouts.phases() as phases:
            bad = await story.push(BAD)
            result = await story.result("committed")
            await eventually(lambda: phases[-1] == "Succeeded")
        operator = Person(control_plane.kubeconfig, story.rollouts.namespace)
        of_chat = f"{story.rollouts.namespace}/chat"
        answered = await operator.weir("rollout", "ledger", of_chat, "--server", api, "-o", "json")
        assert [(one["role"], one["outcome"], one["models"][0]) for one in answered.json] == [
            ("canary", "rejected", by_commit(BAD, bad)),
            ("primary", "", by_commit(GOOD, first)),
        ]
        assert phases[-2:] == ["Failed", "Succeeded"]
        head = story.git.head()
        assert result["commit"] == head
        assert story.git.read("target.yaml").decode() == story.target(GOOD)
        commit = story.commit(head)
        assert [str(parent) for parent in commit.parent_ids] == [bad]
        assert (commit.committer.name, commit.committer.email) == ("Robot", "robot@example.org")
        trailers = dict(line.split(": ", 1) for line in commit.message.splitlines() if line.startswith("Weir-"))
        assert trailers == {
            "Weir-Canary": f"{story.rollouts.namespace}/chat",
            "Weir-Revision": trailers["Weir-Revision"],
            "Weir-Slot": "container[server].model",
            "Weir-Rejected": BAD,
            "Weir-Restored": GOOD,
            "Weir-Verdict": f"Rolling back chat.{story.rollouts.namespace} failed checks threshold reached 1",
            "Weir-Rejected-Commit": bad,
        }
        basic = "Basic " + base64.b64encode(b"weir:may-write").decode()
        assert server.authorizations == {"", basic}, "fetched without and pushed with the Secret of the write-back"

    assert await story.starts() == 1, "what was put back is what was promoted: no run"
    quarantine = json.loads((await story.annotations())["weir.dev/quarantine"])
    assert [(entry["rejected"], entry["restore"]) for entry in quarantine] == [(BAD, GOOD)]
    texts = await story.rollouts.events()
    assert any(text.endswith(f"commit {head} on main") for text in texts)
    ledger = json.loads((await story.annotations())["weir.dev/ledger"])
    assert [(one["role"], one["models"][0]["spelling"], one.get("outcome")) for one in ledger] == [
        ("primary", GOOD, None),
        ("canary", BAD, "rejected"),
    ]


async def test_a_note_that_was_lost_is_written_again_without_a_second_commit(
    control_plane: ControlPlane, story: Story, server: GitHTTPServer, tmp_path: Path
) -> None:
    """As after a process that died between the push and the note. Nobody pulls meanwhile, so Git is ahead."""
    async with agent(control_plane, story, tmp_path):
        await story.begin(server.url(story.rollouts.namespace))
        await story.push(BAD)
        await story.rollouts.phase("Failed")
        await story.rollouts.admin.patch(*REPOSITORY, story.rollouts.namespace, "app", {"spec": {"suspend": True}})
        await story.annotate(CANARY, "chat", write_back="commit", write_back_secret="writer")
        assert "set weir.dev/write-back-branch" in (await story.result("refused"))["text"]
        await story.annotate(CANARY, "chat", **ALLOWED)
        missing = f"secret {story.rollouts.namespace}/writer of the write-back is not there"
        assert (await story.result("failed"))["text"] == missing
        await story.secret(username="weir", password="may-write")
        first = await story.result("committed")
        assert first["commit"] == story.git.head()
        await story.annotate(CANARY, "chat", write_back_status=None)
        again = await story.result("committed")
        assert (again["commit"], story.git.head()) == (first["commit"], first["commit"])


async def test_a_guarded_canary_holds_what_was_rejected_until_a_person_lets_it_in(
    control_plane: ControlPlane, story: Story, server: GitHTTPServer, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    url = server.url(story.rollouts.namespace)
    async with agent(control_plane, story, tmp_path):
        story.judge = "guarded"
        await story.begin(url)
        await story.push(BAD)
        await story.rollouts.phase("Failed")
        await story.push(BAD, note="unrelated")
        held = await story.rollouts.until(lambda status: "Quarantined" in str(status.get("conditions")))
        assert BAD in str(held["conditions"])
    judge[0].refuses = False
    async with agent(control_plane, story, tmp_path):
        await story.push(BAD, note="another")
        await story.rollouts.admin.wait_for(
            "apps/v1", "Deployment", story.rollouts.namespace, "chat", lambda found: "another" in str(found)
        )
        assert (await story.rollouts.status())["phase"] == "Failed"
        assert await story.starts() == 1
        await story.annotate(CANARY, "chat", quarantine=None)
        await eventually(lambda: _has(story.starts(), 2))


def by_commit(model: str, commit: str) -> dict[str, str]:
    """A model of the ledger, as the command prints it."""
    return {"slot": "container[server].model", "kind": "model", "spelling": model, "commit": f"main@sha1:{commit}"}


async def _has(answer: Awaitable[int], wanted: int) -> bool:
    return await answer == wanted
