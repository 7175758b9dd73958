"""Requests to registries, which may be slow, busy or hostile.

Redirects are followed by hand: never to an address that is not on the internet (unless the policy names it), never
from https to http, and never with credentials to another host. Answers are bounded in size and time. A host that asks
to be left alone is.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from yarl import URL

from agent.adapters.registries.access import Answer, RegistryError
from agent.adapters.registries.addresses import (
    CheckedResolver,
    ForbiddenAddressError,
    address_of,
    is_of_machines,
    is_public,
    proxies,
)

SECONDS = 15.0
LARGEST = 8 * 1024 * 1024
_REDIRECTS = 5
_PER_HOST = 4
_KEPT = 256
_KEPT_BYTES = 64 * 1024
_PATIENCE = 3600.0
"""The longest time for which a host's wish to be left alone is believed, in seconds."""
_DEFAULT_PAUSE = 60.0
_WINDOW = re.compile(r";\s*t=(\d+)")
_EPOCH = 1e9
"""From here on a number of seconds is a moment, not a span."""
_CREDENTIALS = frozenset({"authorization", "x-amz-security-token", "authn-token"})
_AGENT = {"User-Agent": "weir"}
_NOT_PUBLIC = "is not on the internet, and no policy names it"
_OF_MACHINES = "is an address of machines' own services"


class _Body(NamedTuple):
    json: object
    form: Mapping[str, str] | None
    stays: bool


