"""How many requests a client may send: a token bucket, as client-go's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in a second on average, and so many at once after a silence. A negative rate is no limit."""

    per_second: float
    burst: int


class TokenBucket:
    """Hands out the right to send, in the order in which it is asked for."""

    def __init__(self, limit: RateLimit, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._filled = clock()
        self._lifted = asyncio.Event()

    def lift(self) -> None:
        """There is no limit any more, also not for those who wait."""
        self._lifted.set()

    def reserve(self) -> float:
        """Take a token; returns the seconds after which it counts, 0 if it does at once."""
        if self._limit.per_second < 0 or self._lifted.is_set():
            return 0.0
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled) * self._limit.per_second, self._limit.burst)
        self._filled = now
        self._tokens -= 1
        return max(-self._tokens / self._limit.per_second, 0.0)

    async def wait(self) -> None:
        """Wait for a token."""
        delay = self.reserve()
        if delay:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._lifted.wait()
