"""What is asked of metrics systems other than Prometheus, and how their answers are read (their public HTTP APIs).

Requests out, numbers in; nothing here does I/O. Times in `now` are Unix seconds.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from agent.core.rollout.judgement import Source

Credentials: TypeAlias = Mapping[str, str]
LOOK_BACK = 10
"""How many intervals of the metric a query covers, where the system wants to be told."""


class UnusableError(ValueError):
    """The question cannot be asked, or the answer holds no number. The text names what is wrong, and no secret."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request. Headers may hold secrets."""

    url: str
    method: str = "GET"
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    basic: tuple[str, str] | None = None


class Dialect(msgspec.Struct, frozen=True):
    """One system: how a query and a sign of life are asked for, and the number in an answer (None: no value)."""

    query: Callable[[Source, str, Credentials, float], Ask]
    probe: Callable[[Source, Credentials, float], Ask]
    value: Callable[[bytes], float | None]


def dialect(kind: str) -> Dialect | None:
    """The dialect of a provider type; None if it is not spoken over plain HTTP."""
    return _DIALECTS.get(kind)


def required(source: Source, credentials: Credentials, key: str, what: str = "") -> str:
    """A credential. Raises UnusableError."""
    if not credentials.get(key):
        raise UnusableError(f"{source.kind} credentials does not contain {what or key}")
    return credentials[key]


