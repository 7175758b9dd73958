"""Flux 4.11: health. What is checked, what counts as healthy, how a check ends, and what is told of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import yaml

from agent.api.duration import parse_duration
from agent.gates import FeatureGates
from testbed.kube import condition
from tests.scenarios.conftest import KS, PATIENCE, RunningAgent, Story, message

GROUP = "kustomize.toolkit.fluxcd.io"
CM = ("v1", "ConfigMap")
POD = ("v1", "Pod")
OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
PASSED = re.compile(r"Health check passed in [0-9.ms]+$")


def config(name: str = "c", value: str = "x", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": value}}


def workload(kind: str, name: str = "chat", *, api_version: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    """A workload whose Pods no node runs: their status is what the story says."""
    metadata: dict[str, Any] = {"labels": {"app": name}}
    template = {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "example.org/main:1"}]}}
    body = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": body}


def job(name: str = "once", **spec: Any) -> dict[str, Any]:
    made = workload("Job", name, api_version="batch/v1", backoffLimit=0, **spec)
    made["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    del made["spec"]["selector"]
    return made


async def begin(story: Story, *objects: dict[str, Any], **spec: Any) -> str:
    made = story.git.commit({"all.yaml": yaml.safe_dump_all(objects)})
    await story.source()
    await story.kustomization(**{"wait": True, "timeout": "5m", **spec})
    return made


async def checking(story: Story) -> dict[str, Any]:
    """Wait until the health check runs."""
    return await story.until(KS, "app", lambda found: "Running health checks" in message(found, "Healthy"))


async def pods(story: Story, app: str = "chat") -> list[dict[str, Any]]:
    """The Pods of a workload, once there are some."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await story.admin.list(*POD, story.namespace, f"app={app}")
            if found:
                return found
            await asyncio.sleep(0.2)


async def report(story: Story, pod: dict[str, Any], **status: Any) -> None:
    """What a kubelet would report."""
    await story.admin.patch(*POD, story.namespace, pod["metadata"]["name"], {"status": status}, subresource="status")


def crashing(restarts: int) -> dict[str, Any]:
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
    container = {"name": "main", "ready": False, "restartCount": restarts, "image": "", "imageID": "", "state": state}
    return {"phase": "Running", "containerStatuses": [container]}


READY_POD = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


async def test_all_applied_objects_are_waited_for(story: Story) -> None:
    await begin(story, config(), workload("Deployment"))
    waiting = await checking(story)
    assert condition(waiting, "Healthy") == "Unknown"
    assert condition(waiting, "Ready") == "Unknown"
    assert "lastAppliedRevision" not in waiting["status"]
    await report(story, (await pods(story))[0], **READY_POD)
    ready = await story.ready()
    assert condition(ready, "Healthy") == "True"
    assert PASSED.match(message(ready, "Healthy"))
    reasons = {entry["type"]: entry["reason"] for entry in ready["status"]["conditions"]}
    assert reasons["Healthy"] == "Succeeded"
    assert PASSED.search(await story.event("app", "Health check passed in"))


async def test_only_named_objects_are_waited_for(story: Story) -> None:
    await begin(
        story,
        config(),
        workload("Deployment", "slow"),
        workload("Deployment", "none", replicas=0),
        wait=False,
        healthChecks=[
            {"kind": "Deployment", "name": "none", "namespace": story.namespace},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": story.namespace},
        ],
    )
    ready = await story.ready()
    assert condition(ready, "Healthy") == "True"


async def test_with_nothing_to_check_there_is_no_condition(story: Story) -> None:
    await begin(story, config())
    await story.ready()
    await story.kustomization(wait=False)
    ready = await story.until(KS, "app", lambda found: (found or {})["status"]["observedGeneration"] == 2)
    assert condition(ready, "Healthy") == ""

    own = {"apiVersion": KS[0], "kind": KS[1], "name": "app", "namespace": story.namespace}
    await story.kustomization(wait=False, healthChecks=[own])
    ready = await story.until(KS, "app", lambda found: (found or {})["status"]["observedGeneration"] == 3)
    assert (condition(ready, "Ready"), condition(ready, "Healthy")) == ("True", "")


@pytest.mark.parametrize("where", ["labels", "annotations"])
async def test_skipped_objects_are_not_checked(story: Story, where: str) -> None:
    skipped = workload("Deployment")
    await story.admin.create({**skipped, "metadata": {"name": "chat", "namespace": story.namespace}})
    skipped["metadata"][where] = {f"{GROUP}/ssa": "Ignore"}
    await begin(story, config(), skipped)
    ready = await story.ready()
    assert f"{story.namespace}_chat_apps_Deployment" in str(ready["status"]["inventory"])


