"""A run that takes too long, and API servers that do not let it be deleted, or made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import ApiError, Forbidden
from agent.adapters.kube.resource import Resource
from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.controllers.datatrigger.runs import Runs
from agent.core.trigger.template import JOB, PIPELINE_RUN, TRAIN_JOB, WORKFLOW, RunKind, run_object

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEMPLATE = {"apiVersion": TRAIN_JOB.api_version, "kind": TRAIN_JOB.kind, "spec": {"runtimeRef": {"name": "torch"}}}


class Cluster:
    """One TrainJob that may not be deleted until somebody grants it; it is its own discovery."""

    def __init__(self, trigger: DataTrigger, run: TriggerRun) -> None:
        made = run_object(trigger, run)
        del made["spec"]["activeDeadlineSeconds"]  # as the API server does where a Trainer does not know it
        self.job: dict[str, Any] | None = {**made, "metadata": {**made["metadata"], "uid": "1"}}
        self.granted = False

    async def resource(self, api_version: str, kind: str) -> Resource:
        return Resource(TRAIN_JOB.group, "v1alpha1", "trainjobs", kind, namespaced=True)

    async def get(self, *_: object) -> dict[str, Any] | None:
        return self.job

    find = get

    async def delete(self, *_: object, uid: str) -> None:
        if not self.granted:
            raise Forbidden('User "x" cannot delete resource "trainjobs"', status=403)
        self.job = None


async def test_a_run_that_takes_too_long_goes_on_until_it_could_be_deleted() -> None:
    spec = {"template": TEMPLATE, "timeout": "1h"}
    trigger = DataTrigger.from_object({"metadata": {"name": "retrain", "namespace": "ml", "uid": "7d9e"}, "spec": spec})
    started = NOON - timedelta(hours=2)
    run = TriggerRun(name="retrain-1", kind=TRAIN_JOB.kind, data="sha256:b", state="Running", uid="1", started=started)
    cluster = Cluster(trigger, run)
    runs = Runs(cast("KubeClient", cluster), cast("Discovery", cluster), default_account="")

    found = await runs.follow(trigger, run, NOON)
    assert found.run == run
    assert found.problem is not None
    assert found.problem.reason == "Forbidden"
    assert "the right to delete TrainJobs" in found.problem.message

    cluster.granted = True
    found = await runs.follow(trigger, found.run, NOON)
    assert (found.run.state, found.run.removed, found.problem) == ("Failed", True, None)
    assert cluster.job is None


class Refusing(Cluster):
    """Lets nothing be made."""

    def __init__(self, trigger: DataTrigger, run: TriggerRun, error: ApiError) -> None:
        super().__init__(trigger, run)
        self.error = error

    async def create(self, *_: object, **__: object) -> dict[str, Any]:
        raise self.error


class Kept(Cluster):
    """Finalizers keep what is deleted. Patches are refused with `error`, if there is one."""

    def __init__(self, trigger: DataTrigger, run: TriggerRun, finalizers: list[str], error: ApiError | None) -> None:
        made = run_object(trigger, run)
        self.job = {**made, "metadata": {**made["metadata"], "uid": "1", "finalizers": finalizers}}
        self.asked: list[object] = []
        self.error = error

    async def delete(self, *_: object, uid: str) -> None:
        self.asked.append("delete")

    async def merge_patch(self, _resource: object, _namespace: object, _name: object, body: object) -> None:
        self.asked.append(body)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("kind", "stopped"),
    [
        (JOB, {"suspend": True}),
        (WORKFLOW, {"shutdown": "Terminate"}),
        (PIPELINE_RUN, None),
        (TRAIN_JOB, {"suspend": True}),
    ],
)
async def test_a_run_that_is_replaced_is_stopped_where_finalizers_keep_it(kind: RunKind, stopped: object) -> None:
    template = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": {}}
    trigger = DataTrigger.from_object(
        {"metadata": {"name": "retrain", "namespace": "ml", "uid": "7d9e"}, "spec": {"template": template}}
    )
    run = TriggerRun(name="retrain-1", kind=kind.kind, data="d", state="Replaced", reference="d")
    finished = replace(run, state="Succeeded")
    forbidden = Forbidden('User "x" cannot patch resource', status=403)
    over = ApiError("is complete, no updates are allowed", status=400)
    both = ["delete", {"spec": stopped}] if stopped else ["delete"]
    for one, finalizers, error, asked, problem in (
        (run, ["kept"], None, both, ""),
        (run, ["kept"], over, both, ""),
        (run, ["kept"], forbidden, both, f"the right to patch {kind.kind}s" if stopped else ""),
        (run, [], None, ["delete"], ""),
        (finished, ["kept"], None, ["delete"], ""),
    ):
        cluster = Kept(trigger, one, finalizers, error)
        runs = Runs(cast("KubeClient", cluster), cast("Discovery", cluster), default_account="")
        found = await runs.clear(trigger, one)
        assert cluster.asked == asked
        assert found is None if not problem else found is not None and problem in found.message


HOOK = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '


@pytest.mark.parametrize(
    ("error", "reason", "told"),
    [
        (
            Forbidden(f"{HOOK}TrainingRuntime not found", status=403),
            "TemplateRefused",
            "was refused by the API server: ",
        ),
        (ApiError(f"{HOOK}missing field(s)", status=400), "TemplateRefused", "missing field(s)"),
        (
            ApiError('failed calling webhook "a.b": dial tcp: connection refused', status=500),
            "WebhookFailed",
            "the TrainJob could not be checked: failed calling webhook",
        ),
        (Forbidden("exceeded quota: jobs", status=403), "Forbidden", "exceeded quota: jobs"),
        (
            Forbidden('User "x" cannot create resource "trainjobs"', status=403),
            "Forbidden",
            "right to create TrainJobs",
        ),
    ],
)
async def test_why_a_run_was_not_made_is_told_in_the_words_of_who_did_not_let_it(
    error: ApiError, reason: str, told: str
) -> None:
    spec = {"template": TEMPLATE, "timeout": "1h"}
    trigger = DataTrigger.from_object({"metadata": {"name": "retrain", "namespace": "ml", "uid": "7d9e"}, "spec": spec})
    run = TriggerRun(name="retrain-1", kind=TRAIN_JOB.kind, data="sha256:b", state="Pending")
    cluster = Refusing(trigger, run, error)
    runs = Runs(cast("KubeClient", cluster), cast("Discovery", cluster), default_account="")
    made = await runs.create(trigger, run, NOON)
    assert (made.run.state, made.absent) == ("Pending", True)
    assert made.problem is not None
    assert made.problem.reason == reason
    assert told in made.problem.message


async def test_data_whose_text_another_controller_would_evaluate_is_told_and_not_run() -> None:
    template = {"apiVersion": WORKFLOW.api_version, "kind": WORKFLOW.kind, "spec": {"data": "$(weir.uri)"}}
    trigger = DataTrigger.from_object({"metadata": {"name": "retrain"}, "spec": {"template": template}})
    run = TriggerRun(name="retrain-1", kind=WORKFLOW.kind, data="d", state="Pending", reference="s3://data/{{x}}")
    runs = Runs(cast("KubeClient", None), cast("Discovery", None), default_account="")  # nobody is asked
    made = await runs.create(trigger, run, NOON)
    assert (made.run.state, made.absent) == ("Pending", True)
    assert made.problem is not None
    assert made.problem.reason == "TemplateRefused"
    assert "{{ would be evaluated" in made.problem.message
