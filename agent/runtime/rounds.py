"""Looks at each of many things whenever it is due, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    """Something with the time of the next look, by the clock of the rounds. Whoever looks sets the time after it."""

    due: float


K = TypeVar("K", bound=Hashable)
D = TypeVar("D", bound=Due)


class Rounds(Generic[K, D]):
    """`things` may change at any time; what was replaced while others were looked at is not looked at any more.

    While there is nothing, the next look is `idle` seconds away.
    """

    def __init__(
        self,
        things: Mapping[K, D],
        look: Callable[[K, D], Awaitable[None]],
        *,
        idle: float,
        clock: Callable[[], float],
    ) -> None:
        self._things = things
        self._look = look
        self._idle = idle
        self._clock = clock
        self._news = asyncio.Event()

    def news(self) -> None:
        """Something came, or is due earlier than it was."""
        self._news.set()

    async def run(self) -> None:
        """Looks at whatever is due, for ever."""
        while True:
            self._news.clear()
            pause = await self.look()
            try:
                async with asyncio.timeout(max(pause, 0.05)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def look(self) -> float:
        """Look once at whatever is due. Returns for how many seconds nothing is."""
        now = self._clock()
        for key, thing in sorted(self._things.items(), key=lambda item: item[1].due):
            if thing.due <= now and self._things.get(key) is thing:
                await self._look(key, thing)
        soonest = min((thing.due for thing in self._things.values()), default=now + self._idle)
        return soonest - self._clock()
