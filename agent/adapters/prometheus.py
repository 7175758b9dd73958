"""Prometheus as a source of single numbers and of labelled ones, with the manners of Flagger's client.

One GET of an instant query, five seconds, white space in the query collapsed. Where one number is wanted, the last of
several series counts, a matrix is an error, an empty vector or NaN is "no value". Credentials come from a Secret and
appear nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from agent.adapters.authorization import UnusableCredentialsError, authorization
from agent.adapters.bodies import whole
from agent.adapters.failures import reason
from agent.adapters.session import SessionOwner
from agent.core.judge.queries import Point
from agent.core.rollout.evidence import Answer
from agent.core.rollout.judgement import Sample, Source

TIMEOUT = 5.0
ONLINE = "vector(1)"
_QUOTED = 300
"""Characters of a server's error page that are passed on."""
_LIMIT = 4 * 1024 * 1024


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[Any] = []


class _Answer(msgspec.Struct):
    status: str = ""
    error: str = ""
    data: _Data | None = None


class Prometheus(SessionOwner):
    """Asks any number of Prometheus servers over one session. `async with Prometheus() as prometheus:`."""

    def __init__(self) -> None:
        super().__init__(timeout=TIMEOUT)

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """The value of an instant query, or why there is none. Never raises for what a server does.

        `credentials`: the decoded Secret of the source, with `token`, or `username` and `password`.
        """
        answer = await self._ask(source, "query", {"query": query}, credentials)
        return _sample(answer) if isinstance(answer, _Data) else answer

    async def series(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Answer:
        """All series of an instant query with their labels, or why there are none. Otherwise as `query`."""
        answer = await self._ask(source, "query", {"query": query}, credentials)
        return _points(answer) if isinstance(answer, _Data) else Answer(error=answer.error)

    async def periods(self, source: Source, query: str, *, start: float, end: float, step: float) -> Answer:
        """The same at the end of each period of `step` seconds between two times, in seconds since 1970."""
        if end < start + step:
            return Answer()
        params = {"query": query, "start": f"{start + step:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        answer = await self._ask(source, "query_range", params, None)
        return _points(answer) if isinstance(answer, _Data) else Answer(error=answer.error)

    async def _ask(
        self, source: Source, verb: str, params: Mapping[str, str], credentials: Mapping[str, str] | None
    ) -> _Data | Sample:
        fault = _unusable(source, credentials)
        if fault:
            return Sample(error=fault)
        url = URL(source.address) / "api/v1" / verb
        try:
            headers = [*source.headers, *authorization(credentials)]
            async with self._session.get(
                url,
                params={**params, "query": " ".join(params["query"].split())},
                headers=headers,
                ssl=source.verify_tls,
            ) as response:
                body = await whole(response.content, _LIMIT)
                return _data(response.status, response.reason or "", body)
        except UnusableCredentialsError as error:
            return Sample(error=f"{source.kind} secret {'/'.join(source.secret or ())} cannot be used: {error}")
        except TimeoutError:
            return Sample(error=f"request failed: no answer from {url.origin()} within {TIMEOUT:g} seconds")
        except (aiohttp.ClientError, ValueError, OSError) as error:
            return Sample(error=f"request failed: {reason(error)}")

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """Empty if the server answers queries, else why not."""
        sample = await self.query(source, ONLINE, credentials)
        if sample.error:
            return f"running query failed: {sample.error}"
        if sample.value != 1.0:
            return f"value is not 1 for query: {ONLINE}"
        return ""


def _unusable(source: Source, credentials: Mapping[str, str] | None) -> str:
    url = None
    with contextlib.suppress(ValueError):
        url = URL(source.address)
    if url is None or not url.host or url.scheme not in {"http", "https"}:
        return f"{source.kind} address {source.address} is not a valid URL"
    if source.secret is not None and "token" not in (credentials or {}):
        for field in ("username", "password"):
            if field not in (credentials or {}):
                return f"{source.kind} credentials does not contain a {field}"
    return ""


def _data(status: int, reason: str, body: bytes) -> _Data | Sample:
    if status >= 400:
        return Sample(error=f"error response: Status {status} {reason}: {_text(body)}")
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:
        return Sample(error=f"error unmarshaling result: {error}, '{_text(body)}'")
    if answer.status == "error":
        return Sample(error=answer.error)
    data = answer.data or _Data()
    if data.result_type in {"scalar", "string"}:
        return Sample(error=f"error unmarshaling result: the query gives a {data.result_type}, not a vector")
    return data


def _points(data: _Data) -> Answer:
    points: list[Point] = []
    for series in data.result:
        try:
            labels, values = dict(series["metric"]), series.get("values")
            if values is None:
                points.append(Point(labels, float(series["value"][1])))
            else:
                points += (Point(labels, float(value), float(at)) for at, value in values)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return Answer(error=f"error unmarshaling result: no labels and number in {series!r:.100}")
    return Answer(tuple(points))


def _sample(data: _Data) -> Sample:
    value: float | None = None
    for series in data.result:
        if not isinstance(series, dict) or "values" in series:
            return Sample(error="query returned multiple values")
        try:
            value = float(series["value"][1])
        except (KeyError, IndexError, TypeError, ValueError):
            return Sample(error=f"error unmarshaling result: no number in {series!r:.100}")
    return Sample(value=value)


def _text(body: bytes) -> str:
    return body[:_QUOTED].decode("utf-8", "replace").strip()
