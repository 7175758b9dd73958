"""Provider `kserve`: KServe itself splits the traffic; a rollout writes the object that it serves from.

Everything that a rollout says about an object goes into one server-side apply under its own field manager, so that
what it no longer says disappears with the same write. What is to be written follows from the object as it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.resource import CANARIES, DEPLOYMENTS, PODS, Object, Resource
from agent.adapters.loraservers import LoraServers
from agent.adapters.traffic.lorapool import LoraPool
from agent.adapters.traffic.router import RouteUnknownError
from agent.api.canary import Canary
from agent.core.objects import annotations_of, split_api_version
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import Cookies
from agent.core.rollout.kserve.content import GROUP, INFERENCE_SERVICE, LLM_INFERENCE_SERVICE, PROMOTED, TRIAL
from agent.core.rollout.kserve.llm import sibling_name
from agent.core.rollout.kserve.lora import asks_for_pool, uncounted
from agent.core.rollout.kserve.services import serving_of
from agent.core.rollout.kserve.serving import Bring, Remove, ServiceError, Services, Serving, Withdraw, Write
from agent.core.rollout.kserve.split import REWRITE
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.surge import SURGE, Surge
from agent.errors import ConfigurationError

INFERENCE_SERVICES = Resource(GROUP, "v1beta1", "inferenceservices", INFERENCE_SERVICE, namespaced=True)
LLM_INFERENCE_SERVICES = Resource(GROUP, "v1alpha1", "llminferenceservices", LLM_INFERENCE_SERVICE, namespaced=True)
_PLURALS = {INFERENCE_SERVICE: "inferenceservices", LLM_INFERENCE_SERVICE: "llminferenceservices"}


def served_resource(canary: Canary) -> Resource:
    """The target's kind in the version that the Canary names."""
    reference = canary.spec.target_ref
    group, version = split_api_version(reference.api_version)
    return Resource(group, version, _PLURALS[reference.kind], reference.kind, namespaced=True)


