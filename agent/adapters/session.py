"""An HTTP session that lasts as long as its owner is open."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import aiohttp


class SessionOwner:
    """Base of clients that ask many servers over one session: `async with Client() as client:`.

    No cookies are kept: one may be a log-in, and the next request may be for another tenant.
    `options` are those of `aiohttp.ClientSession`; `timeout` is that of a request in seconds, None for aiohttp's own.
    """

    def __init__(self, *, timeout: float | None = None, **options: Any) -> None:
        self._options = options if timeout is None else {**options, "timeout": aiohttp.ClientTimeout(total=timeout)}
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._opened = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            # Closing takes its time: who asks meanwhile has to find it closed.
            session, self._opened = self._opened, None
            await session.close()

    @property
    def is_open(self) -> bool:
        """Whether requests can be made."""
        return self._opened is not None

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._opened is not None, f"{type(self).__name__} is not open"
        return self._opened
