"""The Job of a gate: made of a CronJob's template, named by the revision, read back when it is over."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from agent.api.canary import API_VERSION
from agent.core.rollout.gates import Gate, Observed
from agent.core.rollout.plan import Plan
from agent.core.rollout.reports import Report, read_report

Object = Mapping[str, Any]

CANARY_LABEL, GATE_LABEL = "weir.dev/canary", "weir.dev/gate"
REVISION_ANNOTATION = "weir.dev/revision"
_LONGEST_NAME = 63
_KEPT_SECONDS = 24 * 3600
_REPORT = "report-"
_UID = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
_ABOUT_THE_JOB = (
    {"name": "WEIR_JOB_UID", "valueFrom": _UID},
    {"name": "WEIR_REPORT", "value": f"{_REPORT}$(WEIR_JOB_UID)"},
)


def report_name(job: Object) -> str:
    """The ConfigMap that a Job leaves its report in: another one for each Job, so that an old one never counts."""
    return f"{_REPORT}{job['metadata']['uid']}"


def owned_by_job(left: Object, job: Object) -> dict[str, Any]:
    """A ConfigMap that goes when the Job goes."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return {**left, "metadata": {**left["metadata"], "ownerReferences": [owner]}}


def job_name(plan: Plan, gate: Gate, revision: str) -> str:
    """The same for the same revision, so that there is one Job however often it is asked for."""
    mark = hashlib.sha256(f"{plan.name}/{gate.name}/{revision}".encode()).hexdigest()[:10]
    head = f"{plan.name}-{gate.name}"[: _LONGEST_NAME - len(mark) - 1].rstrip("-.")
    return f"{head}-{mark}".lower()


def job_of(template: Object, plan: Plan, gate: Gate, revision: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The Job for a revision. `template` is the CronJob; `environment` goes to all containers that do not set it."""
    made = copy.deepcopy(dict(template["spec"]["jobTemplate"]))
    metadata, spec = dict(made.get("metadata") or {}), made["spec"]
    pod = spec["template"]["spec"]
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        own = container.get("env") or []
        names = {entry["name"] for entry in own}
        added = [{"name": name, "value": value} for name, value in environment.items() if name not in names]
        container["env"] = [*_ABOUT_THE_JOB, *added, *own]
    if gate.timeout is not None:
        spec.setdefault("activeDeadlineSeconds", max(int(gate.timeout), 1))
    spec.setdefault("ttlSecondsAfterFinished", _KEPT_SECONDS)
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Canary",
        "name": plan.name,
        "uid": plan.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    labels = {**(metadata.get("labels") or {}), CANARY_LABEL: plan.name[:_LONGEST_NAME], GATE_LABEL: gate.name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(plan, gate, revision),
            "namespace": plan.namespace,
            "labels": labels,
            "annotations": {**(metadata.get("annotations") or {}), REVISION_ANNOTATION: revision},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def observed(gate: Gate, job: Object, pods: Iterable[Object], left: Object | None = None) -> Observed:
    """What a Job and its Pods say, with the ConfigMap that it `left`. A Job that ran into its deadline has not said
    anything."""
    name = job["metadata"]["name"]
    ended = {
        item["type"]: item for item in (job.get("status") or {}).get("conditions") or () if item["status"] == "True"
    }
    if "deletionTimestamp" in job["metadata"]:
        return Observed(gate=gate.name, running=True, note=f"an earlier Job {name} is going")
    if not ended.keys() & {"Complete", "Failed"}:
        return Observed(gate=gate.name, running=True, note=f"Job {name} is running")
    failure = ended.get("Failed")
    report, fault = _kept(name, left) if gate.in_config_map else pod_report(pods)
    if failure is None:
        return Observed(gate=gate.name, completed=not fault, report=report, where=f"Job {name}", note=fault)
    why = f"Job {name} failed: {failure.get('message') or failure.get('reason')}"
    failed = failure.get("reason") != "DeadlineExceeded"
    return Observed(gate=gate.name, failed=failed, report=report, note="; ".join(filter(None, (why, fault))))


def _kept(name: str, left: Object | None) -> tuple[Report | None, str]:
    """The report in the ConfigMap of the Job, and what is wrong with it."""
    if left is None or not left.get("data"):
        return None, f"Job {name} left no report in the ConfigMap that WEIR_REPORT names"
    data = left["data"]
    try:
        return read_report(str(data[min(data)])), ""
    except ValueError as error:
        return None, f"ConfigMap {left['metadata']['name']}: {error}"


def pod_report(pods: Iterable[Object]) -> tuple[Report | None, str]:
    """The report of the Pod that ended last, and what is wrong with it."""
    ended = []
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            over = (status.get("state") or {}).get("terminated")
            if over is not None and over.get("message"):
                ended.append((str(over.get("finishedAt") or ""), str(over["message"])))
    if not ended:
        return None, ""
    try:
        return read_report(max(ended)[1]), ""
    except ValueError as error:
        return None, str(error)
