"""One HTTP session to an API server: credentials, deadlines, short retries, errors translated."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

import aiohttp
from multidict import CIMultiDict
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, stop_before_delay, wait_random_exponential
from yarl import URL

from agent import __version__
from agent.adapters.kube.concurrency import AdaptiveLimit
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.errors import ApiError, TooManyRequests, Unauthorized, Unavailable, from_response
from agent.adapters.kube.ratelimit import RateLimit, TokenBucket
from agent.core.digits import whole

OnRequest = Callable[[str, str, int, float], None]
"""Told of every attempt: verb, resource (plural), HTTP status (0: no answer), seconds."""

ATTEMPTS = 4
CONNECT_TIMEOUT = 10.0
_ANONYMOUS = "system:anonymous"  # whom the API server takes us for if we send no credentials
KEEPALIVE = 60.0
"""Seconds; API servers close idle connections after 90. Each new one costs a TLS handshake on both sides."""
_SHARES_ITS_TIME = "X-Kubernetes-PF-FlowSchema-UID"
"""In every answer of an API server that itself sees to it that no client takes more than its share."""
_PAUSE = wait_random_exponential(multiplier=0.2, max=2.0)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `verb` and `resource` label it; `secret` blanks values that the server quotes in errors."""

    verb: str
    resource: str
    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    idempotent: bool = True
    secret: bool = False
    timeout: float | None = None

    def __repr__(self) -> str:
        # Bodies may be Secrets.
        return f"Call({self.method} {self.path})"


class _NotSent(Unavailable):
    """The connection could not be made, so that even a call that is not idempotent may be tried again."""


