"""From the arguments to what does it."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Final

from agent.console import acting, looking, models
from agent.console.session import Session, connected

Performer = Callable[[Session, argparse.Namespace], Awaitable[int]]

_ROLLOUT: Final[dict[str, Performer]] = {
    "status": looking.status,
    "explain": looking.explain,
    "history": looking.past,
    "ledger": looking.ledger,
}
_OTHERS: Final[dict[str, Performer]] = {"changes": models.changes, "models": models.models}


async def perform(chosen: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit status. Raises WeirError."""
    performer = _ROLLOUT.get(chosen.action, acting.act) if chosen.command == "rollout" else _OTHERS[chosen.command]
    async with connected(chosen) as session:
        return await performer(session, chosen)
