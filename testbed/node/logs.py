"""The part of the kubelet's API that the API server asks for `pods/log`."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from testbed.certificates import Authority

_FOLLOW_SECONDS = 0.2
_UNKNOWN = frozenset({"sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes"})


class LogServer:
    """Answers `/containerLogs/<namespace>/<pod>/<container>` on a free port of loopback, to anybody there.

    `log_path` names the file of a container. Of the query, `tailLines` and `follow` are known; what would need the time
    of each line, or the end of each run, is refused with status 400.
    """

    def __init__(self, folder: Path, log_path: Callable[[str, str, str], Path]) -> None:
        self.port = 0
        self._folder = folder
        self._log_path = log_path
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        pair = await asyncio.to_thread(lambda: Authority(self._folder).issue("kubelet"))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        refused = _UNKNOWN & {name for name, value in request.query.items() if value not in ("", "false")}
        if refused:
            raise web.HTTPBadRequest(text=f"the process node does not know {', '.join(sorted(refused))}")
        path = self._log_path(
            request.match_info["namespace"], request.match_info["pod"], request.match_info["container"]
        )
        if not path.is_file():
            raise web.HTTPNotFound(text=f"container {request.match_info['container']} has not written anything yet")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        with path.open("rb") as file:
            await response.write(_tail(file.readlines(), request.query.get("tailLines")))
            while request.query.get("follow") == "true":
                await asyncio.sleep(_FOLLOW_SECONDS)
                await response.write(file.read())
        await response.write_eof()
        return response


def _tail(lines: list[bytes], count: str | None) -> bytes:
    return b"".join(lines if count is None else lines[max(0, len(lines) - int(count)) :])
