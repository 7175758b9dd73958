"""The lag probe measures a loop that something blocks."""

from __future__ import annotations

import asyncio
import time

from agent.runtime.lag import LagProbe


async def test_a_blocked_loop_shows_as_lag() -> None:
    seen: list[float] = []
    exported = asyncio.Event()

    def export(seconds: float) -> None:
        seen.append(seconds)
        exported.set()

    probe = LagProbe(export, interval=0.01)
    task = asyncio.create_task(probe.run())
    async with asyncio.timeout(30):
        await exported.wait()
        seen.clear()
        exported.clear()
        # A step of the probe is scheduled by now or soon; blocking delays it.
        time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
        await exported.wait()
    task.cancel()
    await asyncio.wait({task})
    assert seen[0] > 0.1
    assert probe.last == seen[-1]
