"""A reverse proxy before the API server that loses answers, refuses requests and cuts streams, as told."""

from __future__ import annotations

import enum
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from testbed.controlplane import ControlPlane

_HOP = frozenset({"transfer-encoding", "connection", "content-length", "host", "keep-alive"})


class Fault(enum.Enum):
    """What happens to one request."""

    LOSE_ANSWER = "done, but the connection breaks before the answer"
    DROP = "the connection breaks before anything is done"
    ERROR = "answered with 500, not done"
    BUSY = "answered with 429, not done"
    CUT = "the answer breaks off in the middle"


@dataclass(frozen=True)
class Request:
    """One request, before it is forwarded."""

    method: str
    path: str
    dry_run: bool
    watch: bool

    @property
    def writes(self) -> bool:
        """Whether it would change the cluster."""
        return self.method != "GET" and not self.dry_run


Rule = Callable[[Request], Fault | None]
Witness = Callable[[bytes], bool]


def no_fault(_request: Request) -> Fault | None:
    """A good day."""
    return None


def nobody(_answer: bytes) -> bool:
    """Nobody looks."""
    return False


class FaultyApi:
    """`rule` decides about each request; `kubeconfig` leads here; `faults` counts what was done.

    `witness` sees the answer to each write before the client does, and the client never does if it says so.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.rule: Rule = no_fault
        self.witness: Witness = nobody
        self.faults: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.kubeconfig = Path()
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward, or not."""
        seen = Request(request.method, request.path, "dryRun" in request.query, "watch" in request.query)
        fault = self.rule(seen)
        if fault is not None:
            self.faults[fault] += 1
        match fault:
            case Fault.DROP:
                return _broken(request)
            case Fault.ERROR:
                raise web.HTTPInternalServerError(text="etcdserver: request timed out")
            case Fault.BUSY:
                raise web.HTTPTooManyRequests(text="too busy", headers={"Retry-After": "1"})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        timeout = aiohttp.ClientTimeout(total=None)
        body = await request.read() or None
        async with self._session.request(
            request.method, request.raw_path, data=body, headers=headers, timeout=timeout
        ) as answer:
            if seen.writes and self.witness(await answer.read()):
                return _broken(request)
            if fault is Fault.LOSE_ANSWER:
                await answer.read()
                return _broken(request)
            return await _passed_on(request, answer, cut=fault is Fault.CUT)


async def _passed_on(request: web.Request, answer: aiohttp.ClientResponse, *, cut: bool) -> web.StreamResponse:
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    async for chunk in _chunks(answer):
        if cut:
            await response.write(chunk[: len(chunk) // 2])
            return _broken(request)
        await response.write(chunk)
    await response.write_eof()
    return response


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes, or as the witness had it."""
    if answer.content.at_eof():
        yield await answer.read()
    async for chunk in answer.content.iter_any():
        yield chunk


def _broken(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


@asynccontextmanager
async def faulty_api(plane: ControlPlane, folder: Path) -> AsyncIterator[FaultyApi]:
    """Serve on a free port of loopback."""
    trust = ssl.create_default_context(cafile=str(plane.ca_file))
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    async with aiohttp.ClientSession(plane.url, connector=connector, auto_decompress=False) as session:
        api = FaultyApi(session)
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", api.handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.2, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            api.kubeconfig = folder / "faulty-kubeconfig"
            api.kubeconfig.touch(mode=0o600)
            port = runner.addresses[0][1]
            api.kubeconfig.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{port}", plane.admin_token)))
            yield api
        finally:
            await runner.cleanup()


def _kubeconfig(server: str, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "faulty", "cluster": {"server": server}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "user"}}],
        "current-context": "faulty",
    }
