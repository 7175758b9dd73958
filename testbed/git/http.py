"""Smart HTTP: aiohttp in front of the installed git's own `http-backend`, with counters and faults."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import enum
import ssl
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from aiohttp import web

from testbed.git.backend import git_process
from testbed.git.repository import GitRepository

_SHUTDOWN_SECONDS = 0.5


class Fault(enum.Enum):
    """What the server does instead of answering."""

    ERROR = "error"  # status 500
    HANG = "hang"  # reads the request, never answers
    HANG_TRANSFER = "hang transfer"  # answers the listing of references, never the transfer
    SILENT_PUSH = "silent push"  # does what a push asks for, and never says so
    DROP = "drop"  # closes the connection without an answer


@dataclasses.dataclass(frozen=True, slots=True)
class GitRequest:
    """One request as the server saw it; sizes in bytes of body."""

    method: str
    path: str
    service: str
    protocol: str
    status: int
    received: int
    sent: int


class GitHTTPServer:
    """Serves every `<name>.git` below `root` at `<base>/<name>.git`, with pushes allowed.

    `basic` is a (user, password) pair and `bearer` a token; with either set, requests without it get status 401.
    With `proxy`, a (user, password) pair too, it plays a proxy for plain http in front of itself.
    `fault` changes how all requests are met; `protocols`, when set, are the only values of the Git-Protocol header that
    reach git ("" alone leaves the oldest protocol). With `tls` (see `CertificateAuthority.server_context`) the scheme
    is https.
    """

    def __init__(
        self,
        root: Path,
        *,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
        proxy: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.root = root
        self.fault: Fault | None = None
        self.protocols: tuple[str, ...] | None = None
        self.hanging = 0  # requests that wait because of a fault
        self.requests: list[GitRequest] = []
        self.authorizations: set[str] = set()  # every value of that header that came, "" for none
        self.bearer = bearer
        self._basic = basic
        self._proxy = proxy
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._released = asyncio.Event()

    @property
    def base(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def url(self, name: str) -> str:
        """The clone address of a repository."""
        return f"{self.base}/{name}.git"

    def repository(self, name: str, *, initial_branch: str = "main") -> GitRepository:
        """Open or create the repository served under this name."""
        return GitRepository(self.root / f"{name}.git", initial_branch=initial_branch)

    def release(self) -> None:
        """Let go of the requests that hang, with status 503."""
        self._released.set()
        self._released = asyncio.Event()

    def transfers(self) -> list[GitRequest]:
        """The requests that were answered with objects (fetches), not with a listing."""
        return [request for request in self.requests if request.method == "POST" and request.service == "fetch"]

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def _authorised(self, request: web.Request) -> bool:
        if self._basic is None and self.bearer is None:
            return True
        given = request.headers.get("Authorization", "")
        accepted = set()
        if self._basic is not None:
            accepted.add(_basic_header(self._basic))
        if self.bearer is not None:
            accepted.add(f"Bearer {self.bearer}")
        return given in accepted

    async def _handle(self, request: web.Request) -> web.Response:
        body = await self._read(request)
        self.authorizations.add(request.headers.get("Authorization", ""))
        service = _service(request, body)
        try:
            response = await self._answer(request, service, body)
        except web.HTTPException as refusal:
            self._record(request, service, refusal.status, len(body), 0)
            raise
        # Before the answer is sent, so that a client that has it finds its request counted.
        self._record(request, service, response.status, len(body), response.content_length or 0)
        return response

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
        return bytes(body)

    def _record(self, request: web.Request, service: str, status: int, received: int, sent: int) -> None:
        protocol = request.headers.get("Git-Protocol", "")
        self.requests.append(GitRequest(request.method, request.path, service, protocol, status, received, sent))

    async def _answer(self, request: web.Request, service: str, body: bytes) -> web.Response:
        if self.fault is Fault.ERROR:
            raise web.HTTPInternalServerError(text="the server was told to fail\n")
        if self.fault is Fault.HANG or (self.fault is Fault.HANG_TRANSFER and service == "fetch"):
            await self._hang()
        if self.fault is Fault.DROP:
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable
        if self._proxy is not None and request.headers.get("Proxy-Authorization") != _basic_header(self._proxy):
            raise web.HTTPProxyAuthenticationRequired(headers={"Proxy-Authenticate": 'Basic realm="proxy"'})
        if not self._authorised(request):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="git"'})
        answer = await self._run_backend(request, body)
        if self.fault is Fault.SILENT_PUSH and service == "push":
            await self._hang()
        return answer

    async def _hang(self) -> NoReturn:
        self.hanging += 1
        try:
            await self._released.wait()
        finally:
            self.hanging -= 1
        raise web.HTTPServiceUnavailable

    async def _run_backend(self, request: web.Request, body: bytes) -> web.Response:
        async with git_process("http-backend", home=self.root, environment=self._environment(request, body)) as process:
            output, _ = await process.communicate(body)
        return _response(output)

    def _environment(self, request: web.Request, body: bytes) -> dict[str, str]:
        protocol = request.headers.get("Git-Protocol", "")
        return {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": protocol if self.protocols is None or protocol in self.protocols else "",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": "tester",
            "REMOTE_ADDR": "127.0.0.1",
        }


def _basic_header(credentials: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode()


def _service(request: web.Request, body: bytes) -> str:
    """`listing`, `fetch` or `push`, looking into the body for protocol version 2, where one path serves both."""
    if request.method != "POST":
        return "listing"
    if request.path.endswith("/git-receive-pack"):
        return "push"
    return "listing" if b"command=ls-refs" in body[:64] else "fetch"


def _response(output: bytes) -> web.Response:
    """Turn CGI output (header lines, empty line, body) into a response."""
    head, _, body = output.partition(b"\r\n\r\n")
    status, headers = 200, {}
    for line in head.decode().splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return web.Response(status=status, headers=headers, body=body)
