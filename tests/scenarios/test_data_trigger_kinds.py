"""Runs of other projects' kinds, with the tests in the part of their controllers; and what cannot be run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from testbed.kube import Admin, Object
from tests.canary.foreign_crds import crd, serve
from tests.scenarios.conftest import Story, conditions
from tests.scenarios.data_triggers import TRIGGER, commit, declare, job, runs, serving, trigger, watches

WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
PIPELINE_RUN = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun"}
TRAIN_JOB = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob"}
PARAMETERS = [{"name": "data", "value": "$(weir.uri)"}]
REPORT = '{"metrics": {"accuracy": 0.9}, "verdict": "pass"}'
KINDS: dict[str, tuple[Object, Object]] = {
    "workflow": (
        {**WORKFLOW, "spec": {"workflowTemplateRef": {"name": "train"}, "arguments": {"parameters": PARAMETERS}}},
        {"phase": "Succeeded", "outputs": {"parameters": [{"name": "report", "value": REPORT}]}},
    ),
    "pipeline": (
        {**PIPELINE_RUN, "spec": {"pipelineRef": {"name": "train"}, "params": PARAMETERS}},
        {
            "conditions": [{"type": "Succeeded", "status": "True", "message": "done"}],
            "results": [{"name": "report", "value": REPORT}],
        },
    ),
    "training": (
        {
            **TRAIN_JOB,
            "spec": {"runtimeRef": {"name": "torch"}, "initializer": {"dataset": {"storageUri": "$(weir.uri)"}}},
        },
        {"conditions": [{"type": "Complete", "status": "True", "message": "done"}]},
    ),
}
"""By the name of a trigger: its template, and the status that a controller writes when the run has ended."""


def training() -> Object:
    """TrainJob as it was before Trainer 2.2: the API server drops `activeDeadlineSeconds`."""
    made = crd("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs")
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    fields = dict.fromkeys(("runtimeRef", "initializer", "trainer"), properties["spec"])
    properties["spec"] = {"type": "object", "properties": fields}
    return made


@pytest.fixture(scope="module")
async def definitions(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    """The kinds of Argo Workflows, Tekton and the Trainer, as much of them as is needed to keep objects."""
    folder: Path = tmp_path_factory.mktemp("definitions")
    made = [
        crd("argoproj.io", "v1alpha1", "Workflow", "workflows"),
        crd("tekton.dev", "v1", "PipelineRun", "pipelineruns"),
        training(),
    ]
    await serve(admin, folder, made)
    yield
    for definition in made:
        name = definition["metadata"]["name"]
        await admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)


async def watched(story: Story, template: Object, **spec: Any) -> None:
    """A trigger that has seen the first data."""
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await declare(story, template, **spec)


async def test_runs_of_other_projects_are_created_followed_and_read(story: Story, definitions: None) -> None:
    story.git.commit({"chat.yaml": serving("s3://data/v1")})
    await story.source()
    await story.kustomization()
    await story.ready()
    for name, (template, _) in KINDS.items():
        by_config_map = {"reportConfigMap": "results-$(weir.run)"} if name == "training" else {}
        await declare(story, template, name, timeout="2h", **by_config_map)
        await trigger(story, watches, name)
    await commit(story, "s3://data/v2")
    for name, (template, status) in KINDS.items():
        found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Running"], name)
        assert conditions(found)["Ready"][0] == "True"
        kind, run = (template["apiVersion"], template["kind"]), runs(found)[0]["name"]
        made = await story.admin.get(*kind, story.namespace, run)
        assert "s3://data/v2" in str(made["spec"])
        if name == "training":
            metadata = {"name": f"results-{run}", "namespace": story.namespace}
            results = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"report.json": REPORT}}
            await story.admin.apply(results)
        await story.admin.patch(*kind, story.namespace, run, {"status": status}, subresource="status")
    for name in KINDS:
        found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Succeeded"], name)
        assert (runs(found)[0]["metrics"], runs(found)[0]["verdict"]) == ({"accuracy": 0.9}, "pass")


async def test_a_kind_that_is_not_installed_is_told_before_any_data_changes(story: Story) -> None:
    await watched(story, {"apiVersion": "tekton.dev/v1beta7", "kind": "PipelineRun", "spec": {}})
    found = await story.failed("retrain", "no PipelineRun in tekton.dev/v1beta7: install Tekton Pipelines", TRIGGER)
    assert conditions(found)["Ready"][1] == "KindNotInstalled"
    await commit(story, "s3://data/v2")  # nothing else stops
    found = await trigger(story, lambda found: bool(runs(found)))
    assert runs(found)[0]["state"] == "Pending"
    await declare(story, job("true"))
    # what was to be a PipelineRun is now made as the Job that the template has become
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Running"])
    assert runs(found)[0]["kind"] == "Job"


async def test_templates_that_nothing_can_be_made_of_are_told(story: Story) -> None:
    wrong = {
        "pod": ({"apiVersion": "v1", "kind": "Pod", "spec": {}}, "InvalidSpec", "is a Pod (v1), which is no run"),
        "typo": (job("$(weir.nothing)"), "InvalidSpec", "$(weir.nothing) is unknown"),
        "empty": ({**job("x"), "spec": {"template": {"spec": {}}}}, "TemplateRefused", "spec.containers"),
    }
    for name, (template, reason, told) in wrong.items():
        await declare(story, template, name)
        found = await story.failed(name, told, TRIGGER)
        assert conditions(found)["Ready"][1] == reason
        assert ("Stalled" in conditions(found)) is (reason == "InvalidSpec")
        await declare(story, job("true"), name)
        await trigger(story, lambda found: conditions(found).get("Ready", ("",))[0] == "True", name)


async def test_a_train_job_that_takes_too_long_is_deleted(story: Story, definitions: None) -> None:
    await watched(story, {**TRAIN_JOB, "spec": {"runtimeRef": {"name": "torch"}}}, timeout="1s")
    await trigger(story, watches)
    await commit(story, "s3://data/v2")
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Failed"])
    assert runs(found)[0]["message"] == "took longer than 1s"
    assert await story.admin.list(TRAIN_JOB["apiVersion"], TRAIN_JOB["kind"], story.namespace) == []


async def test_a_run_whose_kind_is_gone_for_a_while_is_not_taken_for_deleted(
    story: Story, definitions: None, admin: Admin, tmp_path: Path
) -> None:
    await watched(story, {**WORKFLOW, "spec": {"entrypoint": "train"}})
    await trigger(story, watches)
    await commit(story, "s3://data/v2")
    await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Running"])
    definition = crd("argoproj.io", "v1alpha1", "Workflow", "workflows")
    # Not deleted: that would take the objects along before the kind stops being served.
    definition["spec"]["versions"][0]["served"] = False
    await serve(admin, tmp_path, [definition])
    found = await story.failed("retrain", "no Workflow in argoproj.io/v1alpha1: install Argo Workflows", TRIGGER)
    assert [run["state"] for run in runs(found)] == ["Running"]
    definition["spec"]["versions"][0]["served"] = True
    await serve(admin, tmp_path, [definition])
    await story.request(TRIGGER, "retrain", "installed")
    found = await trigger(story, lambda found: conditions(found)["Ready"][0] == "True")
    assert [run["state"] for run in runs(found)] == ["Running"]
    await story.admin.delete(WORKFLOW["apiVersion"], WORKFLOW["kind"], story.namespace, runs(found)[0]["name"])
    found = await trigger(story, lambda found: [run["state"] for run in runs(found)] == ["Lost"])
    assert conditions(found)["Healthy"][2].endswith("is gone: deleted before its end was seen")
