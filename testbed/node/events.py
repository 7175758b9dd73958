"""Events about Pods, so that ``kubectl describe`` tells what the node met (core/v1 Event, best effort)."""

import asyncio
import time

import aiohttp

from testbed.node.kubeapi import ApiError, KubeApi, Obj
from testbed.node.status import timestamp, utc_now

_REPEAT_SECONDS = 60.0
_LIMIT = 1000


class EventRecorder:
    """Queues Events and writes them in the background; the same one at most once a minute."""

    def __init__(self, api: KubeApi, node: str) -> None:
        self._api = api
        self._node = node
        self._queue: asyncio.Queue[Obj] = asyncio.Queue(_LIMIT)
        self._seen: dict[tuple[str, str, str], float] = {}

    def record(self, pod: Obj, reason: str, message: str) -> None:
        """Queue a Warning about a Pod; dropped when it is a repetition or the queue is full."""
        metadata = pod["metadata"]
        key, now = (metadata["uid"], reason, message), time.monotonic()
        if now - self._seen.get(key, float("-inf")) < _REPEAT_SECONDS or self._queue.full():
            return
        self._seen = {k: at for k, at in self._seen.items() if now - at < _REPEAT_SECONDS} | {key: now}
        moment = timestamp(utc_now())
        self._queue.put_nowait(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": metadata["namespace"]},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
                "type": "Warning",
                "reason": reason,
                "message": message[:1000],
                "source": {"component": "process-node", "host": self._node},
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "count": 1,
            }
        )

    async def run(self) -> None:
        """Write queued Events for ever; one that is refused is dropped (its namespace may be going away)."""
        while True:
            event = await self._queue.get()
            try:
                await self._api.create(f"/api/v1/namespaces/{event['metadata']['namespace']}/events", event)
            except (ApiError, aiohttp.ClientError, TimeoutError):
                continue
