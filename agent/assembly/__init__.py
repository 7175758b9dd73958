"""The object graph: which part gets which other part. Reads from the outside in: what roles share, then each role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.transport import OnRequest
from agent.assembly.canary import CanaryRole
from agent.assembly.kustomize import KustomizeRole
from agent.assembly.shared import Shared
from agent.assembly.source import SourceRole
from agent.runtime.heap import settle
from agent.runtime.manager import Manager, Runnable, Service
from agent.server.knowledge import Knowledge
from agent.settings import Settings
from agent.telemetry.metrics import Metrics
from agent.telemetry.tracing import Tracing


class Assembly:
    """All parts of one agent. Those that hold processes or connections have them while `opened` lasts."""

    def __init__(
        self,
        settings: Settings,
        client: KubeClient,
        metrics: Metrics,
        count_for: Callable[[Cluster], OnRequest],
        tracing: Tracing | None,
    ) -> None:
        shared = Shared(settings, client, metrics, tracing)
        self._shared = shared
        self.watchers, self.optional_watchers = shared.following.required, shared.following.optional
        self.services: list[Service] = [shared.events.run, partial(settle, shared.passes.busy)]
        self.led_services: list[Service] = [self._lead, shared.changes.announcer.run]
        self.knowledge = Knowledge(
            settings,
            shared.repositories,
            shared.kustomizations,
            shared.changelog,
            shared.canaries,
            triggers=shared.triggers,
            rollouts=shared.rollouts.current,
            runs=shared.rollouts.finished,
            stale=shared.serving.stale,
        )
        source = SourceRole(shared) if settings.runs("source") else None
        kustomize = KustomizeRole(shared, count_for) if settings.runs("kustomize") else None
        self._canary = CanaryRole(shared) if settings.runs("canary") else None
        for role in (source, kustomize):
            if role is not None:
                self.services += role.services
                self.led_services += role.led_services
        if source and kustomize:
            # what the last commit has left to be done makes room for the fetch of the next one
            kustomize.queue.make_room_for(source.queue)
        if self._canary and source and kustomize:
            self._canary.write_back(home=kustomize.home, wake=source.look)

    @property
    def controllers(self) -> Sequence[Runnable]:
        """The controllers of all roles."""
        return self._shared.passes.controllers

    def attach(self, manager: Manager) -> None:
        """The knowledge that only the manager has."""
        self.knowledge.attach(manager)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Renderer processes and HTTP sessions, open while the block runs. Raises RendererUnavailableError."""
        async with AsyncExitStack() as stack:
            await self._shared.open(stack)
            if self._canary is not None:
                await self._canary.open(stack)
            yield

    async def _lead(self) -> None:
        """Tells of leading for as long as it lasts."""
        leader = self._shared.metrics.leader
        leader.set(1)
        try:
            await asyncio.Event().wait()
        finally:
            leader.set(0)
