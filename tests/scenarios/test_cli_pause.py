"""A pause that a person asked for outlives what Git says about the same Canary."""

import asyncio
import os
import sys

import yaml

from testbed.controlplane import ControlPlane
from tests.scenarios.conftest import Story

CANARY = ("flagger.app/v1beta1", "Canary")


def canary(threshold: int) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": CANARY[0],
            "kind": CANARY[1],
            "metadata": {"name": "chat"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80},
                "analysis": {"interval": "1m", "threshold": threshold, "iterations": 3},
            },
        }
    )


async def test_an_apply_of_the_canary_leaves_the_pause_alone(control_plane: ControlPlane, story: Story) -> None:
    story.git.commit({"canary.yaml": canary(1)})
    await story.source()
    await story.kustomization()
    await story.ready()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent.cli", "rollout", "pause", f"{story.namespace}/chat", "--reason", "freeze"),
        env={**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"no run will begin until it is resumed" in out

    second = story.git.commit({"canary.yaml": canary(5)})
    await story.pull("1")
    await story.ready(revision=second)
    applied = await story.until(CANARY, "chat", lambda found: found is not None)
    assert applied["spec"]["analysis"]["threshold"] == 5
    assert applied["metadata"]["annotations"]["weir.dev/paused"].endswith("reason=freeze")
    managers = {entry["manager"] for entry in applied["metadata"]["managedFields"]}
    assert "weir-cli" in managers
