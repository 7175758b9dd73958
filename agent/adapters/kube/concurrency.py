"""How many requests may be in flight at once: as many as the API server has time for.

It begins with the most that is allowed. A refusal for lack of time (429) or an answer that took long halves the number,
at most once in a while, since all that was in flight then tells the same; each good answer after that adds a little.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

SLOW_SECONDS = 5.0
"""An answer that took so long says that the API server has more to do than it can."""
LEAST = 2
_SAME_TROUBLE = 1.0  # seconds


class AdaptiveLimit:
    """Admits in the order in which it is asked."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowed = float(most)
        self._most = most
        self._clock = clock
        self._halved = float("-inf")
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it while the block runs."""
        if self._waiting or self._inside >= int(self.allowed):
            await self._turn()
        else:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._admit()

    def answered(self, code: int, seconds: float) -> None:
        """An answer with that HTTP status came after so many seconds."""
        if code != 429 and seconds < SLOW_SECONDS:
            self.allowed = min(self.allowed + 1.0 / self.allowed, self._most)
            self._admit()
        elif self._clock() - self._halved > _SAME_TROUBLE:
            self._halved = self._clock()
            self.allowed = max(self.allowed / 2, min(LEAST, self._most))

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            else:  # the place came in the same moment
                self._inside -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._inside < int(self.allowed):
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
