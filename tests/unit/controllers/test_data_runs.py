"""A run that takes too long, and an API server that does not let it be deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.resource import Resource
from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.controllers.datatrigger.runs import Runs
from agent.core.trigger.template import TRAIN_JOB, run_object

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEMPLATE = {"apiVersion": TRAIN_JOB.api_version, "kind": TRAIN_JOB.kind, "spec": {"runtimeRef": {"name": "torch"}}}


class Cluster:
    """One TrainJob that may not be deleted until somebody grants it; it is its own discovery."""

    def __init__(self, trigger: DataTrigger, run: TriggerRun) -> None:
        made = run_object(trigger, run)
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