class KServeRouter:
    """Moves the traffic of a KServe object, and everything else that a rollout does to it.

    One for each tick. Methods raise ApiError, and ConfigurationError for an object that cannot be rolled out as it is.
    """

    def __init__(self, client: KubeClient, servers: LoraServers) -> None:
        self._client = client
        self._pool = LoraPool(client, servers)

    async def find(self, canary: Canary, *, asks: bool = True) -> Services | None:
        """The target and, for an LLMInferenceService, the second one beside it. With `asks` also what servers say of
        an adapter on trial, for which one that hangs is waited for."""
        resource = served_resource(canary)
        beside = (sibling_name(canary.target_name),) if resource.kind == LLM_INFERENCE_SERVICE else ()
        names = (canary.target_name, *beside)
        target, *second = await asyncio.gather(*(self._client.find(resource, canary.namespace, name) for name in names))
        if target is None:
            return None
        single = canary.metadata.annotations.get(SURGE) == Surge.ONE_POD
        services = Services(target, second[0] if second else None, single=single)
        if not beside:
            return services
        pool = await (
            self._pool.read(target, uncounted(canary), asks=asks) if asks_for_pool(target) else self._pool.names(target)
        )
        return msgspec.structs.replace(services, pool=pool, owner=_owner(canary))

    async def look(self, canary: Canary, services: Services) -> Services:
        """With what KServe does not tell of its pods, as far as it may be read. Raises ServiceError."""
        wanted = serving_of(services.target).look(services)
        workload, tried = [await self._deployment(canary, name) for name in (wanted.workload, wanted.tried)]
        pods: tuple[Object, ...] = ()
        if wanted.pods:
            with suppress(Forbidden):
                pods = (await self._client.list(PODS, canary.namespace, label_selector=wanted.pods)).items
        return msgspec.structs.replace(services, workload=workload, tried=tried, pods=pods)

    async def _deployment(self, canary: Canary, name: str) -> Object | None:
        if name:
            with suppress(Forbidden):
                return await self._client.find(DEPLOYMENTS, canary.namespace, name)
        return None

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:  # noqa: ARG002 - the protocol's parameter
        """Take away what an earlier run left behind and nobody needs any more."""
        await self._write(canary, lambda serving, services: serving.settled(services), asks=True)

    async def get_routes(self, canary: Canary) -> Weights:
        """The shares as the object has them. KServe gives a canary none before it is ready."""
        services = await self.find(canary, asks=False)
        if services is None:
            raise RouteUnknownError(f"{canary.spec.target_ref.kind} {canary.target_name}.{canary.namespace} not found")
        try:
            return serving_of(services.target).weights(services)
        except ServiceError as error:
            raise RouteUnknownError(str(error)) from error

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:  # noqa: ARG002 - as above
        """Rewrite the share of the canary; at none of it there is no canary any more."""
        await self._write(canary, lambda serving, services: serving.weighted(services, weights.canary))

    async def take_over(self, canary: Canary) -> None:
        """The fields of a revision become the rollout's, with the values they have."""
        await self._write(canary, lambda serving, services: serving.taken_over(services))

    async def bring_up(self, canary: Canary) -> None:
        """What Git asks for beside what serves, without traffic."""
        await self._write(canary, lambda serving, services: serving.raised(services))

    async def take_down(self, canary: Canary) -> None:
        """What is tried goes, once nobody is sent to it any more."""
        await self._write(canary, lambda serving, services: serving.lowered(services, at_once=False))

    async def promote(self, canary: Canary, identity: str) -> None:
        """What Git asks for serves from now on."""
        await self._write(canary, lambda serving, services: serving.promoted(services, identity))

    async def finalize(self, canary: Canary) -> None:
        """The object belongs to Git alone again, as it serves now; what was tried goes."""
        await self._write(canary, lambda serving, services: serving.lowered(services, at_once=True), asks=True)
        live = await self._client.find(served_resource(canary), canary.namespace, canary.target_name)
        if live is None:
            return
        entries = live["metadata"].get("managedFields") or []
        ours = [place for place, entry in enumerate(entries) if entry.get("manager") == FIELD_MANAGER]
        notes = [name for name in (PROMOTED, TRIAL) if name in annotations_of(live)]
        version = live["metadata"]["resourceVersion"]
        operations: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
        operations += [{"op": "remove", "path": f"/metadata/managedFields/{place}"} for place in reversed(ours)]
        operations += [{"op": "remove", "path": f"/metadata/annotations/{name.replace('/', '~1')}"} for name in notes]
        if len(operations) > 1:
            resource = served_resource(canary)
            await self._client.json_patch(resource, canary.namespace, canary.target_name, operations)

    async def _write(
        self, canary: Canary, choose: Callable[[Serving, Services], tuple[Write, ...]], *, asks: bool = False
    ) -> None:
        """No server is asked before requests are moved: it may hang, and those that it gets are to come back."""
        services = await self.find(canary, asks=asks)
        if services is None:
            return
        try:
            writes = choose(serving_of(services.target), services)
        except ServiceError as error:
            raise ConfigurationError(str(error), reason=error.reason) from error
        for write in writes:
            if not await self._done(canary, services, write):
                return

    async def _done(self, canary: Canary, services: Services, write: Write) -> bool:
        """Whether to go on with what is to be written after it."""
        match write:
            case Bring():
                pool = services.pool
                pods = (*pool.pods, *pool.unready) if write.unready else pool.pods
                return await self._pool.bring(pods, write) or not write.required
            case Withdraw():
                await self._pool.withdraw(services.pool, canary.namespace, write)
            case Remove():
                with suppress(NotFound):
                    await self._client.delete(served_resource(canary), canary.namespace, write.name)
            case {"kind": kind} if kind == REWRITE:
                await self._pool.rewrite(write)
            case _:
                await self._apply(canary, write)
        return True

    async def _apply(self, canary: Canary, write: Object) -> None:
        resource, namespace, name = served_resource(canary), canary.namespace, write["metadata"]["name"]
        stored = await self._client.apply(resource, namespace, name, write, field_manager=FIELD_MANAGER)
        _require_kept(write, stored)


def _owner(canary: Canary) -> dict[str, Any]:
    """What a Canary makes goes with it."""
    reference = {"apiVersion": CANARIES.api_version, "kind": CANARIES.kind, "name": canary.name}
    return {**reference, "uid": canary.metadata.uid, "controller": True, "blockOwnerDeletion": False}


def _require_kept(written: Object, stored: Object) -> None:
    """KServe before 0.20 drops `spec.canary` without a word, and so would the rollout go on without a canary."""
    if written["spec"].get("canary") and not stored["spec"].get("canary"):
        text = "this KServe does not know spec.canary of InferenceService: 0.20 or later is needed for Standard mode"
        raise ConfigurationError(text, reason="TargetNotSupported")
