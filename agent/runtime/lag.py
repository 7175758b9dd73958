"""How late the loop is: a task that sleeps and measures how much longer it slept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LagProbe:
    """Exports the loop's lag in seconds through a callback, every `interval` seconds while it runs."""

    def __init__(self, export: Callable[[float], None], *, interval: float = 0.5) -> None:
        self.last = 0.0
        self._export = export
        self._interval = interval

    async def run(self) -> None:
        """Probe until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await asyncio.sleep(self._interval)
            self.last = max(loop.time() - started - self._interval, 0.0)
            self._export(self.last)