class Fetcher:
    """Two sessions, for hosts that a policy names and for all others. `async with Fetcher() as fetcher:`."""

    def __init__(self, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._named: aiohttp.ClientSession | None = None
        self._public: aiohttp.ClientSession | None = None
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._quiet: dict[str, float] = {}
        self._kept: OrderedDict[tuple[str, str, str], Answer] = OrderedDict()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        named = CheckedResolver(lambda address: not is_of_machines(address), _OF_MACHINES, proxies=proxies())
        public = CheckedResolver(is_public, _NOT_PUBLIC, proxies=proxies())
        self._named, self._public = (
            aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(resolver=resolver),
                trust_env=True,
                headers=_AGENT,
                # A cookie may be a log-in: what a host gives to one tenant must not be sent for another.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            for resolver in (named, public)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in (self._named, self._public):
            if session is not None:
                await session.close()

    async def get(
        self,
        url: str,
        *,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        json: object = None,
        form: Mapping[str, str] | None = None,
        scope: str = "",
        stays: bool = False,
    ) -> Answer:
        """The answer, whatever its status, except for 429 and 5xx. `scope` tells credentials apart in the memory.

        What `stays` with the host is not asked of another one to which it leads; so does a `form`, which may hold
        credentials. Raises RegistryError (rate-limited, timeout, unreachable, refused).
        """
        sent = dict(headers or {})
        asks = json is None and form is None
        kept = self._kept.get((method, url, scope)) if asks else None
        if kept is not None:
            sent["If-None-Match"] = kept.headers["etag"]
        body = _Body(json, form, stays or form is not None)
        answer = await self._followed(method, _checked(lambda: URL(url, encoded=True)), sent, endpoint, body)
        if answer.status == 304 and kept is not None:
            return replace(kept, headers={**kept.headers, **answer.headers})
        if asks:
            self._keep((method, url, scope), answer)
        return answer

    def _keep(self, key: tuple[str, str, str], answer: Answer) -> None:
        if answer.status != 200 or "etag" not in answer.headers or len(answer.body) > _KEPT_BYTES:
            return
        self._kept[key] = answer
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    async def _followed(self, method: str, url: URL, headers: dict[str, str], endpoint: str, body: _Body) -> Answer:
        for _ in range(_REDIRECTS + 1):
            answer = await self._once(method, url, headers, endpoint, body)
            if answer.status not in {301, 302, 303, 307, 308} or "location" not in answer.headers:
                return answer
            target = _target(url, answer.headers["location"])
            if target.origin() != url.origin():
                if body.stays:
                    raise RegistryError("refused", f"{url.host} sends on to another host what is not for that")
                headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
            url = target
        raise RegistryError("refused", f"{url.host} redirects without end")

    async def _once(self, method: str, url: URL, headers: dict[str, str], endpoint: str, body: _Body) -> Answer:
        host = url.host or ""
        left = self._quiet.get(host, 0.0) - self._clock()
        if left > 0:
            raise RegistryError("rate-limited", f"{host} asks to be left alone for {left:.0f}s", left)
        session = self._session(url, endpoint)
        async with self._limits.setdefault(host, asyncio.Semaphore(_PER_HOST)):
            try:
                async with session.request(
                    method, url, headers=headers, json=body.json, data=body.form, allow_redirects=False
                ) as response:
                    answered = await _bounded(response, host)
                    found = {name.lower(): value for name, value in response.headers.items()}
                    return self._judged(host, Answer(response.status, found, answered))
            except TimeoutError:
                raise RegistryError("timeout", f"no answer from {host} within {self._seconds:g}s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _unreachable(host, error) from None

    def _session(self, url: URL, endpoint: str) -> aiohttp.ClientSession:
        assert self._named is not None
        assert self._public is not None
        if url.scheme not in {"http", "https"} or not url.host:
            raise RegistryError("refused", "the address is not one of http or https")
        try:
            address = address_of(url.host)
        except ForbiddenAddressError as error:
            raise RegistryError("refused", str(error)) from None
        if address is not None and is_of_machines(address):
            raise RegistryError("refused", f"{url.host} {_OF_MACHINES}")
        if endpoint and url.origin() == URL(endpoint).origin():
            return self._named
        if address is not None and not is_public(address):
            raise RegistryError("refused", f"{url.host} {_NOT_PUBLIC}")
        return self._public

    def _judged(self, host: str, answer: Answer) -> Answer:
        if _busy(answer):
            after = min(_retry_after(answer.headers), _PATIENCE)
            self._quiet[host] = self._clock() + after
            raise RegistryError("rate-limited", f"{host} asks to be left alone for {after:.0f}s", after)
        if answer.status >= 500:
            raise RegistryError("unreachable", f"{host} answers with status {answer.status}")
        return answer


async def _bounded(response: aiohttp.ClientResponse, host: str) -> bytes:
    parts, size = [], 0
    async for chunk in response.content.iter_chunked(64 * 1024):
        size += len(chunk)
        if size > LARGEST:
            raise RegistryError("refused", f"an answer of {host} is larger than {LARGEST // 1024 // 1024} MiB")
        parts.append(chunk)
    return b"".join(parts)


def _checked(make: Callable[[], URL]) -> URL:
    """An address all of whose parts can be read, which the library only notices when they are used."""
    try:
        made = make()
        if made.host and made.scheme in {"http", "https"}:
            made.origin()
    except ValueError:
        raise RegistryError("refused", "what should be a web address is none") from None
    return made


def _target(url: URL, location: str) -> URL:
    target = _checked(lambda: url.join(URL(location)))
    if target.scheme not in {"http", "https"} or not target.host:
        raise RegistryError("refused", f"{url.host} redirects to what is no web address")
    if url.scheme == "https" and target.scheme != "https":
        raise RegistryError("refused", f"{url.host} redirects to an address without https")
    return target


def _unreachable(host: str, error: Exception) -> RegistryError:
    inner = getattr(error, "os_error", None) or error
    for found in (inner, error.__cause__):
        if isinstance(found, ForbiddenAddressError):
            return RegistryError("refused", str(found))
    reason = getattr(inner, "strerror", None) or type(error).__name__
    return RegistryError("unreachable", f"{host} cannot be reached: {reason}")


def _busy(answer: Answer) -> bool:
    """Whether it means a limit of the rate. That of GitHub is a refusal with nothing remaining."""
    if answer.status == 403:
        return answer.headers.get("x-ratelimit-remaining", "").strip() == "0"
    return answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, as `Retry-After` has them, else the headers of limits (draft-ietf-httpapi-ratelimit-headers, and older).

    A moment counts from what the server takes for now: clocks differ.
    """
    now = server_time(headers) or time.time()
    text = headers.get("retry-after", "")
    if not text and (window := _WINDOW.search(headers.get("ratelimit", ""))):
        text = window[1]
    text = text or headers.get("ratelimit-reset", "") or headers.get("x-ratelimit-reset", "")
    if text.isascii() and text.isdigit():
        return float(text) if float(text) < _EPOCH else max(0.0, float(text) - now)
    moment = _moment(text)
    return max(0.0, moment - now) if moment is not None else _DEFAULT_PAUSE


def server_time(headers: Mapping[str, str]) -> float | None:
    """What the server takes for now, in seconds since the epoch; None if it does not say."""
    return _moment(headers.get("date", ""))


def _moment(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):  # of a year that no clock has
        return None
