"""A program that serves HTTP on loopback, for as long as a block runs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from testbed.processes import start, until


@asynccontextmanager
async def web_server(
    argv: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    probe: str,
    timeout: float,
    status: int = 200,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session to talk to it with, once the address `probe` answers `status`, for which it has `timeout` seconds.

    Raises ProcessError.
    """
    process = await start(argv, name=name, log=log, env=env)
    try:
        async with aiohttp.ClientSession() as http:

            async def ready() -> bool:
                try:
                    async with http.get(probe) as response:
                        return response.status == status
                except aiohttp.ClientError:
                    return False

            await until(ready, timeout=timeout, what=f"{name} answers", process=process)
            yield http
    finally:
        await process.stop(grace=2)