class Transport:
    """Owns the session. At most `limit` requests are in flight at once, fewer while the API server is busy.

    Streams do not count. `rate` holds until an answer tells that the server has priority and fairness: then it is the
    server that decides, as for Flux. `timeout` is the deadline in seconds of a call with all its attempts, from when
    the rate limit has let it through. An answer of more than `largest` bytes counts as none.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        limit: int = 32,
        timeout: float = 30.0,
        rate: RateLimit | None = None,
        largest: int | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.cluster = cluster
        self._largest = largest
        self._bucket = TokenBucket(rate) if rate is not None else None
        self.may_write: Callable[[], bool] = lambda: True
        self._timeout = timeout
        self._on_request = on_request
        # Not the connector's limit: each watch holds a connection and would take its place away from a request.
        self._places = AdaptiveLimit(limit)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.cluster.tls or True, keepalive_timeout=KEEPALIVE)
        self._session = aiohttp.ClientSession(
            connector=connector,
            # The API server compresses large answers if asked to; near it, that costs more than it saves.
            headers={"User-Agent": f"weir/{__version__}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            # Closing takes its time: who asks meanwhile has to hear that the client is closed.
            session, self._session = self._session, None
            await session.close()

    async def send(self, call: Call) -> bytes:
        """The body of the answer. Raises ApiError, and AuthenticationError when there are no credentials to send."""
        await self._token()
        timeout = call.timeout or self._timeout
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout), self._places.place():
                try:
                    # The usual case does without tenacity, which would nearly double the time spent on a request.
                    return await self._attempt(call)
                except ApiError as error:
                    return await self._again(call, error, deadline)
        except TimeoutError:
            raise Unavailable(f"{call.verb} {call.resource}: no answer within {timeout:g} s") from None

    async def _again(self, call: Call, failure: ApiError, deadline: float) -> bytes:
        """Repeat a call whose first attempt has failed, if that is harmless."""
        first: list[ApiError] = [failure]
        # A pause that would outlast the deadline would hide what the server said.
        stop = stop_after_attempt(ATTEMPTS) | stop_before_delay(deadline - time.monotonic())
        async for attempt in AsyncRetrying(
            stop=stop, retry=lambda state: self._may_repeat(call, state), wait=_pause, reraise=True
        ):
            with attempt:
                if first:
                    raise first.pop()
                await self._token()
                return await self._attempt(call)
        raise AssertionError("unreachable: tenacity returns or raises")

    @asynccontextmanager
    async def stream(self, call: Call, *, idle: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The chunks of a long answer; `idle` is the longest silence in seconds before it counts as cut.

        Raises ApiError, and so does iterating when the connection breaks.
        """
        await self._token()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle)
        async with AsyncExitStack() as stack:
            started = time.monotonic()
            code = 0
            try:
                answer = await stack.enter_async_context(self._request(call, timeout))
                code = answer.status
                if code == 401:
                    self.cluster.credentials.reject()
                if code >= 300:
                    self._refuse(call, answer, await self._body(call, answer))
            except (aiohttp.ClientError, OSError) as error:
                raise _translated(call, error, self.cluster.hint) from None
            finally:
                self._observe(call, code, started)
            # What the block itself raises is not ours to translate, hence only the reading is guarded.
            async with aclosing(_chunks(call, answer.content)) as chunks:
                yield chunks

    async def _token(self) -> None:
        if self._bucket is not None:
            await self._bucket.wait()

    async def _attempt(self, call: Call) -> bytes:
        if call.method != "GET" and not self.may_write():
            raise Unavailable(f"{call.verb} {call.resource}: not sent, another replica may be leading by now")
        started = time.monotonic()
        code = 0
        try:
            async with self._request(call, None) as answer:
                if self._bucket is not None and _SHARES_ITS_TIME in answer.headers:
                    self._bucket.lift()
                body = await self._body(call, answer)
                code = answer.status
                if code >= 300:
                    self._refuse(call, answer, body)
                return body
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(call, error, self.cluster.hint) from None
        finally:
            self._observe(call, code, started)
            if code:
                self._places.answered(code, time.monotonic() - started)

    @asynccontextmanager
    async def _request(
        self, call: Call, timeout: aiohttp.ClientTimeout | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = CIMultiDict(call.headers)
        authorization = await self.cluster.credentials.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        url = URL(self.cluster.server + call.path, encoded=True).with_query(call.params)
        if self._session is None:
            raise Unavailable(f"{call.verb} {call.resource}: the client is closed")
        async with self._session.request(
            call.method,
            url,
            headers=headers,
            # aiohttp warns of bytes beyond a mebibyte, and the API server answers to them as to any other body
            data=io.BytesIO(call.body) if call.body is not None and len(call.body) > 1 << 20 else call.body,
            allow_redirects=False,
            proxy=self.cluster.proxy,
            server_hostname=self.cluster.server_name,
            timeout=timeout or aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        ) as answer:
            yield answer

    async def _body(self, call: Call, answer: aiohttp.ClientResponse) -> bytes:
        if self._largest is None:
            return await answer.read()
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > self._largest:
                raise Unavailable(f"{call.verb} {call.resource}: the answer has more than {self._largest} bytes")
        return bytes(body)

    def _refuse(self, call: Call, answer: aiohttp.ClientResponse, body: bytes) -> NoReturn:
        retry_after = whole(answer.headers.get("Retry-After", ""))
        error = from_response(answer.status, body, secret=call.secret, retry_after=retry_after)
        hint = self.cluster.hint
        if hint and (isinstance(error, Unauthorized) or _ANONYMOUS in error.message):
            error.explain(hint)
        raise error

    def _may_repeat(self, call: Call, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Unauthorized):
            return state.attempt_number == 1 and self.cluster.credentials.reject()
        if isinstance(error, TooManyRequests | _NotSent):
            return True
        return call.idempotent and isinstance(error, Unavailable)

    def _observe(self, call: Call, code: int, started: float) -> None:
        if self._on_request is not None:
            self._on_request(call.verb, call.resource, code, time.monotonic() - started)


async def _chunks(call: Call, stream: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in stream.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise _translated(call, error) from None


def _translated(call: Call, error: Exception, hint: str = "") -> ApiError:
    where = f"{call.verb} {call.resource}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        told = f"{where}: {error.host}:{error.port}: {error.certificate_error}"
        return _NotSent(f"{told}; {hint}" if hint else told)
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        cause = os.strerror(number) if number else error.os_error
        return _NotSent(f"{where}: cannot connect to {error.host}:{error.port} ({cause})")
    return Unavailable(f"{where}: connection lost ({type(error).__name__})")


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    wish = error.retry_after if isinstance(error, ApiError) else None
    return max(_PAUSE(state), wish or 0.0)
