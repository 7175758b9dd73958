"""Writing the copies of a Service that is a target."""

from __future__ import annotations

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import AlreadyExists
from agent.adapters.kube.resource import SERVICES
from agent.adapters.traffic.router import patch
from agent.api.canary import Canary
from agent.core.objects import Manifest
from agent.core.rollout import actions as act
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.servicetarget import Copies, copy_patch, new_copy


class ServiceTargets:
    """Brings the copies to what they should be, and writes nothing if they are that already."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def perform(self, canary: Canary, copies: Copies, action: act.Action) -> None:
        """Do an action; most of them mean nothing for a Service. Raises ApiError."""
        match action:
            case act.EnsureServices():
                await self._ensure(canary, copies, canary.canary_service_name)
            case act.EnsurePrimary():
                await self._ensure(canary, copies, canary.primary_service_name, update=False)
            case act.Promote():
                await self._ensure(canary, copies, canary.primary_service_name)
            case _:
                return

    async def _ensure(self, canary: Canary, copies: Copies, name: str, *, update: bool = True) -> None:
        live = await self._client.find(SERVICES, canary.namespace, name)
        if live is None:
            await self._create(canary, new_copy(canary, copies.target, name))
            return
        if update:
            await patch(self._client, SERVICES, live, copy_patch(canary, copies.target, live))

    async def _create(self, canary: Canary, manifest: Manifest) -> None:
        try:
            await self._client.create(SERVICES, canary.namespace, manifest, field_manager=FIELD_MANAGER)
        except AlreadyExists:
            return
