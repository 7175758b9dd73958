"""Provider `knative`: the Knative Service itself splits its traffic between its revisions."""

from __future__ import annotations

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import KNATIVE_REVISIONS, KNATIVE_SERVICES, Object
from agent.adapters.traffic.router import RouteUnknownError, patch
from agent.api.canary import Canary
from agent.core.rollout import knative
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import Cookies


class KnativeRouter:
    """Moves the traffic of a Knative Service, and everything else that a rollout does to it.

    Every write carries the resource version it was decided on.
    """

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def find(self, canary: Canary) -> knative.Revisions | None:
        """The Service with the two revisions that matter, None if there is no such Service."""
        service = await self._client.find(KNATIVE_SERVICES, canary.namespace, canary.target_name)
        if service is None:
            return None
        latest, primary = knative.latest_name(service), knative.primary_name(service)
        return knative.Revisions(service, await self._revision(canary, latest), await self._revision(canary, primary))

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:
        """Nothing to create: the Service is the target."""

    async def get_routes(self, canary: Canary) -> Weights:
        """The shares as the Service has them."""
        weights = knative.weights_of(await self._get(canary))
        if weights is None:
            raise RouteUnknownError(f"Knative Service {_where(canary)} traffic spec invalid")
        return weights

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:  # noqa: ARG002 - protocol
        """Split the traffic between the revision that serves and the latest one."""
        service = await self._get(canary)
        name = knative.primary_name(service)
        if not name:
            raise RouteUnknownError(f"Knative Service {_where(canary)} annotation {knative.PRIMARY} not found")
        change = knative.split(name, weights)
        if service["spec"].get("traffic") != change["spec"]["traffic"]:
            await patch(self._client, KNATIVE_SERVICES, service, change)

    async def take_over(self, canary: Canary, name: str) -> None:
        """The revision of that name is the one that serves, with all traffic; later ones get none of their own, whether
        they have come since it was read or will come."""
        service = await self._get(canary)
        if not name:
            raise RouteUnknownError(f"Knative Service {_where(canary)} has no revision yet")
        if knative.primary_name(service) != name or knative.weights_of(service) is None:
            await patch(self._client, KNATIVE_SERVICES, service, knative.serving(name))

    async def promote(self, canary: Canary, name: str) -> None:
        """The revision that was judged serves from now on; its traffic is moved afterwards."""
        service = await self._get(canary)
        if knative.primary_name(service) != name:
            change = {"metadata": {"annotations": {knative.PRIMARY: name}}}
            await patch(self._client, KNATIVE_SERVICES, service, change)

    async def finalize(self, canary: Canary) -> None:
        """Leave the Service to Knative, which sends everything to the latest revision."""
        service = await self._client.find(KNATIVE_SERVICES, canary.namespace, canary.target_name)
        if service is not None:
            await patch(self._client, KNATIVE_SERVICES, service, knative.released())

    async def _revision(self, canary: Canary, name: str) -> Object | None:
        return await self._client.find(KNATIVE_REVISIONS, canary.namespace, name) if name else None

    async def _get(self, canary: Canary) -> Object:
        service = await self._client.find(KNATIVE_SERVICES, canary.namespace, canary.target_name)
        if service is None:
            raise RouteUnknownError(f"Knative Service {_where(canary)} get query error: not found")
        return service


def _where(canary: Canary) -> str:
    return f"{canary.target_name}.{canary.namespace}"
