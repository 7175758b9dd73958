"""Whether a Deployment or DaemonSet is where it should be, from its status alone (Flagger's rules and texts)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

_EPOCH = datetime.fromtimestamp(0, UTC)


class Readiness(msgspec.Struct, frozen=True):
    """`text` says what is missing, empty when ready. Not `retriable`: waiting longer will not help."""

    text: str = ""
    retriable: bool = True

    @property
    def ready(self) -> bool:
        return not self.text


READY = Readiness()


def deployment_readiness(deployment: Mapping[str, Any], *, deadline: int, threshold: int, now: datetime) -> Readiness:
    """Judge a Deployment.

    `deadline`: seconds for which too few replicas may be available; `threshold`: percent of the updated replicas that
    have to be. The Deployment's own progress deadline counts as well.
    """
    metadata, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    if metadata.get("generation", 0) > status.get("observedGeneration", 0):
        return Readiness("waiting for rollout to finish: observed deployment generation less than desired generation")
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    progressing = conditions.get("Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Readiness(f'deployment "{metadata["name"]}" exceeded its progress deadline', retriable=False)
    retriable = progressing is None or not _unavailable_for(conditions.get("Available"), deadline, now)
    return Readiness(_missing(spec, status, threshold), retriable)


def daemonset_readiness(
    daemonset: Mapping[str, Any], *, deadline: int, threshold: int, since: datetime | None, now: datetime
) -> Readiness:
    """Judge a DaemonSet. `since`: when the Canary last moved, from which the deadline (seconds) counts."""
    metadata, status = daemonset["metadata"], daemonset.get("status") or {}
    if metadata.get("generation", 0) > status.get("observedGeneration", 0):
        return Readiness("waiting for rollout to finish: observed daemonset generation less than desired generation")
    wanted = status.get("desiredNumberScheduled") or 0
    updated, available = status.get("updatedNumberScheduled") or 0, status.get("numberAvailable") or 0
    enough = int(wanted * threshold / 100)
    if updated >= wanted and available >= enough:
        return READY
    if since is not None and since + timedelta(seconds=deadline) < now:
        return Readiness(f"exceeded its progressDeadlineSeconds: {deadline}", retriable=False)
    if updated < wanted:
        return Readiness(f"waiting for rollout to finish: {updated} out of {wanted} new pods have been updated")
    return Readiness(
        f"waiting for rollout to finish: {available} of {enough} "
        f"(readyThreshold {threshold}%) updated pods are available"
    )


def _missing(spec: Mapping[str, Any], status: Mapping[str, Any], threshold: int) -> str:
    updated = status.get("updatedReplicas") or 0
    wanted = spec.get("replicas", 1)
    total = status.get("replicas") or 0
    available = status.get("availableReplicas") or 0
    enough = int(updated * threshold / 100)
    if updated < wanted:
        return f"waiting for rollout to finish: {updated} out of {wanted} new replicas have been updated"
    if total > updated:
        return f"waiting for rollout to finish: {total - updated} old replicas are pending termination"
    if available < enough:
        return (
            f"waiting for rollout to finish: {available} of {enough} "
            f"(readyThreshold {threshold}%) updated replicas are available"
        )
    return ""


def _unavailable_for(condition: Mapping[str, Any] | None, deadline: int, now: datetime) -> bool:
    if condition is None or condition.get("status") != "False":
        return False
    if condition.get("reason") != "MinimumReplicasUnavailable":
        return False
    since = parse_time(condition.get("lastUpdateTime")) or _EPOCH
    return since + timedelta(seconds=deadline) < now


def parse_time(text: object) -> datetime | None:
    """A Kubernetes timestamp, or None if there is none."""
    if not isinstance(text, str) or not text:
        return None
    return datetime.fromisoformat(text)
