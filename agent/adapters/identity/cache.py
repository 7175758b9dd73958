"""Tokens that were issued, until most of their life is over."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from agent.telemetry.tokencache import Asker, TokenCacheMetrics

_USED_SHARE = 0.8  # of a token's life; whoever gets one then still has time to use it


class Expiring(Protocol):
    """What is good for a while."""

    @property
    def expires(self) -> float:
        """When it ends, in seconds since the epoch."""


T = TypeVar("T", bound=Expiring)


@dataclasses.dataclass(slots=True)
class _Slot(Generic[T]):
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    value: T | None = None
    until: float = 0.0


class TokenCache(Generic[T]):
    """At most `size` of them, each for `longest` seconds; those used longest ago go first, and 0 keeps none.

    Who asks for the same one waits for one request.
    """

    def __init__(self, size: int, longest: float, metrics: TokenCacheMetrics) -> None:
        self._size = size
        self._longest = longest
        self._metrics = metrics
        self._slots: OrderedDict[str, _Slot[T]] = OrderedDict()

    async def get(self, key: str, asker: Asker, issue: Callable[[], Awaitable[T]]) -> T:
        """The token for `key`, or a new one. What `issue` raises is passed on and not remembered."""
        if self._size == 0:
            return await issue()
        slot = self._slots.setdefault(key, _Slot())
        self._slots.move_to_end(key)
        self._make_room()
        async with slot.lock:
            hit = slot.value is not None and time.time() < slot.until
            self._metrics.found(asker, hit=hit)
            if slot.value is None or not hit:
                slot.value = await self._issued(key, slot, issue)
            self._metrics.ended(good=True)
            return slot.value

    async def _issued(self, key: str, slot: _Slot[T], issue: Callable[[], Awaitable[T]]) -> T:
        now = time.time()
        try:
            value = await issue()
        except BaseException:
            self._metrics.ended(good=False)
            raise
        slot.until = now + min((value.expires - now) * _USED_SHARE, self._longest)
        if slot.value is None and self._slots.get(key) is slot:
            self._metrics.kept()
        return value

    def _make_room(self) -> None:
        while len(self._slots) > self._size:
            _, gone = self._slots.popitem(last=False)
            if gone.value is not None:
                self._metrics.evicted()
