"""From an object to its health: the order of the rules, and the table of kinds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from agent.core.health import workloads
from agent.core.health.status import CURRENT, Health, Status, failed, in_progress
from agent.core.objects import Manifest, split_api_version

Rule = Callable[[Manifest, datetime], Health]


def _canary(manifest: Manifest, _now: datetime) -> Health:
    """One that has rejected what Git asks for is not there; Flagger tells so by a condition of its own. It may get
    there: by another revision, or by a second try."""
    promoted = workloads.condition_of(manifest, "Promoted")
    if promoted is None or promoted.get("status") != "False":
        return CURRENT
    return in_progress(str(promoted.get("message") or "the rollout has failed"))


_RULES: dict[tuple[str, str], Rule] = {
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("batch", "Job"): workloads.job,
    ("batch", "CronJob"): workloads.always_current,
    ("", "Pod"): workloads.pod,
    ("", "PersistentVolumeClaim"): workloads.persistent_volume_claim,
    ("", "Service"): workloads.service,
    ("", "Secret"): workloads.always_current,
    ("", "ConfigMap"): workloads.always_current,
    ("policy", "PodDisruptionBudget"): workloads.always_current,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): workloads.custom_resource_definition,
    ("flagger.app", "Canary"): _canary,
}


def status_of(manifest: Manifest, now: datetime) -> Health:
    """The health of a live object. `now` is timezone-aware; only rules with a grace period use it."""
    metadata = manifest["metadata"]
    if metadata.get("deletionTimestamp"):
        return Health(Status.TERMINATING, "Resource scheduled for deletion")
    early = _generic(manifest)
    if early is not None:
        return early
    group, _ = split_api_version(manifest["apiVersion"])
    rule = _RULES.get((group, manifest["kind"]))
    return rule(manifest, now) if rule else _by_ready_condition(manifest)


def _generic(manifest: Manifest) -> Health | None:
    """The conventions that come before any rule of a kind."""
    observed = workloads.reported(manifest).get("observedGeneration")
    generation = manifest["metadata"].get("generation")
    if observed is not None and generation is not None and observed != generation:
        return in_progress(
            f"{manifest['kind']} generation is {generation}, but latest observed generation is {observed}"
        )
    for kind, verdict in (("Reconciling", in_progress), ("Stalled", failed)):
        condition = workloads.condition_of(manifest, kind)
        if condition and condition.get("status") == "True":
            return verdict(str(condition.get("message") or f"condition {kind} is True"))
    return None


def _by_ready_condition(manifest: Manifest) -> Health:
    ready = workloads.condition_of(manifest, "Ready")
    if ready is None or ready.get("status") == "True":
        return CURRENT
    return in_progress(str(ready.get("message") or f"condition Ready is {ready.get('status')}"))
