"""Random delays that bring races out: `WEIR_SHAKE=test:7`, or `agent`, `answers` or `watches`, for one seed.

A test that looks at a state which passes by itself fails when the test is slow; one that takes something for done which
the agent does a moment later fails when the agent is. On a machine that does nothing else both are rare, which is no
help to those who have to find out why one run in fifty failed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from agent.adapters.kube import transport
from agent.adapters.kube.transport import Transport
from testbed.kube import Admin

SIDES = ("agent", "answers", "watches", "test")
LONGEST = 1.5
"""Seconds. Longer than most passes take, and far shorter than what tests wait for."""


def shake(asked: str, patch: pytest.MonkeyPatch) -> None:
    """Delay the requests of one side to the API server. `asked` is `SIDE:SEED`.

    With `answers` the agent hears late of what the API server has done, with `watches` of what others have.

    Raises ValueError for anything else.
    """
    side, _, seed = asked.partition(":")
    if side not in SIDES:
        raise ValueError(f"WEIR_SHAKE is {asked!r}: it must be one of {SIDES}, a colon and a number")
    dice = random.Random(int(seed))
    if side == "test":
        plain = Admin.request

        async def slow_request(self: Admin, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(_delay(dice))
            return await plain(self, *args, **kwargs)

        patch.setattr(Admin, "request", slow_request)
    elif side == "answers":
        attempt = Transport._attempt

        async def late_answer(self: Transport, *args: Any, **kwargs: Any) -> bytes:
            try:
                return await attempt(self, *args, **kwargs)
            finally:
                await asyncio.sleep(_delay(dice))

        patch.setattr(Transport, "_attempt", late_answer)
    elif side == "watches":
        chunks = transport._chunks

        async def late_chunks(*args: Any, **kwargs: Any) -> AsyncGenerator[bytes, None]:
            async with aclosing(chunks(*args, **kwargs)) as arriving:
                async for chunk in arriving:
                    await asyncio.sleep(_delay(dice))
                    yield chunk

        patch.setattr(transport, "_chunks", late_chunks)
    else:
        sent = Transport._request

        @asynccontextmanager
        async def slow_call(self: Transport, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await asyncio.sleep(_delay(dice))
            async with sent(self, *args, **kwargs) as answer:
                yield answer

        patch.setattr(Transport, "_request", slow_call)


def _delay(dice: random.Random) -> float:
    """None for most requests, a long one for some, so that a run takes a few times as long and no more."""
    kind = dice.random()
    if kind < 0.7:
        return 0.0
    return dice.uniform(0.0, 0.2) if kind < 0.9 else dice.uniform(0.2, LONGEST)
