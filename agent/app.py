"""The agent as a whole: every part made once, wired by constructor arguments, started and stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from agent import __version__
from agent.adapters.kube.client import METHODS, KubeClient
from agent.adapters.kube.config import Cluster, load
from agent.adapters.kube.lease import KubeLease
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.transport import OnRequest
from agent.assembly import Assembly
from agent.core.rollout.view import RolloutView
from agent.errors import OperationError, WeirError
from agent.runtime.heap import share_heap
from agent.runtime.lag import LagProbe
from agent.runtime.leadership import Elector, LeaseRefused, Timing
from agent.runtime.manager import Ended, Manager
from agent.server.api import routes as api_routes
from agent.server.listeners import metrics_routes, probe_routes, serving
from agent.settings import Settings
from agent.telemetry import logging
from agent.telemetry.metrics import Metrics
from agent.telemetry.tracing import tracing_from

EXIT_CONFIGURATION = 1
EXIT_LEADERSHIP_LOST = 3


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status.

    0 after an orderly stop, 1 if the agent cannot start, 3 if leadership was lost (the Pod is restarted).
    """
    logging.configure(settings.log_level, encoding=settings.log_encoding)
    logging.capture_warnings()
    status, failures = EXIT_CONFIGURATION, []
    share_heap()
    # Worker threads decode and pack; each time that the loop wants to go on, it would wait five times as long for them.
    sys.setswitchinterval(0.001)
    try:
        status = asyncio.run(_main(settings))
    except* Exception as group:  # noqa: BLE001 - the outermost frame: what is wrong is told like everything else
        failures = _leaves(group)
    log = logging.named("weir")
    for error in failures:
        if isinstance(error, WeirError | OSError):
            log.error("cannot run", error=error)
        else:
            log.error("stopped by an unexpected error", error=error, exc_info=error)
    return status


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions themselves, out of the groups that task groups make of them."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def _main(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    cluster = await load(settings.kubeconfig or None, master=settings.master)
    return await serve(settings, cluster, stop)


async def serve(settings: Settings, cluster: Cluster, stop: asyncio.Event) -> int:
    """Run the agent against a cluster until `stop` is set."""
    log = logging.named("weir")
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        count = _counter(metrics, cluster)
        rate = RateLimit(settings.kube_api_qps, settings.kube_api_burst)
        client = await stack.enter_async_context(KubeClient(cluster, rate=rate, on_request=count))
        tracing = await stack.enter_async_context(tracing_from(os.environ))
        assembly = Assembly(settings, client, metrics, partial(_counter, metrics), tracing)
        await stack.enter_async_context(assembly.opened())
        elector = await stack.enter_async_context(_elector(settings, cluster, count))
        if elector is not None:
            client.fence(elector.holds)  # a process that was frozen must not write what it meant to
        probe = LagProbe(metrics.loop_lag.observe, interval=0.1)
        manager = Manager(
            watchers=assembly.watchers,
            optional=assembly.optional_watchers,
            controllers=assembly.controllers,
            services=[*assembly.services, probe.run],
            led_services=assembly.led_services,
            elector=elector,
            drain=settings.shutdown_grace,
        )
        assembly.attach(manager)
        probes = probe_routes(manager.health, manager.ready)
        scrape = metrics_routes(metrics)
        everything = [*probes, *scrape, *api_routes(assembly.knowledge, RolloutView, __version__)]
        await stack.enter_async_context(serving(settings.health_addr, probes))
        await stack.enter_async_context(serving(settings.metrics_addr, scrape))
        await stack.enter_async_context(serving(settings.api_addr, everything))
        idle = [*settings.idle_flags, *settings.gates.without_effect()]
        if idle:
            log.info("settings of Flux or Flagger that have no effect here", names=idle)
        log.info("starting", version=__version__, controllers=list(settings.controllers))
        ended = await manager.run(stop)
        log.info("stopped", why=ended.value)
    return EXIT_LEADERSHIP_LOST if ended is Ended.LEADERSHIP_LOST else 0


@asynccontextmanager
async def _elector(settings: Settings, cluster: Cluster, count: OnRequest) -> AsyncIterator[Elector | None]:
    """Leader election, if it is on. Its client is its own: renewals never wait behind the requests of passes."""
    election = settings.election
    if not election.enabled:
        yield None
        return
    log = logging.named("leadership")

    def on_problem(who: str, error: OperationError) -> None:
        if isinstance(error, LeaseRefused):
            log.error("cannot lead: the lease is refused", identity=who, error=error)
        else:
            log.info("lease problem", identity=who, error=error)

    namespace = election.namespace or settings.runtime_namespace or cluster.namespace
    async with KubeClient(cluster, limit=2, timeout=5.0, on_request=count) as client:
        yield Elector(
            KubeLease(client, namespace, settings.object_name("leader-election")),
            f"{socket.gethostname()}_{uuid.uuid4()}",
            Timing(duration=election.lease_duration, renew=election.renew_deadline, retry=election.retry_period),
            on_problem=on_problem,
            release_on_cancel=election.release_on_cancel,
        )


def _counter(metrics: Metrics, cluster: Cluster) -> OnRequest:
    host = cluster.server.partition("://")[2]

    def count(verb: str, resource: str, code: int, _seconds: float) -> None:
        metrics.api_requests.labels(verb, resource, str(code)).inc()
        metrics.requests.labels(str(code), METHODS.get(verb, "GET"), host).inc()

    return count
