"""Provider `gatewayapi:v1`: one HTTPRoute named like the clients' Service.

The route is the memory of how far a rollout has come, so every write carries the resource version it was decided on,
and a conflict is decided anew instead of overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Conflict
from agent.adapters.kube.resource import HTTP_ROUTES, Object
from agent.adapters.traffic.router import RouteUnknownError, create, without_owner
from agent.api.canary import Canary
from agent.core.rollout import httproute
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.affinity import Cookies
from agent.core.rollout.ownership import FIELD_MANAGER

_TRIES = 3


class GatewayRouter:
    """See the module."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:
        """Create the route with all traffic on the primary, or bring an existing one up to the spec, weights kept."""
        live = await self._find(canary)
        if live is None:
            body = _checked(partial(httproute.new_route, canary))
            if await create(self._client, HTTP_ROUTES, canary.namespace, body):
                return
            live = await self._find(canary)
            if live is None:
                return

        def keep(current: Object) -> Weights:
            return httproute.weights_of(canary, current) or HOME

        await self._write(canary, live, keep, cookies, adopt=True)

    async def get_routes(self, canary: Canary) -> Weights:
        """The weights of our rule."""
        live = await self._find(canary)
        where = f"{canary.service_name}.{canary.namespace}"
        if live is None:
            raise RouteUnknownError(f"HTTPRoute {where} get error: not found")
        refused = httproute.not_accepted(live)
        if refused:
            raise RouteUnknownError(refused)
        weights = httproute.weights_of(canary, live)
        if weights is None:
            raise RouteUnknownError(f"HTTPRoute {where} has no rule for the canary")
        return weights

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:
        """Rewrite our rules with these weights."""
        live = await self._find(canary)
        if live is None:
            raise RouteUnknownError(f"HTTPRoute {canary.service_name}.{canary.namespace} get error: not found")
        await self._write(canary, live, lambda _: weights, cookies)

    async def finalize(self, canary: Canary) -> None:
        """Leave a route behind that leads to the clients' Service and outlives the Canary."""
        live = await self._find(canary)
        if live is None:
            return
        spec = _checked(partial(httproute.restored, canary, live))
        patch: dict[str, Any] = {"spec": spec, "metadata": {"ownerReferences": without_owner(live, canary)}}
        await self._patch(canary, live, patch)

    async def _write(
        self,
        canary: Canary,
        live: Object,
        choose: Callable[[Object], Weights],
        cookies: Cookies,
        *,
        adopt: bool = False,
    ) -> None:
        for attempt in range(1, _TRIES + 1):
            spec = _checked(partial(httproute.with_weights, canary, live, choose(live), cookies))
            patch: dict[str, Any] = {"spec": spec} if spec != live["spec"] else {}
            metadata = httproute.metadata_patch(canary, live) if adopt else {}
            if metadata:
                patch["metadata"] = metadata
            if not patch:
                return
            try:
                await self._patch(canary, live, patch)
            except Conflict:
                again = await self._find(canary)
                if again is None or attempt == _TRIES:
                    raise
                live = again
            else:
                return

    async def _patch(self, canary: Canary, live: Object, patch: dict[str, Any]) -> None:
        gone = dict.fromkeys(set(live["spec"]) - set(patch.get("spec") or live["spec"]))
        if gone:
            patch = {**patch, "spec": {**patch["spec"], **gone}}
        await self._client.merge_patch(
            HTTP_ROUTES,
            canary.namespace,
            canary.service_name,
            patch,
            field_manager=FIELD_MANAGER,
            resource_version=live["metadata"]["resourceVersion"],
        )

    async def _find(self, canary: Canary) -> Object | None:
        return await self._client.find(HTTP_ROUTES, canary.namespace, canary.service_name)


def _checked(build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return build()
    except httproute.RouteError as error:
        raise RouteUnknownError(str(error)) from error
