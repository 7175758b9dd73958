"""The canary role: rollouts, and the rollback in Git where all roles run in one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from agent.adapters.forges import Forges
from agent.adapters.kube.client import KubeClient
from agent.adapters.loraservers import LoraServers
from agent.adapters.prometheus import Prometheus
from agent.adapters.webhooks import Webhooks
from agent.api.canary import Canary
from agent.api.kustomization import Kustomization
from agent.assembly.shared import Shared
from agent.controllers.canary import (
    CanaryReconciler,
    CanarySettings,
    ChatAlerts,
    FlaggerMetrics,
    applied_watcher,
    watch_canaries,
    watch_workloads,
)
from agent.controllers.writeback import WriteBackParts, WriteBackReconciler, Writer, watch_rejections

Key = tuple[str, str]

_WORKERS = 32  # a tick waits for hooks and Prometheus, and needs hardly any CPU


class CanaryRole:
    """What Flagger does."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        settings = CanarySettings.of(shared.settings)
        self._prometheus, self._webhooks, self._forges, self._lora = Prometheus(), Webhooks(), Forges(), LoraServers()
        self._alerts = ChatAlerts(shared.client, settings)
        reconciler = CanaryReconciler(
            client=shared.client,
            canaries=shared.canaries,
            settings=settings,
            alerts=self._alerts,
            prometheus=self._prometheus,
            webhooks=self._webhooks,
            servers=self._lora,
            events=shared.events,
            metrics=FlaggerMetrics(shared.metrics.registry),
            rollouts=shared.rollouts,
            changes=shared.changelog,
        )
        queue = shared.passes.controller("canary", Canary, reconciler.reconcile, at_least=_WORKERS).queue
        watch_canaries(shared.canaries, queue)
        watch_workloads(shared.following, shared.canaries, queue, namespace=shared.settings.canary_namespace)
        shared.live.subscribe(applied_watcher(shared.canaries, queue))

    async def open(self, stack: AsyncExitStack) -> None:
        """The HTTP sessions, until the stack closes."""
        for session in (self._prometheus, self._webhooks, self._forges, self._alerts, self._lora):
            await stack.enter_async_context(session)

    def write_back(self, *, home: Callable[[Kustomization], KubeClient], wake: Callable[[Key], None]) -> None:
        """Needs all roles in one process: it builds as the applier does, from the mirrors of the sources.

        `home` is the client that reads for a Kustomization, `wake` looks at a GitRepository at once.
        """
        shared = self._shared
        parts = WriteBackParts(
            client=shared.client,
            repositories=shared.repositories,
            kustomizations=shared.kustomizations,
            registry=shared.registry,
            writer=Writer(shared.mirrors, self._forges, shared.builder),
            home=home,
            events=shared.events,
            wake=wake,
        )
        reconcile = WriteBackReconciler(parts).reconcile
        controller = shared.passes.controller("canary", Canary, reconcile, name="writeback")
        watch_rejections(shared.canaries, controller.queue)
