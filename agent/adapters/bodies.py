"""Reading what a server answers, whole."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader


async def whole(content: StreamReader, limit: int) -> bytes:
    """The body up to `limit` bytes, however many pieces it comes in: one `read` is over with the first of them."""
    try:
        return await content.readexactly(limit)
    except asyncio.IncompleteReadError as error:
        return error.partial
