"""Provider `nginx`: a copy of the clients' Ingress that takes a share of its requests, as its annotations say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import INGRESSES, Object
from agent.adapters.traffic.router import RouteUnknownError, create, patch, replacing
from agent.api.canary import Canary
from agent.core.rollout import ingress
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import Cookies


class NginxRouter:
    """`prefix`: of the annotations that ingress-nginx looks at."""

    def __init__(self, client: KubeClient, prefix: str = ingress.PREFIX) -> None:
        self._client = client
        self._prefix = prefix

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:  # noqa: ARG002 - the protocol's parameter
        """Create the copy, taking nothing, or let its paths follow those of the clients' Ingress."""
        with _refusals():
            name = ingress.source_name(canary)
            source = await self._client.find(INGRESSES, canary.namespace, name)
            if source is None:
                raise RouteUnknownError(f"ingress {name}.{canary.namespace} get query error: not found")
            live = await self._find(canary)
            if live is None:
                body = ingress.new_ingress(canary, source, self._prefix)
                if await create(self._client, INGRESSES, canary.namespace, body):
                    return
                live = await self._get(canary)
            spec = replacing(live["spec"], ingress.copied_spec(canary, source))
        await patch(self._client, INGRESSES, live, {"spec": spec} if spec else {})

    async def get_routes(self, canary: Canary) -> Weights:
        """The share that the copy takes."""
        with _refusals():
            return ingress.weights_of(canary, await self._get(canary), self._prefix)

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:  # noqa: ARG002 - protocol
        """Let the copy take this share."""
        live = await self._get(canary)
        with _refusals():
            change = ingress.annotations_patch(canary, live, weights, self._prefix)
        await patch(self._client, INGRESSES, live, {"metadata": {"annotations": change}} if change else {})

    async def finalize(self, canary: Canary) -> None:
        """Nothing: the copy goes with the Canary, and the clients' Ingress was never changed."""

    async def _find(self, canary: Canary) -> Object | None:
        return await self._client.find(INGRESSES, canary.namespace, ingress.canary_name(canary))

    async def _get(self, canary: Canary) -> Object:
        with _refusals():
            live = await self._find(canary)
            if live is None:
                name = ingress.canary_name(canary)
                raise RouteUnknownError(f"ingress {name}.{canary.namespace} get query error: not found")
        return live


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ingress.IngressError as error:
        raise RouteUnknownError(str(error)) from error
