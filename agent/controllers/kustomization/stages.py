"""The wait between two stages of an apply: what a stage defines has to be served before the next one names it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from agent.adapters.kube.resource import Resource
from agent.adapters.kube.target import Target
from agent.core.health import Health, Status, status_of
from agent.core.health.summary import unfinished, verdict
from agent.core.objects import ObjectKey

STAGE_TIMEOUT = 60.0  # seconds that definitions and classes get to become ready
_POLL = 0.25


async def until(condition: Callable[[], Awaitable[bool]], timeout: float = STAGE_TIMEOUT) -> bool:
    """Ask again and again; False if the condition does not hold within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not await condition():  # noqa: ASYNC110 - the condition lives in the API server
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return False
    return True


async def await_current(target: Target, objects: Mapping[ObjectKey, Resource]) -> str:
    """Wait until all objects are current. Returns why they are not going to be, as Flux words it, or nothing."""
    healths = {key: Health(Status.UNKNOWN) for key in objects}

    async def settled() -> bool:
        for key, health in healths.items():
            if health.status is not Status.CURRENT:
                live = await target.client.find(objects[key], key.namespace, key.name)
                healths[key] = status_of(live, datetime.now(UTC)) if live else Health(Status.NOT_FOUND)
        return verdict(healths, fail_fast=False) != ""

    if not await until(settled):
        return unfinished(healths)
    return verdict(healths, fail_fast=False) or ""
