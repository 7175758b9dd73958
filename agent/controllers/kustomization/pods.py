"""Looks at the Pods behind a workload that is not ready: a crash loop is no reason to wait until the timeout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.podnews import Hearing
from agent.adapters.kube.resource import PODS, REPLICA_SETS
from agent.core.health import Health
from agent.core.health.pods import current_replica_set, selector_of, stalled_by
from agent.core.objects import Manifest, ObjectKey, split_api_version


async def with_pods(client: KubeClient, key: ObjectKey, workload: Manifest, health: Health, hearing: Hearing) -> Health:
    """`health` of a workload that is on its way, or Failed if its Pods will not let it get there.

    Pods are read with the rights of whoever applies; where those do not suffice, `health` stands. The one that is
    `hearing` gets the key when the Pods that matter move.
    """
    kind, group = workload["kind"], split_api_version(workload["apiVersion"])[0]
    selector = selector_of(workload)
    if group != "apps" or kind not in ("Deployment", "ReplicaSet", "StatefulSet") or not selector:
        return health
    namespace = workload["metadata"]["namespace"]
    try:
        owner: dict[str, Any] | None = workload
        if kind == "Deployment":
            sets = await client.list(REPLICA_SETS, namespace, label_selector=selector, metadata_only=True)
            owner = current_replica_set(workload, sets.items)
        if owner is None:
            hearing.forget(key)  # the Deployment changes when it gets one
            return health
        await hearing.follow(key, namespace, owner["metadata"]["uid"])
        pods = await client.list(PODS, namespace, label_selector=selector)
    except ApiError:
        hearing.forget(key, unknown=True)
        return health
    return stalled_by(workload, owner, pods.items, datetime.now(UTC)) or health
