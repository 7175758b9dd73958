"""The canary half of the agent, alone: watches, queue, controller, events; started and stopped like a process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.events import CoreEvents
from agent.adapters.kube.resource import DEPLOYMENTS
from agent.adapters.kube.watch import KubeListWatch, PartialObject, decode_metadata
from agent.adapters.loraservers import LoraServers
from agent.adapters.prometheus import Prometheus
from agent.adapters.webhooks import Webhooks
from agent.api.canary import Canary
from agent.controllers.canary import (
    CanaryReconciler,
    CanarySettings,
    ChatAlerts,
    FlaggerMetrics,
    RolloutLog,
    watch_canaries,
    workload_watcher,
)
from agent.controllers.canary.kinds import CANARIES
from agent.core.rollout.view import ChangeLookup, NoChanges
from agent.errors import OperationError
from agent.runtime.controller import Controller, Pass
from agent.runtime.queue import WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import ObjectKey, Watcher
from agent.telemetry.events import EventRecorder
from agent.telemetry.metrics import Metrics

_PATIENCE = 60.0
"""Seconds for what an agent still has to do and to tell at its end, which tests count on."""


@dataclass
class CanaryAgent:
    """What a test may look at."""

    rollouts: RolloutLog
    registry: CollectorRegistry
    canaries: Store[Canary]
    crashes: list[Exception] = field(default_factory=list)
    passes: list[Pass[tuple[str, str]]] = field(default_factory=list)

    def exported(self) -> str:
        return generate_latest(self.registry).decode()


def _ignore(_name: str, _error: OperationError) -> None:
    return None


def _unreadable(key: ObjectKey, message: str) -> None:
    raise AssertionError(f"{key} cannot be read: {message}")


@asynccontextmanager
async def canary_agent(
    client: KubeClient,
    namespace: str,
    *,
    metrics_server: str = "http://127.0.0.1:9",
    minimum_interval: float = 0.3,
    changes: ChangeLookup | None = None,
    drain: bool = True,
    settings: CanarySettings | None = None,
) -> AsyncIterator[CanaryAgent]:
    """Works on the Canaries of one namespace until the block ends.

    With `drain` it then finishes its pass and tells what it has to tell, as on SIGTERM; without, it is cut off.
    """
    registry = CollectorRegistry()
    canaries: Store[Canary] = Store()
    workloads: Store[PartialObject] = Store()
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    agent = CanaryAgent(RolloutLog(), registry, canaries)
    events = EventRecorder(CoreEvents(client), Metrics(), drain=_PATIENCE)
    settings = settings or CanarySettings(metrics_server=metrics_server, minimum_interval=minimum_interval)
    async with (
        Prometheus() as prometheus,
        Webhooks() as webhooks,
        ChatAlerts(client, settings) as alerts,
        LoraServers() as servers,
    ):
        reconciler = CanaryReconciler(
            client=client,
            canaries=canaries,
            settings=settings,
            alerts=alerts,
            prometheus=prometheus,
            webhooks=webhooks,
            servers=servers,
            events=events,
            metrics=FlaggerMetrics(registry),
            rollouts=agent.rollouts,
            changes=changes or NoChanges(),
        )

        def crashed(_name: str, _key: Hashable, error: Exception) -> None:
            agent.crashes.append(error)

        controller = Controller("canary", reconciler.reconcile, queue, 2, on_crash=crashed, on_pass=agent.passes.append)
        watch_canaries(canaries, queue)
        workloads.subscribe(workload_watcher("Deployment", canaries, queue))
        watchers = (
            Watcher(
                "canaries",
                KubeListWatch(client, CANARIES, Canary.decode, on_undecodable=_unreadable, namespace=namespace),
                canaries.feed,
                on_problem=_ignore,
            ),
            Watcher(
                "deployments",
                KubeListWatch(
                    client,
                    DEPLOYMENTS,
                    decode_metadata,
                    on_undecodable=_unreadable,
                    namespace=namespace,
                    metadata_only=True,
                ),
                workloads.feed,
                on_problem=_ignore,
            ),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run()) for run in (*(w.run for w in watchers), events.run, controller.run)]
            try:
                yield agent
                if drain:
                    controller.stop(within=_PATIENCE)
                    await asyncio.wait({tasks[-1]})
            finally:
                for task in tasks:
                    task.cancel()
    if agent.crashes:
        raise ExceptionGroup("crashes", agent.crashes)


async def eventually(
    check: Callable[[], object] | Callable[[], "asyncio.Future[object]"], *, within: float = 120.0, every: float = 0.1
) -> None:
    """Wait until `check` (a function or a coroutine function) gives something true; its last answer is in the error."""
    answer: object = None
    try:
        async with asyncio.timeout(within):
            while True:
                answer = check()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"did not come true within {within:g} seconds: {answer!r}") from None
