"""Runs the installed git for a server, and ends it with the connection it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.asynccontextmanager
async def git_process(
    *arguments: str, home: Path, environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`git <arguments>` with pipes on all three streams; killed with its children if it is still there at the end."""
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _PATH, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **environment},
            start_new_session=True,
        )
    )
    try:
        # A spawn that is cancelled half-way never finishes (Python 3.11 waits for pipes that were not connected yet).
        process = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await _kill(await spawning)
        raise
    try:
        yield process
    except BaseException:
        await _kill(process)
        raise
    await process.wait()


async def _kill(process: asyncio.subprocess.Process) -> None:
    # Not process.kill(): it would reap a child that has just ended, which asyncio then looks for in vain.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
