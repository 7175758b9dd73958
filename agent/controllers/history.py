"""Keeps the change log in the cluster, so that it outlives the Pod: read when leading begins, written now and then."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from agent.adapters.kube.errors import ApiError
from agent.controllers.changelog import ChangeLog
from agent.core.packing import packed, unpacked
from agent.errors import WeirError
from agent.telemetry.logging import named

SETTLE = 5.0
"""Seconds between the first new record and the write: what one commit changes is one write."""
PAUSE = 60.0
"""Seconds from a write to the next one, however much changes."""
_AGAIN = 600.0
_LAST = 5.0
_UNPACKED = 16 * 1024 * 1024


class Blob(Protocol):
    """Where the history is."""

    name: str

    async def read(self) -> bytes:
        """What was written last, nothing if nobody has. Raises ApiError."""

    async def write(self, data: bytes) -> None:
        """Replace it. Raises ApiError."""


class History:
    """`run` is a service for as long as this process leads. The log waits for it before anything is compared."""

    def __init__(self, log: ChangeLog, blob: Blob, *, limit: int, settle: float = SETTLE, pause: float = PAUSE) -> None:
        self._log = log
        self._blob = blob
        self._limit = limit
        self._settle = settle
        self._pause = pause
        log.restored.clear()

    async def run(self) -> None:
        """Read, then write whenever there is something new. What cannot be kept keeps nothing from working."""
        await self._read()
        try:
            while True:
                await self._log.news.wait()
                await asyncio.sleep(self._settle)
                await asyncio.sleep(self._pause if await self._write() else _AGAIN)
        finally:
            if self._log.news.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._write(), _LAST)

    async def _read(self) -> None:
        try:
            data = await self._blob.read()
            self._log.restore(await asyncio.to_thread(unpacked, data, _UNPACKED))
        except WeirError as error:
            self._tell("is not known over a restart", error)
        finally:
            self._log.restored.set()

    async def _write(self) -> bool:
        self._log.news.clear()
        lines = self._log.lines()
        try:
            await self._blob.write(await asyncio.to_thread(packed, lines, self._limit))
        except ApiError as error:
            self._log.news.set()
            self._tell("is not kept over the end of this Pod", error)
            return False
        return True

    def _tell(self, what: str, error: WeirError) -> None:
        named("history").warning(f"the history of changes {what}", configMap=self._blob.name, error=error.message)
