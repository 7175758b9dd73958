"""A person changes a reference to data in Git, and a Job trains with it: once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from agent.api.datatrigger import DataTrigger
from agent.core.trigger.deciding import run_name
from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.node import ProcessNode
from tests.registries.registry_servers import Registry, registry
from tests.scenarios.conftest import RunningAgent, Story, conditions, message
from tests.scenarios.data_triggers import (
    TRIGGER,
    commit,
    declare,
    job,
    jobs,
    runs,
    serving,
    slots,
    trains,
    trigger,
    watches,
)
from tests.scenarios.job_node import job_node
from tests.scenarios.test_floating_references import asks, push


@pytest.fixture(scope="module")
async def node(
    control_plane: ControlPlane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessNode]:
    """Runs the Pods of Jobs as processes."""
    async with job_node(control_plane, admin, tmp_path_factory.mktemp("node"), "jobs") as running:
        yield running


@pytest.fixture
async def tags() -> AsyncIterator[Registry]:
    """An image registry, there for longer than the Kustomizations that have it looked at."""
    async with registry() as served:
        yield served


async def test_a_dataset_that_changes_in_git_is_trained_with_once(
    story: Story, weir: RunningAgent, node: ProcessNode
) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, trains())
    await trigger(story, watches)
    assert await jobs(story) == []
    second = await commit(story, "s3://data/v2")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    (run,) = runs(found)
    assert (run["data"], run["oldReference"], run["verdict"]) == ("s3://data/v2", "s3://data/v1", "pass")
    assert run["metrics"] == {"accuracy": 0.91}
    assert run["revision"].endswith(second)
    assert message(found) == "watches 1 reference"
    assert conditions(found)["Healthy"][:2] == ("True", "Succeeded")
    (made,) = await jobs(story)
    assert made["metadata"]["name"] == run["name"]
    assert await story.event("retrain", f"RunSucceeded: Job {run['name']} for s3://data/v2 succeeded: 1,200 questions")
    assert 'weir_data_runs_total{kind="Job",state="succeeded"}' in await weir.exposition()

    # the change names the trigger, and the run that it has started
    changes = await weir.get(
        f"/api/v1/changes?namespace={story.namespace}&kind=data&op=changed",
        lambda page: [one["state"] for item in page["items"] for one in item["runs"]] == ["Succeeded"],
    )
    (change,) = changes["items"]
    assert change["record"]["impact"]["jobs"] == [f"DataTrigger/{story.namespace}/retrain"]
    assert [(one["name"], one["verdict"]) for one in change["runs"]] == [(run["name"], "pass")]

    # a commit that leaves the data alone, and one that goes back and forth, run nothing again
    story.git.commit({"other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"})
    await commit(story, "s3://data/v3")
    await trigger(story, lambda found: len(runs(found)) == 2)
    await commit(story, "s3://data/v2")
    await trigger(story, lambda found: found["status"]["slots"][0]["reference"] == "s3://data/v2")
    assert len(await jobs(story)) == 2


async def test_an_agent_that_is_restarted_runs_nothing_again(
    story: Story, node: ProcessNode, own_agent: Callable[..., AbstractAsyncContextManager[RunningAgent]]
) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    async with own_agent() as _:
        await story.ready()
        await declare(story, trains())
        await trigger(story, watches)
        await commit(story, "s3://data/v2")
        await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    (before,) = await jobs(story)
    story.git.commit({"chat.yaml": serving("s3://data/v3")})
    async with own_agent() as _:
        found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"] * 2)
        assert [run["data"] for run in runs(found)] == ["s3://data/v2", "s3://data/v3"], "moved while no agent ran"
        made = await jobs(story)
        assert len(made) == 2
        assert before["metadata"]["uid"] in {one["metadata"]["uid"] for one in made}


async def test_a_run_may_do_what_its_service_account_may(story: Story, node: ProcessNode) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, trains(), serviceAccountName="trainer")
    found = await story.failed("retrain", "is forbidden", TRIGGER)
    assert conditions(found)["Ready"][1] == "Forbidden"
    assert f"grant ServiceAccount {story.namespace}/trainer the right to create Jobs (batch)" in message(found)
    await story.event("retrain", "Forbidden")

    await commit(story, "s3://data/v2")
    await story.failed("retrain", "is forbidden", TRIGGER)
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    metadata = {"name": "trainer", "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await story.admin.apply({**rbac, "kind": "Role", "metadata": metadata, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "trainer", "namespace": story.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "trainer"}
    binding = {**rbac, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject], "roleRef": role}
    await story.admin.apply(binding)
    await story.request(TRIGGER, "retrain", "granted")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    assert runs(found)[0]["metrics"] == {"accuracy": 0.91}


async def test_a_tag_that_moves_with_no_commit_starts_a_run_as_a_commit_does(
    tags: Registry, story: Story, node: ProcessNode
) -> None:
    first = push(tags, "v1", 1000)
    await asks(story, tags)
    made = story.git.commit({"chat.yaml": serving("oci://registry.example/org/m:v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, trains())
    # what it meant is known before it moves
    await trigger(story, lambda found: [slot.get("digest") for slot in slots(found)] == [first])
    second = push(tags, "v1", 2000)
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    (run,) = runs(found)
    assert (run["data"], run["oldDigest"]) == (second, first)
    assert run["revision"].endswith(made)
    assert len(await jobs(story)) == 1


async def test_a_file_that_dvc_tracks_starts_a_run_that_is_told_which(story: Story, node: ProcessNode) -> None:
    def tracked(digest: str) -> str:
        return f"outs:\n- md5: {digest * 32}\n  size: 5\n  hash: md5\n  path: train.csv\n"

    story.git.commit({"data/train.csv.dvc": tracked("a"), "data/test.csv.dvc": tracked("c")})
    await story.source()
    selector = {
        "sources": [{"kind": "GitRepository", "name": "repo"}],
        "objects": [{"kind": "File", "name": "data/train.*"}],
    }
    template = job('printf "%s" "{\\"reason\\": \\"$WEIR_DATA_PATH $WEIR_DATA_NEW_DIGEST\\"}" > /dev/termination-log')
    await declare(story, template, selector=selector)
    await trigger(story, lambda found: bool(found.get("status", {}).get("sources")))
    made = story.git.commit({"data/train.csv.dvc": tracked("b"), "data/test.csv.dvc": tracked("d")})
    await story.pull(made)
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    (run,) = runs(found)
    assert (run["data"], run["oldDigest"]) == (f"md5:{'b' * 32}", f"md5:{'a' * 32}")
    assert run["message"] == f"data/train.csv.dvc md5:{'b' * 32}"
    assert run["slots"] == ["File/data/train.csv.dvc out[train.csv]"]


async def test_a_tag_that_registers_a_data_set_starts_a_run_without_a_commit(story: Story, node: ProcessNode) -> None:
    first = story.git.commit({"dvc.yaml": "artifacts:\n  sales: {path: data/sales, type: dataset}\n"})
    second = story.git.commit({"README.md": "second"})
    story.git.tag("sales@v1.0.0", first, message="first")
    await story.source()
    selector = {"sources": [{"kind": "GitRepository", "name": "repo"}], "schemes": ["gto"]}
    template = job('printf "%s" "{\\"reason\\": \\"$WEIR_DATA_PATH $WEIR_DATA_URI\\"}" > /dev/termination-log')
    await declare(story, template, selector=selector)
    await trigger(story, lambda found: bool(found.get("status", {}).get("sources")))
    await story.look("0", "1")
    story.git.tag("sales@v1.1.0", second, message="second")
    await story.look("2", "3")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])
    (run,) = runs(found)
    assert (run["data"], run["slots"]) == (f"gto:sales@v1.1.0@{second}", ["File/data/sales artifact"])
    assert run["message"] == "data/sales sales@v1.1.0"
    await story.look("4", "5")
    assert len(await jobs(story)) == 1


async def test_a_run_that_fails_is_told_and_run_again_only_when_somebody_asks(story: Story, node: ProcessNode) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, job('echo \'{"verdict": "fail", "reason": "accuracy 0.2"}\' > /dev/termination-log'))
    await trigger(story, watches)
    await commit(story, "s3://data/v2")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Failed"])
    assert conditions(found)["Ready"][0] == "True"
    status, reason, told = conditions(found)["Healthy"]
    assert (status, reason) == ("False", "RunFailed")
    assert "the report says fail; accuracy 0.2" in told
    await story.event("retrain", "RunFailed")

    await declare(story, trains())
    again = {"metadata": {"annotations": {"weir.dev/rerun": "jane: the report was wrong"}}}
    await story.admin.patch(*TRIGGER, story.namespace, "retrain", again)
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Failed", "Succeeded"])
    assert conditions(found)["Healthy"][0] == "True"
    assert found["status"]["lastHandledRerun"] == "jane: the report was wrong"


async def test_a_run_for_data_that_is_gone_is_replaced_and_others_are_cleared_away(
    story: Story, node: ProcessNode
) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    script = 'case "$WEIR_DATA_URI" in *v2) exec sleep 600;; esac'
    await declare(story, job(script), concurrencyPolicy="Replace", successfulRunsHistoryLimit=0)
    await trigger(story, watches)
    await commit(story, "s3://data/v2")
    await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Running"])
    await commit(story, "s3://data/v3")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Replaced", "Succeeded"])
    assert runs(found)[0]["message"] == "nothing refers to its data any more"
    found = await trigger(story, lambda found: all(run.get("removed") for run in runs(found)))
    assert [job for job in await jobs(story) if "deletionTimestamp" not in job["metadata"]] == []
    assert message(found) == "watches 1 reference"


async def test_an_object_of_the_runs_name_that_is_not_the_run_is_left_alone(story: Story, node: ProcessNode) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, trains(), suspend=True)
    subject = DataTrigger.from_object(await trigger(story, watches))
    name = run_name(subject, "s3://data/v2")
    await story.admin.create({**job("true"), "metadata": {"name": name, "namespace": story.namespace}})
    await commit(story, "s3://data/v2")
    await declare(story, trains())
    found = await story.failed("retrain", f"Job {story.namespace}/{name} exists, but this trigger has not", TRIGGER)
    assert conditions(found)["Ready"][1] == "NameTaken"
    (other,) = await jobs(story)
    assert "ownerReferences" not in other["metadata"]
    await story.admin.delete("batch/v1", "Job", story.namespace, name)
    await story.request(TRIGGER, "retrain", "deleted")
    await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"])


async def test_without_an_account_of_its_own_a_trigger_acts_as_the_default_one(
    story: Story, own_agent: Callable[..., AbstractAsyncContextManager[RunningAgent]]
) -> None:
    async with own_agent(default_service_account="default"):
        await declare(story, trains())
        found = await story.failed("retrain", "is forbidden", TRIGGER)
        assert f"grant ServiceAccount {story.namespace}/default the right to create Jobs (batch)" in message(found)