def parsed(body: bytes) -> Any:
    """JSON. Raises UnusableError."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise UnusableError(f"error unmarshaling result: {error}") from None


def within(value: Any, *path: str | int) -> Any:
    """What is at the end of a path through lists and mappings; None where it does not lead anywhere."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def number(value: Any) -> float | None:
    """A number, or none. Raises UnusableError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnusableError(f"invalid response: no number in {value!r:.100}")
    try:
        return float(value)
    except ValueError:
        raise UnusableError(f"invalid response: no number in {value!r:.100}") from None


def address(source: Source, default: str = "") -> str:
    """The address without a slash at its end. Raises UnusableError."""
    found = source.address or default
    if not found.startswith(("http://", "https://")):
        raise UnusableError(f"{source.kind} address {found} is not a valid URL")
    return found.rstrip("/")


def _datadog(source: Source, path: str, credentials: Credentials, params: tuple[tuple[str, str], ...] = ()) -> Ask:
    return Ask(
        url=f"{address(source, 'https://api.datadoghq.com')}{path}",
        params=params,
        headers=(
            ("DD-API-KEY", required(source, credentials, "datadog_api_key")),
            ("DD-APPLICATION-KEY", required(source, credentials, "datadog_application_key")),
        ),
    )


def _datadog_query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:
    start = int(now) - int(LOOK_BACK * source.interval)
    params = (("query", query), ("from", str(start)), ("to", str(int(now))))
    return _datadog(source, "/api/v1/query", credentials, params)


def _datadog_value(body: bytes) -> float | None:
    # The oldest point of the first series: the newest one is hardly ever complete.
    return number(within(parsed(body), "series", 0, "pointlist", 0, 1))


def _graphite_query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:  # noqa: ARG001
    basic = None
    if source.secret is not None:
        username = required(source, credentials, "username", "a username")
        basic = (username, required(source, credentials, "password", "a password"))
    params = tuple(pair for pair in parse_qsl(" ".join(query.split()), keep_blank_values=True) if pair[0] != "format")
    return Ask(url=f"{address(source)}/render", params=(*params, ("format", "json")), basic=basic)


def _graphite_value(body: bytes) -> float | None:
    """The last value of the last series that has one."""
    found: float | None = None
    for series in parsed(body) or ():
        for point in within(series, "datapoints") or ():
            value = number(within(point, 0))
            found = found if value is None else value
    return found


def _influx_query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:  # noqa: ARG001
    params: tuple[tuple[str, str], ...] = ()
    headers = [("Content-Type", "application/json"), ("Accept", "application/csv")]
    if source.secret is not None:
        headers.append(("Authorization", f"Token {required(source, credentials, 'token', 'an authentication token')}"))
        params = (("org", required(source, credentials, "org", "an organisation")),)
    body = {"query": query, "type": "flux", "dialect": {"header": True, "annotations": ["datatype"]}}
    return Ask(
        url=f"{address(source)}/api/v2/query",
        method="POST",
        params=params,
        headers=tuple(headers),
        body=msgspec.json.encode(body),
    )


def _influx_value(body: bytes) -> float | None:
    """The column `_value` of the first record in annotated CSV; it has to be a double."""
    kinds: list[str] = []
    names: list[str] = []
    for row in csv.reader(io.StringIO(body.decode("utf-8", "replace"))):
        if row and row[0] == "#datatype":
            kinds, names = row, []
        elif not names and "_value" in row:
            names = row
        elif names and len(row) == len(names):
            at = names.index("_value")
            if kinds and kinds[at] != "double":
                raise UnusableError(f"invalid response: _value is a {kinds[at]}, not a double")
            return number(row[at] or None)
        elif row and "error" in row:
            raise UnusableError("error accessing influxdb query api: the query failed")
    return None


def _newrelic_query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:  # noqa: ARG001
    account = required(source, credentials, "newrelic_account_id", "the key 'newrelic_account_id'")
    key = required(source, credentials, "newrelic_query_key", "the key 'newrelic_query_key'")
    root = address(source, "https://insights-api.newrelic.com")
    return Ask(
        url=f"{root}/v1/accounts/{account}/query",
        params=(("nrql", f"{query} SINCE {int(source.interval)} seconds ago"),),
        headers=(("X-Query-Key", key),),
    )


def _newrelic_value(body: bytes) -> float | None:
    results = within(parsed(body), "results") or ()
    return number(within(results, 0, "result")) if len(results) == 1 else None


def _dynatrace(source: Source, credentials: Credentials, path: str, params: tuple[tuple[str, str], ...]) -> Ask:
    if not source.address:
        raise UnusableError("dynatrace endpoint is not set")
    token = required(source, credentials, "dynatrace_token")
    return Ask(url=f"{address(source)}{path}", params=params, headers=(("Authorization", f"Api-Token {token}"),))


def _dynatrace_query(source: Source, query: str, credentials: Credentials, now: float) -> Ask:
    end = int(now) * 1000
    start = end - int(LOOK_BACK * source.interval * 1000)
    times = (("from", str(start)), ("to", str(end)))
    params = (("metricSelector", query), ("resolution", "Inf"), *times)
    return _dynatrace(source, credentials, "/api/v2/metrics/query", params)


def _dynatrace_value(body: bytes) -> float | None:
    """The first value of the last series."""
    return number(within(parsed(body), "result", 0, "data", -1, "values", 0))


def cloudwatch_queries(query: str) -> list[Any]:
    """The MetricDataQueries of a template, with AWS' spelling of their fields; Flagger's users begin them small.

    Raises UnusableError.
    """
    try:
        found = json.loads(query)
    except ValueError as error:
        raise UnusableError(f"error unmarshaling query: {error}") from None
    if not isinstance(found, list):
        raise UnusableError("error unmarshaling query: it is not a list of metric data queries")
    return [_pascal(item) for item in found]


def cloudwatch_input(source: Source, query: str, now: float) -> dict[str, Any]:
    """The body of GetMetricData. Raises UnusableError."""
    return {
        "StartTime": int(now - LOOK_BACK * source.interval),
        "EndTime": int(now),
        "MaxDatapoints": 20,
        "MetricDataQueries": cloudwatch_queries(query),
    }


def cloudwatch_value(body: bytes) -> float | None:
    """The first value of the first result."""
    return number(within(parsed(body), "MetricDataResults", 0, "Values", 0))


def stackdriver_value(body: bytes) -> float | None:
    """The newest value of the first series that timeSeries.query answers with. Whole numbers count too."""
    value = within(parsed(body), "timeSeriesData", 0, "pointData", 0, "values", 0) or {}
    return number(value.get("doubleValue", value.get("int64Value")))


def _pascal(value: Any) -> Any:
    if isinstance(value, dict):
        return {f"{key[:1].upper()}{key[1:]}": _pascal(item) for key, item in value.items()}
    return [_pascal(item) for item in value] if isinstance(value, list) else value


_DIALECTS: Mapping[str, Dialect] = {
    "datadog": Dialect(
        _datadog_query,
        lambda source, credentials, _: _datadog(source, "/api/v1/validate", credentials),
        _datadog_value,
    ),
    "graphite": Dialect(
        _graphite_query,
        lambda source, credentials, now: _graphite_query(source, "target=test", credentials, now),
        _graphite_value,
    ),
    "influxdb": Dialect(
        _influx_query,
        lambda source, credentials, now: _influx_query(
            source, 'from(bucket: "default") |> range(start: -2h)', credentials, now
        ),
        _influx_value,
    ),
    "newrelic": Dialect(
        _newrelic_query,
        lambda source, credentials, now: _newrelic_query(source, "SELECT * FROM Metric", credentials, now),
        _newrelic_value,
    ),
    "dynatrace": Dialect(
        _dynatrace_query,
        lambda source, credentials, _: _dynatrace(source, credentials, "/api/v2/metrics", (("pageSize", "1"),)),
        _dynatrace_value,
    ),
}
