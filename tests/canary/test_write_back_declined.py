"""A Git server whose rules decline what Weir pushes."""

from pathlib import Path

from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import Judge, whole_agent
from write_back_story import ALLOWED, BAD, CANARY, GOOD, Story

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer


async def test_a_declined_push_is_told_and_made_again_when_a_person_says_so(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    judge[0].refuses = True
    async with GitHTTPServer(tmp_path / "git") as server:
        story = Story(rollouts, server.repository(rollouts.namespace), judge[1])
        hook = story.git.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho 'main belongs to the release managers' >&2\nexit 1\n")
        hook.chmod(0o755)
        await story.secret(username="weir", password="may-write")
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await story.begin(server.url(rollouts.namespace), **ALLOWED)
            bad = await story.push(BAD)
            await rollouts.phase("Failed")
            result = await story.result("declined")
            assert result["state"] == "declined"
            assert "remote: main belongs to the release managers" in result["text"]
            assert story.git.head() == bad
            await eventually(lambda: rollouts.told("the server's rules decline a push to main:"))
            hook.unlink()
            await story.annotate(CANARY, "chat", write_back_status=None)
            result = await story.result("committed")
            assert result["state"] == "committed"
            assert story.git.read("target.yaml").decode() == story.target(GOOD)
