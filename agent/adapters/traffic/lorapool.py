"""The pods that serve an LLMInferenceService, as far as adapters go, and the rewrites of its names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.resource import PODS, Object, Resource
from agent.adapters.loraservers import LoraError, LoraServers
from agent.core.objects import split_api_version
from agent.core.rollout.kserve.content import content_of
from agent.core.rollout.kserve.lora import split_under_way
from agent.core.rollout.kserve.pods import llm_fleet
from agent.core.rollout.kserve.serving import Bring, Withdraw
from agent.core.rollout.kserve.split import (
    PREFIX,
    REWRITE,
    REWRITE_APIS,
    Pool,
    ServingPod,
    has_adapters,
    serving_pods,
    unready_pods,
)
from agent.core.rollout.ownership import FIELD_MANAGER


class LoraPool:
    """One for each tick: it remembers what servers have refused meanwhile. Methods raise ApiError."""

    def __init__(self, client: KubeClient, servers: LoraServers) -> None:
        self._client = client
        self._servers = servers
        self._faults: dict[str, LoraError] = {}
        self._served: dict[str, Mapping[str, str | None] | LoraError] = {}
        """What servers have said since the last change of theirs: one that hangs is waited for once in a tick."""

    async def read(self, target: Object, refusal: str, *, asks: bool) -> Pool:
        """What serves now. With `asks` servers are asked for it while something is on trial in them."""
        namespace, name = target["metadata"]["namespace"], target["metadata"]["name"]
        begun = split_under_way(target)
        if refusal and not begun:
            return Pool(refusal=refusal)
        (api, rewrites), found = await asyncio.gather(
            self._rewrites(namespace, strict=begun), self._pods(namespace, name, strict=begun)
        )
        pattern = llm_fleet(name, content_of(target)).pattern
        pods, unready = serving_pods(found, pattern), unready_pods(found, pattern)
        if begun and asks:
            pods = tuple(await asyncio.gather(*(self._asked(pod) for pod in pods)))
        return Pool(refusal=refusal, api=api, rewrites=rewrites, pods=pods, unready=unready)

    async def names(self, target: Object) -> Pool:
        """The rewrites alone, where there are adapters and nothing is to be tried."""
        if not has_adapters(content_of(target)):
            return Pool()
        api, rewrites = await self._rewrites(target["metadata"]["namespace"], strict=False)
        return Pool(api=api, rewrites=rewrites)

    async def bring(self, pods: Sequence[ServingPod], wanted: Bring) -> bool:
        """Have every pod serve what is wanted; whether all of them do."""
        return all(await asyncio.gather(*(self._brought(pod, wanted) for pod in pods)))

    async def rewrite(self, manifest: Object) -> None:
        """Write a rewrite as a whole."""
        metadata, resource = manifest["metadata"], _resource(manifest["apiVersion"])
        await self._client.apply(
            resource, metadata["namespace"], metadata["name"], manifest, field_manager=FIELD_MANAGER
        )

    async def withdraw(self, pool: Pool, namespace: str, write: Withdraw) -> None:
        """Delete a rewrite, wherever the kind is served. Raises Forbidden: one that may still be there sends requests
        to what would be unloaded next."""
        forbidden: Forbidden | None = None
        for api in REWRITE_APIS:
            try:
                await self._client.delete(_resource(api), namespace, write.name)
            except NotFound:
                continue
            except Forbidden as error:
                forbidden = error if pool.api in {"", api} else forbidden
        if forbidden is not None:
            raise forbidden

    async def _rewrites(self, namespace: str, *, strict: bool) -> tuple[str, tuple[Object, ...]]:
        """Where they are served, and all of them. `strict`: raises Forbidden, as one may be there that is not seen."""
        forbidden: Forbidden | None = None
        for api in REWRITE_APIS:
            try:
                return api, (await self._client.list(_resource(api), namespace)).items
            except NotFound:
                continue
            except Forbidden as error:
                forbidden = error
        if forbidden is not None and strict:
            raise forbidden
        return "", ()

    async def _pods(self, namespace: str, name: str, *, strict: bool) -> tuple[Object, ...]:
        """`strict`: raises Forbidden, as nothing is known then of what is on trial."""
        try:
            return (await self._client.list(PODS, namespace, label_selector=f"app.kubernetes.io/name={name}")).items
        except Forbidden:
            if strict:
                raise
            return ()

    async def _asked(self, pod: ServingPod) -> ServingPod:
        if pod.url not in self._served:
            try:
                self._served[pod.url] = await self._servers.served(pod.url)
            except LoraError as error:
                self._served[pod.url] = error
        answer = self._served[pod.url]
        served = None if isinstance(answer, LoraError) else answer
        fault = self._faults.get(pod.name) or (answer if isinstance(answer, LoraError) else None)
        if fault is None:
            return msgspec.structs.replace(pod, served=served)
        return msgspec.structs.replace(pod, served=served, fault=fault.message, hopeless=fault.refused)

    async def _brought(self, pod: ServingPod, wanted: Bring) -> bool:
        if isinstance(self._served.get(pod.url), LoraError):
            return False
        self._served.pop(pod.url, None)
        try:
            await self._servers.bring(pod.url, PREFIX, wanted.wanted, wanted.gone)
        except LoraError as error:
            if wanted.wanted:
                self._faults[pod.name] = error
            return False
        self._faults.pop(pod.name, None)
        return True


def _resource(api: str) -> Resource:
    group, version = split_api_version(api)
    return Resource(group, version, "inferencemodelrewrites", REWRITE, namespaced=True)
