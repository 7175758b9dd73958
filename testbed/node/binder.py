"""Binding pending Pods to the one node there is, instead of a scheduler."""

import asyncio
import logging

import aiohttp

from testbed.node.kubeapi import ApiError, EventType, KubeApi, Obj
from testbed.node.status import timestamp, utc_now

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0


class Binder:
    """Binds Pods of the default scheduler whose nodeSelector the node's labels satisfy; others wait."""

    def __init__(self, api: KubeApi, node: str) -> None:
        self._api = api
        self._node = node
        self._pending: dict[str, Obj] = {}
        self._wake = asyncio.Event()

    def note(self, kind: EventType, pod: Obj) -> None:
        """Take in one event about a Pod without nodeName."""
        uid = pod["metadata"]["uid"]
        if kind == "DELETED" or not _wants_scheduling(pod):
            self.forget(uid)
            return
        fresh = uid not in self._pending
        self._pending[uid] = pod
        if fresh:
            self._wake.set()

    def forget(self, uid: str) -> None:
        """The Pod is bound or gone."""
        self._pending.pop(uid, None)

    async def run(self) -> None:
        """Bind for ever; a Pod that does not fit is looked at again every two seconds."""
        while True:
            try:
                await self._bind_all()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                _log.debug("binding: %s", error)
            self._wake.clear()
            try:
                async with asyncio.timeout(_RETRY_SECONDS if self._pending else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _bind_all(self) -> None:
        if not self._pending:
            return
        labels = (await self._api.get(f"/api/v1/nodes/{self._node}"))["metadata"].get("labels") or {}
        for uid, pod in list(self._pending.items()):
            selector = pod["spec"].get("nodeSelector") or {}
            try:
                if all(labels.get(key) == value for key, value in selector.items()):
                    await self._bind(pod)
                    self.forget(uid)
                else:
                    await self._refuse(pod)
            except ApiError as error:
                if error.status not in {404, 409}:  # gone, or bound meanwhile: the watch will say so
                    raise

    async def _bind(self, pod: Obj) -> None:
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        await self._api.create(f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding", binding)

    async def _refuse(self, pod: Obj) -> None:
        conditions = {c["type"]: c for c in pod.get("status", {}).get("conditions") or []}
        if conditions.get("PodScheduled", {}).get("reason") == "Unschedulable":
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "lastTransitionTime": timestamp(utc_now()),
        }
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        await self._api.patch(path, {"status": {"conditions": [condition]}}, "strategic-merge-patch")


def _wants_scheduling(pod: Obj) -> bool:
    spec = pod["spec"]
    return (
        not pod["metadata"].get("deletionTimestamp")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
    )