@pytest.mark.parametrize(("kind", "restarts"), [("Deployment", 3), ("StatefulSet", 1), ("ReplicaSet", 0)])
async def test_a_crash_loop_is_noticed_long_before_the_timeout(story: Story, kind: str, restarts: int) -> None:
    extra = {"serviceName": "chat"} if kind == "StatefulSet" else {}
    await begin(story, workload(kind, **extra))
    await checking(story)
    await report(story, (await pods(story))[0], **crashing(restarts))
    failed = await story.failed(text="failed early")
    summary = f"failed early due to stalled resources: [{kind}/{story.namespace}/chat status: 'Failed']"
    assert message(failed, "Healthy") == summary
    assert re.fullmatch(r"health check failed after [0-9.ms]+: " + re.escape(summary), message(failed))
    reasons = {entry["type"]: entry["reason"] for entry in failed["status"]["conditions"]}
    assert (reasons["Ready"], reasons["Healthy"]) == ("HealthCheckFailed", "HealthCheckFailed")
    assert failed["status"]["history"][0]["lastReconciledStatus"] == "HealthCheckFailed"
    assert await story.event("app", "HealthCheckFailed: health check failed after")


async def test_a_deployment_may_crash_a_little_and_recover(story: Story) -> None:
    await begin(story, workload("Deployment"))
    await checking(story)
    (pod,) = await pods(story)
    await report(story, pod, **crashing(1))
    await asyncio.sleep(6)  # the time itself is under test: another look at the Pods comes after 5 s
    assert condition(await story.admin.get(*KS, story.namespace, "app"), "Healthy") == "Unknown"
    await report(story, pod, containerStatuses=None, **READY_POD)
    await story.ready()


async def test_one_failure_ends_the_wait_for_the_others(story: Story) -> None:
    await begin(story, job(), workload("Deployment"))
    await checking(story)
    await report(story, (await pods(story, "once"))[0], phase="Failed")
    failed = await story.failed(text="failed early")
    assert message(failed, "Healthy") == (
        f"failed early due to stalled resources: [Job/{story.namespace}/once status: 'Failed']"
    )


async def test_without_fail_fast_the_others_are_waited_for(story: Story, own_agent: OwnAgent) -> None:
    await begin(story, job(), workload("Deployment"))
    async with own_agent(gates=FeatureGates(disable_fail_fast_behavior=True)):
        await checking(story)
        await report(story, (await pods(story, "once"))[0], phase="Failed")
        await story.until(("batch/v1", "Job"), "once", lambda found: condition(found, "Failed") == "True")
        await asyncio.sleep(6)  # the time itself is under test: another look comes after 5 s
        assert condition(await story.admin.get(*KS, story.namespace, "app"), "Healthy") == "Unknown"
        await report(story, (await pods(story))[0], **READY_POD)
        failed = await story.failed(text="failed early")
        assert "Job" in message(failed)
        assert "Deployment" not in message(failed)


async def test_what_was_missing_when_time_ran_out_is_listed(story: Story) -> None:
    checks = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "namespace": story.namespace},
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "namespace": story.namespace},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": story.namespace},
    ]
    await begin(story, config(), workload("Deployment"), wait=False, healthChecks=checks, timeout="1s")
    waiting = await checking(story)
    assert "with a timeout of 30s" in message(waiting, "Healthy")  # shorter ones are raised to it
    failed = await story.until(KS, "app", lambda found: condition(found, "Ready") == "False")
    assert message(failed, "Healthy") == (
        f"timeout waiting for: [ConfigMap/{story.namespace}/none status: 'NotFound', "
        f"Deployment/{story.namespace}/chat status: 'InProgress']"
    )
    took = re.match(r"health check failed after (\S+): timeout", message(failed))
    assert took
    assert parse_duration(took[1]) >= 30
    assert message(failed, "Reconciling").startswith("Running health checks for revision")
    assert failed["status"]["inventory"]["entries"]


async def test_a_job_has_to_complete(story: Story) -> None:
    await begin(story, job(), job("later", suspend=True))
    await checking(story)
    await report(story, (await pods(story, "once"))[0], phase="Succeeded")
    await story.ready()


async def test_a_job_that_cleans_up_after_itself_is_done_when_it_is_gone(story: Story) -> None:
    await begin(story, job(ttlSecondsAfterFinished=0))
    await checking(story)
    await report(story, (await pods(story, "once"))[0], phase="Succeeded")
    await story.until(("batch/v1", "Job"), "once", lambda found: found is None)
    await story.ready()


