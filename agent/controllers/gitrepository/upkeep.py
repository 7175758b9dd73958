"""Keeping the mirrors small, beside the passes."""

from __future__ import annotations

import asyncio

from agent.adapters.git import GitMirrors
from agent.errors import OperationError
from agent.telemetry.logging import named

_SECONDS = 300.0


async def keep_tidy(mirrors: GitMirrors) -> None:
    """Tidy the mirrors every few minutes, until cancelled."""
    while True:
        await asyncio.sleep(_SECONDS)
        try:
            await mirrors.maintain(_SECONDS)
        except OperationError as error:
            named("weir").info("tidying the mirrors failed", error=error)
