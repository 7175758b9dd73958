"""Health of the built-in workload kinds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agent.core.health.status import CURRENT, Health, failed, in_progress
from agent.core.objects import Manifest

_UNSCHEDULABLE_GRACE = timedelta(seconds=15)


def reported(manifest: Manifest) -> Mapping[str, Any]:
    """The status. Custom resources may keep anything there, a mere word for one: that reports nothing."""
    status = manifest.get("status")
    return status if isinstance(status, Mapping) else {}


def condition_of(manifest: Manifest, kind: str) -> Mapping[str, Any] | None:
    """The status condition of a type, or None."""
    conditions = reported(manifest).get("conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            found: Mapping[str, Any] = condition
            return found
    return None


def _counts(manifest: Manifest, *names: str) -> list[int]:
    status = reported(manifest)
    return [int(status.get(name) or 0) for name in names]


def deployment(manifest: Manifest, _now: datetime) -> Health:
    """Updated, no old or surplus pods, all available; ProgressDeadlineExceeded fails."""
    progressing = condition_of(manifest, "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return failed("Progress deadline exceeded")
    wanted = int(manifest.get("spec", {}).get("replicas", 1))
    replicas, updated, ready, available = _counts(
        manifest, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"
    )
    if replicas < wanted:
        return in_progress(f"Replicas: {replicas}/{wanted}")
    if updated < wanted:
        return in_progress(f"Updated: {updated}/{wanted}")
    if replicas > wanted:
        return in_progress(f"Pending termination: {replicas - wanted}")
    if available < updated:
        return in_progress(f"Available: {available}/{updated}")
    if ready < wanted:
        return in_progress(f"Ready: {ready}/{wanted}")
    available_condition = condition_of(manifest, "Available")
    if available_condition is None or available_condition.get("status") != "True":
        return in_progress("Deployment not Available")
    return CURRENT


def stateful_set(manifest: Manifest, _now: datetime) -> Health:
    """Replica counts, the partition of a rolling update, and the revision; OnDelete is always current."""
    spec, status = manifest.get("spec", {}), reported(manifest)
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return CURRENT
    wanted = int(spec.get("replicas", 1))
    replicas, ready, current, updated = _counts(
        manifest, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas"
    )
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    for short, text in (
        (wanted > replicas, f"Replicas: {replicas}/{wanted}"),
        (wanted > ready, f"Ready: {ready}/{wanted}"),
        (replicas > wanted, f"Pending termination: {replicas - wanted}"),
    ):
        if short:
            return in_progress(text)
    if partition:
        if updated < wanted - partition:
            return in_progress(f"updated: {updated}/{wanted - partition}")
        return CURRENT
    if wanted > current:
        return in_progress(f"current: {current}/{wanted}")
    if status.get("currentRevision") != status.get("updateRevision"):
        return in_progress("Waiting for updated revision to match current")
    return CURRENT


def daemon_set(manifest: Manifest, _now: datetime) -> Health:
    """Scheduled, updated, available and ready on every node that wants it."""
    if reported(manifest).get("observedGeneration") is None:
        return in_progress("DaemonSet is not observed yet")
    wanted, scheduled, updated, available, ready = _counts(
        manifest,
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberReady",
    )
    for name, count in (("Current", scheduled), ("Updated", updated), ("Available", available), ("Ready", ready)):
        if count < wanted:
            return in_progress(f"{name}: {count}/{wanted}")
    return CURRENT


def replica_set(manifest: Manifest, _now: datetime) -> Health:
    """Labelled, available and ready replicas match what is wanted."""
    failure = condition_of(manifest, "ReplicaFailure")
    if failure and failure.get("status") == "True":
        return in_progress(f"Replica Failure condition. {failure.get('message', '')}".strip())
    wanted = int(manifest.get("spec", {}).get("replicas", 1))
    replicas, labelled, available, ready = _counts(
        manifest, "replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas"
    )
    for name, count in (("Labelled", labelled), ("Available", available), ("Ready", ready)):
        if count < wanted:
            return in_progress(f"{name}: {count}/{wanted}")
    if replicas > wanted:
        return in_progress(f"Pending termination: {replicas - wanted}")
    return CURRENT


def crash_looping(manifest: Manifest) -> list[Mapping[str, Any]]:
    """The statuses of a Pod's containers that crash again and again."""
    status = reported(manifest)
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    reasons = (((each.get("state") or {}).get("waiting") or {}).get("reason") for each in statuses)
    return [each for each, reason in zip(statuses, reasons, strict=True) if reason == "CrashLoopBackOff"]


def pod(manifest: Manifest, now: datetime) -> Health:
    """Ready or succeeded; a crash loop, or no node for longer than 15 s, fails."""
    status = reported(manifest)
    phase = status.get("phase")
    if phase in ("Succeeded", "Failed"):
        return CURRENT  # a pod that ran to its end, whatever the end, will not change any more
    ready = condition_of(manifest, "Ready")
    if ready and ready.get("status") == "True":
        return CURRENT
    looping = crash_looping(manifest)
    if looping:
        return failed(f"Containers in CrashLoop state: {','.join(each.get('name', '') for each in looping)}")
    scheduled = condition_of(manifest, "PodScheduled")
    if scheduled and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        since = scheduled.get("lastTransitionTime")
        if since and now - datetime.fromisoformat(since) > _UNSCHEDULABLE_GRACE:
            return failed("Pod could not be scheduled")
        return in_progress("Pod has not been scheduled")
    return in_progress(f"Pod is in the {phase or 'Pending'} phase")


def job(manifest: Manifest, _now: datetime) -> Health:
    """Flux's rule: complete, or suspended; a started job is not enough."""
    if (manifest.get("spec") or {}).get("suspend"):
        return CURRENT
    broken = condition_of(manifest, "Failed")
    if broken and broken.get("status") == "True":
        return failed(f"Job Failed. {broken.get('message', '')}".strip())
    complete = condition_of(manifest, "Complete")
    if complete and complete.get("status") == "True":
        return CURRENT
    return in_progress("Job in progress")


def persistent_volume_claim(manifest: Manifest, _now: datetime) -> Health:
    """Bound."""
    phase = reported(manifest).get("phase", "unknown")
    return CURRENT if phase == "Bound" else in_progress(f"PVC is not Bound. phase: {phase}")


def service(manifest: Manifest, _now: datetime) -> Health:
    """A LoadBalancer needs its cluster IP; every other service is current."""
    spec = manifest.get("spec", {})
    if spec.get("type") == "LoadBalancer" and not spec.get("clusterIP"):
        return in_progress("ClusterIP not set. Service type: LoadBalancer")
    return CURRENT


def custom_resource_definition(manifest: Manifest, _now: datetime) -> Health:
    """Established; refused names, and a definition that cannot be established, fail."""
    names = condition_of(manifest, "NamesAccepted")
    if names and names.get("status") == "False":
        return failed(f"Not all names are accepted. {names.get('message', '')}".strip())
    established = condition_of(manifest, "Established")
    if established and established.get("status") == "True":
        return CURRENT
    if established and established.get("status") == "False" and established.get("reason") != "Installing":
        return failed(str(established.get("message", "")))
    return in_progress("Install in progress")


def always_current(_manifest: Manifest, _now: datetime) -> Health:
    """Kinds that are done once they exist."""
    return CURRENT
