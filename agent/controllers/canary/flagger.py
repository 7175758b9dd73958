"""Looks for a running Flagger, now and then and for all Canaries at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.resource import DEPLOYMENTS
from agent.api.canary import Canary
from agent.core.rollout import flagger
from agent.telemetry.logging import named

_EVERY = 30.0
_WHILE_RUNNING = 5.0
"""Seconds between two looks: where one was found, its end is waited for."""


class FlaggerWatch:
    """Remembers what was found. `namespace` is the only one that may be looked into, None for all of them."""

    def __init__(self, client: KubeClient, namespace: str | None, clock: Callable[[], float]) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: tuple[dict[str, Any], ...] = ()
        self._again = 0.0

    async def refusal(self, canary: Canary) -> str:
        """Why the Canary has to be left to Flagger, or nothing. Raises ApiError if the cluster cannot be asked."""
        async with self._lock:
            if self._clock() >= self._again:
                self._found = await self._look()
                self._again = self._clock() + (_WHILE_RUNNING if self._found else _EVERY)
        return flagger.refusal(canary, self._found)

    async def _look(self) -> tuple[dict[str, Any], ...]:
        try:
            pages = [
                await self._client.list(DEPLOYMENTS, self._namespace, label_selector=label) for label in flagger.LABELS
            ]
            named_so = f"metadata.name={flagger.NAME}"
            pages.append(await self._client.list(DEPLOYMENTS, self._namespace, field_selector=named_so))
        except Forbidden as error:
            named("canary").info("cannot see whether Flagger runs", error=error.message)
            return ()
        unique = {item["metadata"]["uid"]: item for page in pages for item in page.items}
        return tuple(dict(found) for found in flagger.running(unique.values()))
