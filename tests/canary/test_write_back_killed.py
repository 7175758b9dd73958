"""An agent that is killed while its commit is on the way: the push is done, and nobody has been told."""

from pathlib import Path

import pytest
from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import REPOSITORY, Judge
from write_back_story import ALLOWED, BAD, GOOD, Story

from testbed.controlplane import ControlPlane
from testbed.git import Fault, GitHTTPServer
from tests.fault.fault_agent import AgentProcess

FLAGS = ("--controllers=source,kustomize,canary", "--mesh-provider=kubernetes", "--minimum-analysis-interval=300ms")


@pytest.mark.parametrize("pulls", [False, True], ids=["git-is-ahead", "git-is-followed"])
async def test_a_push_without_an_answer_is_found_and_not_repeated(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path, pulls: bool
) -> None:
    judge[0].refuses = True
    weir = AgentProcess(control_plane.kubeconfig, rollouts.namespace, tmp_path, *FLAGS)
    async with GitHTTPServer(tmp_path / "git") as server:
        story = Story(rollouts, server.repository(rollouts.namespace), judge[1])
        await story.secret(username="weir", password="may-write")
        try:
            await weir.start()
            await story.begin(server.url(rollouts.namespace), **ALLOWED)
            server.fault = Fault.SILENT_PUSH
            bad = await story.push(BAD)
            await eventually(lambda: server.hanging == 1)
            pushed = story.git.head()
            assert pushed != bad
            assert "weir.dev/write-back-status" not in await story.annotations()
            await weir.kill()
            server.fault = None
            if not pulls:
                await rollouts.admin.patch(*REPOSITORY, rollouts.namespace, "app", {"spec": {"suspend": True}})
            await weir.start()
            if not pulls:
                assert (await story.result("committed"))["commit"] == pushed
                await rollouts.admin.patch(*REPOSITORY, rollouts.namespace, "app", {"spec": {"suspend": False}})
            await rollouts.phase("Succeeded")
            assert story.git.head() == pushed, "one commit, whoever came back to it"
            assert story.git.read("target.yaml").decode() == story.target(GOOD)
            assert await story.starts() == 1
            assert weir.crashed() == ""
        finally:
            await weir.kill()