async def test_news_end_a_check_and_are_told_without_history(story: Story) -> None:
    states: list[dict[str, Any]] = []
    await begin(story, workload("Deployment"))
    await checking(story)

    def seen(found: dict[str, Any] | None) -> bool:
        states.append(found or {})
        return condition(found, "Ready") == "True"

    second = story.git.commit({"all.yaml": yaml.safe_dump(workload("Deployment", replicas=0))})
    watching = asyncio.create_task(story.until(KS, "app", seen))
    await story.pull("second")
    ready = await watching
    assert second in ready["status"]["lastAppliedRevision"]
    (canceled,) = [state for state in states if "triggered by" in message(state)]
    by = f"GitRepository/{story.namespace}/repo"
    assert message(canceled) == f"New reconciliation triggered by {by}"
    reasons = {entry["type"]: entry["reason"] for entry in canceled["status"]["conditions"]}
    assert reasons["Ready"] == "HealthCheckCanceled"
    told = await story.event("app", "canceled")
    assert told == f"HealthCheckCanceled: Health checks canceled due to new reconciliation triggered by {by}"
    assert [entry["lastReconciledStatus"] for entry in ready["status"]["history"]] == ["ReconciliationSucceeded"]


async def test_a_request_ends_a_check_and_is_answered_by_the_next_pass(story: Story) -> None:
    await begin(story, workload("Deployment"))
    await checking(story)
    await story.request(KS, "app", "please")
    own = f"Kustomization/{story.namespace}/app"
    assert await story.event("app", f"Health checks canceled due to new reconciliation triggered by {own}")
    await report(story, (await pods(story))[0], **READY_POD)
    ready = await story.ready()
    assert ready["status"]["lastHandledReconcileAt"] == "please"


async def test_a_changed_variable_ends_a_check(story: Story) -> None:
    variables = config("vars", namespace=story.namespace, labels={"reconcile.fluxcd.io/watch": "Enabled"})
    variables["data"] = {"replicas": "1"}
    await story.admin.apply(variables)
    post = {"substituteFrom": [{"kind": "ConfigMap", "name": "vars"}]}
    await begin(story, workload("Deployment", replicas="${replicas}"), postBuild=post)
    await checking(story)
    await story.admin.patch(*CM, story.namespace, "vars", {"data": {"replicas": "0"}})
    await story.ready()
    by = f"ConfigMap/{story.namespace}/vars"
    assert await story.event("app", f"Health checks canceled due to new reconciliation triggered by {by}")


async def test_what_was_healthy_all_the_time_is_told_once(story: Story) -> None:
    """An event comes after a failure, and with a revision that changed something; drift is not worth one."""

    async def finished(passes: int) -> list[str]:
        """All that was told, once so many passes are over: the next commit would end the health check of a pass."""

        def enough(told: list[dict[str, Any]]) -> bool:
            return sum(event["message"].startswith("Reconciliation finished") for event in told) == passes

        return [event["message"] for event in await story.told("app", enough)]

    await begin(story, config())
    await story.ready()

    await story.admin.patch(*CM, story.namespace, "c", {"data": {"a": "theirs"}})
    await story.until(CM, "c", lambda found: (found or {})["data"] == {"a": "x"})
    assert f"ConfigMap/{story.namespace}/c configured" in await finished(2)
    second = story.git.commit({"readme.txt": "nothing that is applied"})
    await story.pull("second")
    await story.ready(revision=second)
    third = story.git.commit({"all.yaml": yaml.safe_dump(config(value="y"))})
    await story.pull("third")
    await story.ready(revision=third)
    lines = await finished(4)
    assert len([line for line in lines if line.startswith("Health check passed")]) == 2


def widget(group: str) -> list[dict[str, Any]]:
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    return [definition, {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": 1}}]


async def test_any_other_kind_is_judged_by_the_usual_conditions(story: Story, weir: RunningAgent) -> None:
    group = f"{story.namespace}.example.org"
    kind = (f"{group}/v1", "Widget")
    objects = widget(group)
    await begin(story, *objects)
    await story.ready()  # it says nothing of itself

    async def says(generation: int = 2, **conditions: str) -> None:
        listed = [{"type": name, "status": status} for name, status in conditions.items()]
        status = {"observedGeneration": generation, "conditions": listed}
        await story.admin.patch(*kind, story.namespace, "w", {"status": status}, subresource="status")

    async def reads() -> float:
        return (await weir.requests()).get("get widgets", 0)

    await says(1, Ready="False")
    objects[1]["spec"] = {"a": 2}
    story.git.commit({"all.yaml": yaml.safe_dump_all(objects)})
    await story.pull("second")
    await checking(story)
    for generation, conditions in (
        (1, {"Ready": "True"}),
        (2, {"Reconciling": "True", "Ready": "True"}),
        (2, {"Ready": "Unknown"}),
        (2, {"Ready": "False"}),
        (2, {"Ready": "True"}),
    ):
        before = await reads()
        await says(generation, **conditions)
        # Whoever has stopped waiting does not read it any more.
        async with asyncio.timeout(PATIENCE):
            while True:
                if await reads() > before:
                    break
                await asyncio.sleep(0.1)
    await story.ready()

    await says(2, Stalled="True")
    await story.request(KS, "app", "look")
    failed = await story.failed(text="failed early")
    assert f"[Widget/{story.namespace}/w status: 'Failed']" in message(failed)
