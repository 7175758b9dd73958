"""What the Pods of a workload say about it.

kstatus calls a ReplicaSet or a StatefulSet failed when one of its Pods is. Weir does so for a Deployment as well, by
the Pods of its newest ReplicaSet: Flux waits for `progressDeadlineSeconds` there. Since a Deployment may crash a few
times at the start and then be well (its database came up later), it gets some restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from agent.core.health.status import Health, Status, failed
from agent.core.health.workloads import condition_of, crash_looping, pod
from agent.core.objects import Manifest, annotations_of

RESTARTS = 3
"""How often a container of a Deployment may have been restarted before its crash loop counts."""
_REVISION = "deployment.kubernetes.io/revision"


def selector_of(workload: Manifest) -> str:
    """The label selector of a workload as the API takes it; empty if it has none."""
    selector = (workload.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    forms = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
    parts += [
        forms[term["operator"]].format(term["key"], ",".join(term.get("values") or ()))
        for term in selector.get("matchExpressions") or ()
    ]
    return ",".join(parts)


def current_replica_set(deployment: Manifest, sets: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The ReplicaSet of a Deployment's newest revision, None if there is none yet.

    The Pods of older ones are on their way out.
    """
    revision = annotations_of(deployment).get(_REVISION)
    if not revision:
        return None
    found = (each for each in sets if _owns(deployment, each) and annotations_of(each).get(_REVISION) == revision)
    newest = next(found, None)
    return dict(newest) if newest else None


def stalled_by(
    workload: Manifest, owner: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], now: datetime
) -> Health | None:
    """Failed if some of `owner`'s Pods are; None otherwise.

    A Pod that is being deleted, or that no node has room for (an autoscaler may help), does not count.
    """
    patience = RESTARTS if workload["kind"] == "Deployment" else 0
    count = sum(_owns(owner, each) and _is_lost(dict(each), patience, now) for each in pods)
    return failed(f"{count} pods have failed") if count else None


def _owns(owner: Mapping[str, Any], each: Mapping[str, Any]) -> bool:
    references = each["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner["metadata"]["uid"] for reference in references)


def _is_lost(manifest: Manifest, patience: int, now: datetime) -> bool:
    if manifest["metadata"].get("deletionTimestamp"):
        return False
    scheduled = condition_of(manifest, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return False
    restarts = max((int(each.get("restartCount") or 0) for each in crash_looping(manifest)), default=0)
    return pod(manifest, now).status is Status.FAILED and restarts >= patience
