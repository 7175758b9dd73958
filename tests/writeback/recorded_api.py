"""A server that plays recorded exchanges: each request has to be the next one of the recording."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Exchange:
    """A request and its answer. `path` is with its query, as it goes over the wire."""

    method: str
    path: str
    status: int
    answer: Any
    body: Any = None


class RecordedApi:
    """`async with RecordedApi(exchanges) as api:`; at the end all of them must have happened."""

    def __init__(self, exchanges: Sequence[Exchange], headers: dict[str, str]) -> None:
        self._left = list(exchanges)
        self._headers = headers
        self._surprises: list[str] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        if error is None:
            assert not self._surprises, self._surprises
            assert not self._left

    async def _answer(self, request: web.Request) -> web.Response:
        data = await request.read()
        if not self._left:
            self._surprises.append(f"{request.method} {request.raw_path}")
            return web.json_response({"message": "not in the recording"}, status=500)
        expected = self._left.pop(0)
        found = Exchange(request.method, request.raw_path, 0, None, json.loads(data) if data else None)
        if (found.method, found.path) != (expected.method, expected.path):
            self._surprises.append(f"{found.method} {found.path}, not {expected.method} {expected.path}")
        if expected.body is not None and found.body != expected.body:
            self._surprises.append(f"body {found.body}, not {expected.body}")
        for name, value in self._headers.items():
            if request.headers.get(name) != value:
                self._surprises.append(f"header {name}: {request.headers.get(name)}")
        return web.json_response(expected.answer, status=expected.status)
