"""Core/v1 Events, which `kubectl describe` and `flux events` show."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import EVENTS

EventType: TypeAlias = Literal["Normal", "Warning"]

MESSAGE_LIMIT = 1024
"""Characters; the API server refuses longer messages."""
_NAME_LIMIT = 253 - 18
"""Room for the time stamp behind the name of the object."""
_REMEMBERED = 4096
"""Events that may still repeat themselves; as many as client-go remembers."""
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


class CoreEvents:
    """Writes Events. One that says the same again is counted in the Event that is there, as client-go does it."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._told: OrderedDict[bytes, tuple[str, int]] = OrderedDict()

    async def create_event(
        self,
        regarding: Mapping[str, str],
        *,
        event_type: EventType,
        reason: str,
        message: str,
        component: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Record an Event about an object reference; see `event_object`. Raises ApiError."""
        about = [regarding.get(part, "") for part in ("apiVersion", "kind", "namespace", "name", "uid")]
        # a message may be a list of a thousand objects, and thousands of events are remembered
        same = "\0".join([*about, event_type, reason, message, component])
        key, now = hashlib.sha256(same.encode()).digest(), dt.datetime.now(dt.UTC)
        if await self._counted(key, _namespace(regarding), now, annotations or {}):
            return
        event = event_object(
            regarding,
            event_type=event_type,
            reason=reason,
            message=message,
            component=component,
            annotations=annotations or {},
            now=now,
        )
        await self._client.create(EVENTS, _namespace(regarding), event)
        self._told[key] = (event["metadata"]["name"], 1)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def _counted(self, key: bytes, namespace: str, now: dt.datetime, annotations: Mapping[str, str]) -> bool:
        """True if the Event was there; it may have expired, or may not be changed."""
        told = self._told.pop(key, None)
        if told is None:
            return False
        name, count = told
        again = {
            "count": count + 1,
            "lastTimestamp": now.strftime(_STAMP),
            "metadata": {"annotations": dict(annotations)},
        }
        try:
            await self._client.merge_patch(EVENTS, namespace, name, again)
        except ApiError:
            return False
        self._told[key] = (name, count + 1)
        return True


def event_object(
    regarding: Mapping[str, str],
    *,
    event_type: EventType,
    reason: str,
    message: str,
    component: str,
    annotations: Mapping[str, str],
    now: dt.datetime,
) -> dict[str, Any]:
    """An Event about `regarding` (apiVersion, kind, namespace, name, uid, resourceVersion) at `now` (UTC).

    As client-go does it, the name carries the time, and events of cluster-wide objects live in "default".
    """
    stamp = now.strftime(_STAMP)
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{regarding['name'][:_NAME_LIMIT]}.{int(now.timestamp() * 1e9):x}",
            "namespace": _namespace(regarding),
            "annotations": dict(annotations),
        },
        "involvedObject": dict(regarding),
        "type": event_type,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _namespace(regarding: Mapping[str, str]) -> str:
    return regarding.get("namespace") or "default"
