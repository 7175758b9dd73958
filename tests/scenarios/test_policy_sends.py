"""Rules that send changes to a DataTrigger have it run them, although its selector fits none of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from testbed.controlplane import ControlPlane
from testbed.kube import Admin, Object
from testbed.node import Access, Image, ProcessNode
from tests.scenarios.conftest import Story, conditions
from tests.scenarios.data_triggers import TRIGGER, declare, runs, trains
from tests.scenarios.test_change_policy import POLICY, A, B, policy, served, server


@pytest.fixture
async def node(
    control_plane: ControlPlane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessNode]:
    """Runs the Pods of Jobs as processes."""
    access = Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)
    images = {"shell": Image(entrypoint=("/bin/sh", "-c"))}
    async with ProcessNode(access, workdir=tmp_path_factory.mktemp("node"), images=images, name="sends") as running:
        yield running
    await admin.delete("v1", "Node", None, running.name)


async def known(story: Story) -> None:
    """Wait until the agent knows the policy and the trigger."""

    def ready(found: Object | None) -> bool:
        return found is not None and conditions(found).get("Ready", ("",))[0] == "True"

    await story.until(POLICY, "rules", ready)
    await story.until(TRIGGER, "evaluate", ready)


def has_succeeded(found: Object | None) -> bool:
    return [run["state"] for run in runs(found or {})] == ["Succeeded"]


async def test_a_new_application_is_evaluated_and_then_applied(story: Story, node: ProcessNode) -> None:
    await declare(story, trains(), "evaluate", selector={"schemes": ["s3"]})
    await policy(story, rules=[{"action": "gate", "kinds": ["model"], "trigger": {"name": "evaluate"}}])
    await known(story)
    made = story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready(revision=made)
    assert await served(story) == A
    found = await story.until(TRIGGER, "evaluate", has_succeeded)
    assert A in runs(found)[0]["reference"]
    assert (await story.event("app", "DataTrigger evaluate has no run for it yet")).startswith("HeldByPolicy")


async def test_a_rule_with_job_runs_the_trigger(story: Story, node: ProcessNode) -> None:
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, trains(report=""), "evaluate", selector={"schemes": ["s3"]})
    await policy(story, rules=[{"action": "job", "kinds": ["model"], "trigger": {"name": "evaluate"}}])
    await known(story)
    made = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b")
    await story.ready(revision=made)
    found = await story.until(TRIGGER, "evaluate", has_succeeded)
    (run,) = runs(found)
    assert B in run["reference"]
    assert A in run["oldReference"]
