"""An InferenceService in Knative mode: percentage and reference go into one write, and the good revision stays loaded.

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
from testbed.kserve import StatusWriter
from testbed.kube import Admin, Object


@pytest.fixture
async def played(
    admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path
) -> AsyncIterator[tuple[KServeStory, StatusWriter]]:
    async with kserve_story(admin, namespace, judge[1], tmp_path, mode="Knative") as found:
        yield found


@pytest.fixture
def rollouts(admin: Admin, namespace: str, tmp_path: Path) -> Rollouts:
    """Questions about the Canary; nothing of it runs as pods here."""
    return Rollouts(admin, namespace, tmp_path)


def share(service: Object) -> Any:
    """The version in the predictor and its percentage."""
    return version_in(service), service["spec"]["predictor"].get("canaryTrafficPercent")


async def test_percentage_and_reference_come_together(
    control_plane: ControlPlane, rollouts: Rollouts, played: tuple[KServeStory, StatusWriter], tmp_path: Path
) -> None:
    story, kserve = played
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(share) as seen:
            await story.push("2")
            await rollouts.phase("Succeeded")
            await eventually(lambda: seen[-1] == ("2", None))
    assert seen == [("1", None), ("2", 0), ("2", 30), ("2", 60), ("2", None)]
    assert len(kserve.contents("chat")) == 2, "no write made a revision more than needed"


async def test_a_rejected_revision_keeps_no_traffic_and_a_revert_brings_the_old_one_back_without_a_gap(
    control_plane: ControlPlane,
    rollouts: Rollouts,
    played: tuple[KServeStory, StatusWriter],
    judge: tuple[Judge, str],
    tmp_path: Path,
) -> None:
    story, _ = played
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        judge[0].refuses = True
        await story.push("2")
        rejected = await rollouts.phase("Failed")
        assert share(await story.live()) == ("2", 0)
        await story.again()
        await story.push("2", note="unrelated")
        assert share(await story.live()) == ("2", 0)
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await story.again()
        assert share(await story.live()) == ("2", 0)
        assert await rollouts.status() == rejected
        async with story.watched(share) as seen:
            await story.push("1")
            await rollouts.phase("Succeeded")
            await eventually(lambda: seen[-1] == ("1", None))
        assert seen == [("2", 0), ("1", 0), ("1", None)], "the rejected one never gets traffic on the way back"
        judge[0].refuses = False
        await story.push("3")
        await eventually(lambda: story.serves(("3", None), share))
        await rollouts.phase("Succeeded")


async def test_a_failed_load_ends_the_run_and_is_not_held_against_the_next_revision(
    control_plane: ControlPlane, rollouts: Rollouts, played: tuple[KServeStory, StatusWriter], tmp_path: Path
) -> None:
    story, _ = played
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(share) as seen:
            await story.push("broken")
            await rollouts.phase("Failed")
            await story.push("2")
            await rollouts.phase("Succeeded")
            await eventually(lambda: seen[-1] == ("2", None))
    assert seen == [("1", None), ("broken", 0), ("2", 0), ("2", 30), ("2", 60), ("2", None)]
