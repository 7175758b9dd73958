"""The listeners: probes on Flux's health port, metrics on Flux's metrics port, and both with the API on one more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from agent.runtime.manager import Verdict
from agent.settings import Address
from agent.telemetry.metrics import Metrics

Probe = Callable[[], Verdict]


def probe_routes(health: Probe, ready: Probe) -> list[web.RouteDef]:
    """`/healthz` and `/readyz`: `ok`, or 503 with a line for each problem."""

    def answer(probe: Probe) -> web.Response:
        verdict = probe()
        text = "ok" if verdict.ok else "\n".join(verdict.problems)
        return web.Response(text=text, status=200 if verdict.ok else 503)

    async def healthz(_request: web.Request) -> web.Response:
        return answer(health)

    async def readyz(_request: web.Request) -> web.Response:
        return answer(ready)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def metrics_routes(metrics: Metrics) -> list[web.RouteDef]:
    """`/metrics`."""

    async def handle(_request: web.Request) -> web.Response:
        # thousands of objects have tens of thousands of series, and the loop has better things to do
        text = await asyncio.to_thread(metrics.render)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return [web.get("/metrics", handle)]


@asynccontextmanager
async def serving(address: Address, routes: Sequence[web.AbstractRouteDef]) -> AsyncIterator[None]:
    """Serve while the block runs. Raises OSError if the address cannot be bound."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        yield
    finally:
        await runner.cleanup()
