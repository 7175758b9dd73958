"""What every traffic router can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import AlreadyExists, NotFound
from agent.adapters.kube.resource import Object, Resource
from agent.api.canary import Canary
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import Cookies
from agent.core.rollout.objects import is_owned
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.errors import OperationError


class RouteUnknownError(OperationError):
    """The route does not exist, is not served as stored, or is not ours: nothing may be moved on it."""


class Router(Protocol):
    """Moves traffic between primary and canary. All methods may raise OperationError."""

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:
        """Create or repair the router's objects. Never moves a weight; rules of others stay."""
        ...

    async def get_routes(self, canary: Canary) -> Weights:
        """Where traffic goes now, as stored and accepted. Raises RouteUnknownError if that cannot be said."""
        ...

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:
        """Move the traffic. Writes nothing if it is there already."""
        ...

    async def finalize(self, canary: Canary) -> None:
        """Send everything to the clients' Service and let go of the router's objects."""
        ...


async def create(client: KubeClient, resource: Resource, namespace: str, body: Object) -> bool:
    """Create an object of the router; False if somebody else just did. Raises RouteUnknownError."""
    try:
        await client.create(resource, namespace, body, field_manager=FIELD_MANAGER)
    except AlreadyExists:
        return False
    except NotFound as error:
        where = f"{resource.kind} {body['metadata']['name']}.{namespace}"
        text = f"{where} create error: {error.message}; is {resource.api_version} {resource.kind} installed?"
        raise RouteUnknownError(text) from error
    return True


async def patch(client: KubeClient, resource: Resource, live: Object, change: Object) -> None:
    """Merge a change into an object as it was read; nothing is written for an empty one. Raises ApiError, Conflict
    among them, if the object has changed since: then everything is decided anew."""
    if not change:
        return
    metadata = live["metadata"]
    await client.merge_patch(
        resource,
        metadata["namespace"],
        metadata["name"],
        change,
        field_manager=FIELD_MANAGER,
        resource_version=metadata["resourceVersion"],
    )


def replacing(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """The part of a merge patch that leads from one mapping to the other; empty if they are the same."""
    gone = dict.fromkeys(set(live) - set(wanted))
    return {**gone, **{name: value for name, value in wanted.items() if live.get(name) != value}}


def without_owner(live: Object, canary: Canary) -> list[dict[str, Any]]:
    """The owners of an object that is left behind when the Canary goes."""
    owners: list[dict[str, Any]] = live["metadata"].get("ownerReferences") or []
    if not is_owned(live, canary):
        return owners
    return [owner for owner in owners if owner.get("name") != canary.name or owner.get("kind") != "Canary"]
