"""Writing the fresh copy of the primary that a canary is compared with, and taking it away again."""

from __future__ import annotations

import contextlib
import dataclasses

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import AlreadyExists, NotFound
from agent.adapters.kube.resource import DEPLOYMENTS, SERVICES
from agent.controllers.canary.tick import Tick
from agent.controllers.canary.workloads import Workloads
from agent.core.rollout.actions import DropBaseline, EnsureBaseline
from agent.core.rollout.baselineobjects import baseline_patch, baseline_workload
from agent.core.rollout.judgesettings import BASELINE
from agent.core.rollout.objects import is_owned
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.errors import ConfigurationError


class Baselines:
    """`perform` may raise ApiError and ConfigurationError. What is not the rollout's own is never written."""

    def __init__(self, client: KubeClient, workloads: Workloads) -> None:
        self._client = client
        self._workloads = workloads

    async def perform(self, tick: Tick, action: EnsureBaseline | DropBaseline) -> None:
        """Do one of the two; the world of the tick is up to date afterwards."""
        if isinstance(action, DropBaseline):
            await self._drop(tick)
            tick.world = dataclasses.replace(tick.world, baseline=None)
            return
        await self._ensure(tick, action.revision, action.replicas)
        await self._workloads.ensure_baseline_service(tick.canary, tick.world)

    async def _ensure(self, tick: Tick, revision: str, replicas: int) -> None:
        plan, world = tick.plan, tick.world
        if world.primary is None or world.selector is None:
            raise ConfigurationError(f"{plan.target_kind.lower()} {plan.primary}.{plan.namespace} not found")
        live = await self._client.find(DEPLOYMENTS, plan.namespace, plan.baseline)
        if live is None:
            primary = {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, **world.primary}
            copy = baseline_workload(
                tick.canary, primary, world.selector, plan.baseline, revision=revision, replicas=replicas
            )
            with contextlib.suppress(AlreadyExists):
                await self._client.create(DEPLOYMENTS, plan.namespace, copy, field_manager=FIELD_MANAGER)
        elif not is_owned(live, tick.canary):
            text = f"deployment {plan.baseline}.{plan.namespace} is not the rollout's: rename it, or remove {BASELINE}"
            raise ConfigurationError(text)
        elif patch := baseline_patch(live, revision=revision, replicas=replicas):
            await self._client.merge_patch(
                DEPLOYMENTS, plan.namespace, plan.baseline, patch, field_manager=FIELD_MANAGER
            )

    async def _drop(self, tick: Tick) -> None:
        plan = tick.plan
        for resource, name in ((SERVICES, tick.canary.baseline_service_name), (DEPLOYMENTS, plan.baseline)):
            live = await self._client.find(resource, plan.namespace, name)
            if live is not None and is_owned(live, tick.canary):
                with contextlib.suppress(NotFound):
                    await self._client.delete(resource, plan.namespace, name, uid=live["metadata"]["uid"])
