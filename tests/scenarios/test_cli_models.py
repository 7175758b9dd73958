"""`weir models` and `weir changes` tell what a commit brought into the cluster."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest
import yaml

from testbed.controlplane import ControlPlane
from tests.scenarios.conftest import RunningAgent, Story


def server(model: str) -> str:
    labels = {"app": "chat"}
    container = {"name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", model]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    return yaml.safe_dump(deployment)


@pytest.fixture
def command(control_plane: ControlPlane, weir: RunningAgent, story: Story):
    """Runs the command in the story's namespace; exit status, standard output, standard error."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agent.cli", *arguments, "-n", story.namespace, "--server", weir.api),
            env={**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    return run


async def test_a_commit_that_changes_the_model_is_seen_with_the_commit(story: Story, command: Any) -> None:
    story.git.commit({"chat.yaml": server("org/model-a")})
    await story.source()
    await story.kustomization()
    await story.ready()
    status, out, err = await command("models", "-o", "json")
    assert (status, err) == (0, "")
    (model,) = json.loads(out)
    assert (model["object"], model["reference"], model["pinned"]) == (
        "Deployment/chat",
        "hf://org/model-a@main",
        False,
    )
    assert model["kustomization"] == f"{story.namespace}/app"
    assert model["verified"] is None
    assert model["weight"] == 100

    second = story.git.commit({"chat.yaml": server("org/model-b")})
    await story.pull("1")
    await story.ready(revision=second)
    (model,) = json.loads((await command("models", "-o", "json"))[1])
    assert model["reference"] == "hf://org/model-b@main"
    assert model["commit"] == f"main@sha1:{second}"
    assert model["since"]
    _, out, _ = await command("models")
    assert f"main@{second[:10]}" in out

    (change,) = json.loads((await command("changes", "--limit", "1", "--kind", "model", "-o", "json"))[1])
    assert change["revision"] == f"main@sha1:{second}"
    assert change["record"]["op"] == "changed"
    _, out, _ = await command("changes", "chat")
    head, line = out.splitlines()[:2]
    assert head.split()[:3] == ["AGO", "OBJECT", "KIND"]
    assert "hf://org/model-a@main -> hf://org/model-b@main" in line


async def test_where_nothing_is_nothing_is_claimed(command: Any) -> None:
    assert (await command("models")) == (0, "no object of a Kustomization serves a model there\n", "")
    assert (await command("changes")) == (0, "the agent has no record of such a change\n", "")
    status, out, err = await command("changes", "--limit", "none")
    assert (status, out) == (2, "")
    assert "'none' is not a number above 0" in err
