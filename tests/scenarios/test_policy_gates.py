"""A model that a commit brings is evaluated by a Job before it is applied, and stays out if the report is bad."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.node import ProcessNode
from tests.scenarios.conftest import Story
from tests.scenarios.job_node import job_node
from tests.scenarios.test_change_policy import A, B, approve, policy, served, server


@pytest.fixture
async def node(
    control_plane: ControlPlane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessNode]:
    """Runs the Pods of Jobs as processes."""
    async with job_node(control_plane, admin, tmp_path_factory.mktemp("node"), "gates") as running:
        yield running


async def evaluates(story: Story) -> None:
    """A DataTrigger whose Job passes models at revision B, and no others, and a policy that waits for it."""
    report = {"metrics": {"accuracy": 0.91}, "verdict": "VERDICT", "reason": "1,200 questions"}
    script = (
        f"case $WEIR_DATA_URI in *{B}) verdict=pass;; *) verdict=fail;; esac; "
        f"printf '%s' '{json.dumps(report)}' | sed s/VERDICT/$verdict/ > /dev/termination-log"
    )
    container = {"name": "evaluate", "image": "shell:1", "args": [script]}
    pod = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    await story.admin.apply(
        {
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "DataTrigger",
            "metadata": {"name": "evaluate", "namespace": story.namespace},
            "spec": {"settleFor": "0s", "selector": {"kinds": ["model"]}, "template": template},
        }
    )
    gate: dict[str, Any] = {"action": "gate", "kinds": ["model"], "operations": ["changed"]}
    await policy(story, rules=[{**gate, "trigger": {"name": "evaluate"}}])
    await story.until(
        ("weir.dev/v1alpha1", "DataTrigger"),
        "evaluate",
        lambda found: bool((found or {}).get("status", {}).get("slots")),
    )


async def test_a_model_is_applied_once_its_evaluation_has_passed(story: Story, node: ProcessNode) -> None:
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready()
    await evaluates(story)
    better = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b")
    await story.ready(revision=better)
    assert await served(story) == B
    held = await story.event("app", "rules: DataTrigger evaluate has no run for it yet")
    assert held.startswith("HeldByPolicy")

    worse = story.git.commit({"chat.yaml": server("c" * 40)})
    await story.pull("c")
    await story.failed(text="of DataTrigger evaluate has failed: the report says fail; 1,200 questions")
    assert await served(story) == B
    await approve(story, f"{worse[:10]} jane: good enough")
    await story.ready(revision=worse)
    assert await served(story) == "c" * 40
