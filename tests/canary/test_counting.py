"""What a real Prometheus makes of our queries: counts of a window, by pod, to the request."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web
from canary_agent import eventually

from agent.adapters.prometheus import Prometheus
from agent.core.judge.packs import Series
from agent.core.judge.queries import Fleet, Pods, by_block, by_pod, counted, histograms
from agent.core.rollout.judgement import Source
from testbed.ports import free_port
from testbed.prometheus import Prometheus as PrometheusServer
from testbed.prometheus import Target

PODS = Pods(namespace="prod", canary=Fleet("chat"), primary=Fleet("chat-primary"))
REQUESTS = Series(("requests_new_total", "requests_total"))
FAILED = Series(("requests_new_total", "requests_total"), 'status=~"5.*"')
PERIOD = 3
"""Seconds; so many scrapes that some of them succeed on both sides of what happens in its middle."""
CANARY, PRIMARY = "chat-aa-bb", "chat-primary-cc-dd"


class Exporter:
    """Metrics of two pods, as text that the test changes."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    async def expose(self, request: web.Request) -> web.Response:
        return web.Response(text=self.lines.get(request.match_info["pod"], "") + "\n")


@asynccontextmanager
async def exporting() -> AsyncIterator[tuple[Exporter, int]]:
    exporter, port = Exporter(), free_port()
    app = web.Application()
    app.router.add_get("/{pod}", exporter.expose)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield exporter, port
    finally:
        await runner.cleanup()


def target(port: int, pod: str, names: tuple[str, str]) -> Target:
    return Target(f"127.0.0.1:{port}", {names[0]: "prod", names[1]: pod}, path=f"/{pod}")


async def test_every_request_of_the_window_counts_once() -> None:
    async with exporting() as (exporter, port), PrometheusServer(interval=0.25) as server, Prometheus() as client:
        exporter.lines[CANARY] = 'requests_new_total{status="200"} 100'
        exporter.lines[PRIMARY] = 'requests_total{status="200"} 500'
        await server.set_targets("new", [target(port, CANARY, ("namespace", "pod"))])
        await server.set_targets("old", [target(port, PRIMARY, ("kubernetes_namespace", "kubernetes_pod_name"))])

        async def counts(series: Series, since: datetime) -> Mapping[str, Mapping[str, float]]:
            seconds = (datetime.now(UTC) - since).total_seconds()
            answer = await client.series(Source(address=server.url), counted(series, PODS, seconds))
            assert answer.error == ""
            return {side: by_pod(answer.points, PODS, side) for side in ("canary", "primary")}

        async def seen() -> bool:
            found = await counts(REQUESTS, began)
            return bool(found["canary"]) and bool(found["primary"])

        began = datetime.now(UTC)
        await eventually(seen)
        warm = datetime.now(UTC)
        await eventually(lambda: (datetime.now(UTC) - warm).total_seconds() > 2.5)

        since = datetime.now(UTC)
        exporter.lines[CANARY] = 'requests_new_total{status="200"} 130\nrequests_new_total{status="500"} 2'
        await eventually(lambda: _is(counts(FAILED, since), {"canary": {CANARY: 2.0}, "primary": {}}))

        async def counted_once() -> bool:
            # 30 and 2, and what `increase` adds at the edges of its window; a window that the server ends later than
            # it was asked for may begin behind the rise
            found = await counts(REQUESTS, since)
            return 30 <= found["canary"].get(CANARY, 0.0) <= 40 and found["primary"] == {PRIMARY: 0.0}

        await eventually(lambda: (datetime.now(UTC) - since).total_seconds() > 3)
        await eventually(counted_once)


async def test_histograms_by_pod() -> None:
    async with exporting() as (exporter, port), PrometheusServer(interval=0.25) as server, Prometheus() as client:
        await server.set_targets("new", [target(port, CANARY, ("namespace", "pod"))])
        exporter.lines[CANARY] = "\n".join(
            f'latency_seconds_bucket{{le="{edge}"}} {count}' for edge, count in (("0.1", 4), ("0.5", 9), ("+Inf", 10))
        )

        async def read() -> object:
            query = counted(Series(("latency_seconds_bucket",)), PODS, 30, by=("le",))
            answer = await client.series(Source(address=server.url), query)
            found = histograms(answer.points, PODS, "canary", 1.0)
            whole = found.get((CANARY, 0.0))
            return whole and whole.counts == (4, 5, 1)

        await eventually(read)


async def test_counts_of_each_period() -> None:
    async with exporting() as (exporter, port), PrometheusServer(interval=0.25) as server, Prometheus() as client:
        await server.set_targets("new", [target(port, CANARY, ("namespace", "pod"))])
        exporter.lines[CANARY] = 'requests_total{status="500"} 0'
        source, query = Source(address=server.url), counted(FAILED, PODS, PERIOD)
        began = datetime.now(UTC).timestamp()

        async def read() -> dict[float, float]:
            now = datetime.now(UTC).timestamp()
            answer = await client.periods(source, query, start=began, end=now, step=PERIOD)
            assert answer.error == ""
            return {round(at - began): value for (_, at), value in by_block(answer.points, PODS, "canary").items()}

        async def passed(periods: int) -> bool:
            return len(await read()) >= periods

        def midway() -> bool:
            return 1.0 <= (datetime.now(UTC).timestamp() - began) % PERIOD <= 1.6

        await eventually(lambda: passed(2))
        await eventually(midway)  # a rise between two windows is in neither
        exporter.lines[CANARY] = 'requests_total{status="500"} 6'
        await eventually(lambda: passed(4))
        found = await read()
        assert all(at % PERIOD == 0 for at in found)
        hit = [at for at, value in found.items() if value > 0.5]
        assert 1 <= len(hit) <= 2, "the errors are in the period in which they came"
        assert 4 <= sum(found.values()) <= 9
        away = await client.periods(
            Source(address="http://127.0.0.1:9"), query, start=began, end=began + 6, step=PERIOD
        )
        assert away.error.startswith("request failed:")


async def test_a_server_that_is_away_is_an_error() -> None:
    async with Prometheus() as client:
        answer = await client.series(Source(address="http://127.0.0.1:9"), "up")
        assert answer.points == ()
        assert answer.error.startswith("request failed:")


async def _is(counts, expected) -> bool:
    return await counts == expected
