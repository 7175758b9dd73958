"""Provider `istio`: a VirtualService named like the clients' Service, a DestinationRule for each of the two others.

The VirtualService is the memory of how far a rollout has come, so every write carries the resource version it was
decided on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import DESTINATION_RULES, VIRTUAL_SERVICES, Object
from agent.adapters.traffic.router import RouteUnknownError, create, patch, replacing, without_owner
from agent.api.canary import Canary
from agent.core.rollout import virtualservice
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.affinity import Cookies


class IstioRouter:
    """See the module."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:
        """Create the objects with all traffic on the primary, or bring existing ones up to the spec, weights kept."""
        for name in (canary.canary_service_name, canary.primary_service_name):
            await self._ensure_rule(canary, name)
        live = await self._find(canary)
        with _refusals():
            if live is None:
                body = virtualservice.new_virtual_service(canary)
                if await create(self._client, VIRTUAL_SERVICES, canary.namespace, body):
                    return
                live = await self._get(canary)
            spec = virtualservice.routed(canary, live, virtualservice.weights_of(canary, live) or HOME, cookies)
        change = {
            "spec": replacing(live["spec"], spec),
            "metadata": virtualservice.metadata_patch(canary, live, spec),
        }
        await patch(self._client, VIRTUAL_SERVICES, live, {name: part for name, part in change.items() if part})

    async def get_routes(self, canary: Canary) -> Weights:
        """The weights of our route."""
        weights = virtualservice.weights_of(canary, await self._get(canary))
        if weights is None:
            raise RouteUnknownError(
                f"VirtualService {_where(canary)} does not contain routes for {canary.primary_service_name} and "
                f"{canary.canary_service_name}"
            )
        return weights

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:
        """Rewrite our routes with these weights."""
        live = await self._get(canary)
        with _refusals():
            spec = replacing(live["spec"], virtualservice.routed(canary, live, weights, cookies))
        await patch(self._client, VIRTUAL_SERVICES, live, {"spec": spec} if spec else {})

    async def finalize(self, canary: Canary) -> None:
        """Put back what was there before, or leave routes behind that lead to the clients' Service."""
        live = await self._find(canary)
        if live is None:
            return
        with _refusals():
            spec = replacing(live["spec"], virtualservice.restored(canary, live))
        metadata = {"ownerReferences": without_owner(live, canary), "annotations": {virtualservice.ORIGINAL: None}}
        await patch(self._client, VIRTUAL_SERVICES, live, {"spec": spec, "metadata": metadata})

    async def _ensure_rule(self, canary: Canary, name: str) -> None:
        live = await self._client.find(DESTINATION_RULES, canary.namespace, name)
        if live is None:
            await create(
                self._client, DESTINATION_RULES, canary.namespace, virtualservice.destination_rule(canary, name)
            )
            return
        await patch(self._client, DESTINATION_RULES, live, virtualservice.destination_rule_patch(canary, live, name))

    async def _find(self, canary: Canary) -> Object | None:
        return await self._client.find(VIRTUAL_SERVICES, canary.namespace, canary.service_name)

    async def _get(self, canary: Canary) -> Object:
        live = await self._find(canary)
        if live is None:
            raise RouteUnknownError(f"VirtualService {_where(canary)} get query error: not found")
        return live


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except virtualservice.MeshRouteError as error:
        raise RouteUnknownError(str(error)) from error


def _where(canary: Canary) -> str:
    return f"{canary.service_name}.{canary.namespace}"
