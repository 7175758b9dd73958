"""Splunk Observability Cloud: a SignalFlow program that is run over HTTP, and the stream of events that answers it.

Flagger runs programs over a WebSocket; the same service answers a POST with server-sent events, which end by
themselves because the program's time is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agent.core.rollout.exchanges import (
    LOOK_BACK,
    Ask,
    Credentials,
    Dialect,
    UnusableError,
    address,
    number,
    parsed,
    required,
    within,
)
from agent.core.rollout.judgement import Source

_TOKEN = "sf_token_key"  # noqa: S105 - the name of a key


def _query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:
    stop = int(now * 1000)
    params = (
        ("start", str(stop - int(LOOK_BACK * source.interval * 1000))),
        ("stop", str(stop)),
        ("immediate", "true"),
    )
    return Ask(
        method="POST",
        url=f"{_host(source, 'stream')}/v2/signalflow/execute",
        params=params,
        headers=(*_headers(source, credentials), ("Content-Type", "text/plain")),
        body=query.encode(),
    )


def _probe(source: Source, credentials: Credentials, _now: float) -> Ask:
    return Ask(url=f"{_host(source, 'api')}/v2/metric", params=(("limit", "1"),), headers=_headers(source, credentials))


def _host(source: Source, name: str) -> str:
    """The address of one of the two hosts of a realm, whichever of them is given, as HTTP or as WebSocket."""
    if not source.address:
        raise UnusableError("splunk endpoint is not set")
    plain = f"http{source.address[2:]}" if source.address.startswith(("ws://", "wss://")) else source.address
    scheme, mark, rest = address(msgspec.structs.replace(source, address=plain)).partition("://")
    host, dot, domain = rest.partition(".")
    return f"{scheme}{mark}{name if host in {'api', 'stream'} else host}{dot}{domain}"


def _headers(source: Source, credentials: Credentials) -> tuple[tuple[str, str], ...]:
    return (("X-SF-Token", required(source, credentials, _TOKEN)),)


def _value(body: bytes) -> float | None:
    """The last value of the only time series. Raises UnusableError for several, and for a program that fails."""
    series: set[str] = set()
    last: float | None = None
    for kind, data in _events(body):
        if kind == "error":
            raise UnusableError(f"error executing query: {_reason(data)}")
        for point in within(parsed(data), "data") or () if kind == "data" else ():
            value = number(within(point, "value"))
            if value is not None:
                series.add(str(within(point, "tsId")))
                last = value
    if len(series) > 1:
        raise UnusableError("invalid response: query returned multiple values")
    return last


def _reason(data: bytes) -> str:
    found = parsed(data)
    return str(within(found, "message") or within(found, "errors", 0, "message") or within(found, "errors", 0, "code"))


def _events(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Kind and data of each event; the data of one may be spread over several lines."""
    kind, data = "", list[bytes]()
    for line in [*body.splitlines(), b""]:
        name, _, value = line.partition(b":")
        if name == b"event":
            kind = value.strip().decode("utf-8", "replace")
        elif name == b"data":
            data.append(value)
        elif not line:
            if data:
                yield kind, b"\n".join(data)
            kind, data = "", []


SIGNALFLOW = Dialect(_query, _probe, _value)
