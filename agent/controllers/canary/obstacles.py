"""What stands in the way of a run before it begins: accelerators, claimed devices, a model that is still on its way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.resource import (
    CLUSTER_SERVING_RUNTIMES,
    DEVICE_CLASSES,
    JOBS,
    LOCAL_MODEL_CACHES,
    LOCAL_MODEL_NAMESPACE_CACHES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_QUOTAS,
    RESOURCE_SLICES,
    SERVING_RUNTIMES,
    Object,
    Resource,
)
from agent.api.canary import Canary, CanaryStatus
from agent.controllers.canary.observing import World
from agent.core.rollout import devices, prefetch
from agent.core.rollout.accelerators import demand_of, free_of, shortage
from agent.core.rollout.hashing import template_hash
from agent.core.rollout.kserve.content import asked_of, serving_on, with_content
from agent.core.rollout.kserve.pods import runtime_of
from agent.core.rollout.kserve.services import first_pods, needs_room
from agent.core.rollout.kserve.serving import Services
from agent.core.rollout.plan import Plan
from agent.core.rollout.surge import FEWER, INSUFFICIENT, Surge

T = TypeVar("T")

ON_ITS_WAY = "ModelNotOnNodes"


class Needs(msgspec.Struct, frozen=True):
    """What the first pods of a revision need. `content`: fields with containers; `uris`: models; `claims`: templates of
    claims; `runtime`: the name of the runtime that adds containers."""

    content: Mapping[str, Any]
    pods: int
    uris: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    runtime: str = ""
    checked: bool = True
    """Room is looked for; a node autoscaler would make it."""
    cached: bool = True
    """The pods find what KServe's caches have; its webhook mounts them into those of its own objects only."""


def needs_of(canary: Canary, plan: Plan, services: Services) -> Needs | None:
    """Of what Git asks for of a KServe object; None if that is known already."""
    revision, content = asked_of(services.target)
    if revision == canary.status.last_applied_spec or serving_on(services.target).is_asked(content):
        return None
    claims = devices.templates_of(content.get("template") or {})
    pods = 1 if plan.surge is Surge.ONE_POD else first_pods(services.target)
    runtime, checked = runtime_of(services.target, content), plan.surge is not Surge.UNCHECKED and needs_room(services)
    named = prefetch.uris_of(with_content({**services.target, "spec": {}}, content))
    uris = tuple(dict.fromkeys((*prefetch.stored_in(content), *named)))
    return Needs(content, pods, uris, claims, runtime, checked=checked)


def needs_of_pods(plan: Plan, status: CanaryStatus, target: Object, primary: Object) -> Needs | None:
    """Of a workload's new template; None if that is known already."""
    template = target["spec"]["template"]
    if not status.last_applied_spec or template_hash(template) == status.last_applied_spec:
        return None
    content = template["spec"]
    pods = 1 if plan.surge in FEWER else int(primary["spec"].get("replicas") or 1)
    claims, checked = devices.templates_of(content), _looks_for_room(plan, content, primary)
    return Needs(content, pods, prefetch.uris_of(target), claims, checked=checked, cached=False)


def _looks_for_room(plan: Plan, content: Mapping[str, Any], primary: Object) -> bool:
    """Only of a Deployment whose Canary has said how it may surge: Flagger never asks for room.

    A pod in the place of another one needs none, unless it asks for more than that one has.
    """
    if plan.surge in {None, Surge.UNCHECKED} or plan.target_kind != "Deployment":
        return False
    return plan.surge is not Surge.IN_PLACE or not _fits_into(content, primary["spec"]["template"]["spec"])


def _fits_into(pod: Mapping[str, Any], place: Mapping[str, Any]) -> bool:
    """Whether a pod needs no accelerators and no claimed devices that another one does not have."""
    same = devices.templates_of(pod) == devices.templates_of(place)
    return same and demand_of(pod) <= demand_of(place)


class _Shared(Generic[T]):
    """What is read of the whole cluster, for all Canaries that wait for room. Only a lack is told from what was read
    earlier, for `fresh` seconds: what others have taken since then can only make it worse."""

    def __init__(self, read: Callable[[], Awaitable[T]], fresh: float, clock: Callable[[], float]) -> None:
        self._read = read
        self._fresh = fresh
        self._clock = clock
        self._known: T | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def lack(self, judge: Callable[[T], str]) -> str:
        """What `judge` finds missing; empty if there is room as of now."""
        async with self._lock:
            if self._known is not None and self._clock() < self._until and (lacking := judge(self._known)):
                return lacking
            self._known = await self._read()
            self._until = self._clock() + self._fresh
            return judge(self._known)


class Obstacles:
    """Asks the API; what may not be read, or is not there, is no obstacle. One for all Canaries."""

    def __init__(self, client: KubeClient, fresh: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._free = _Shared(self._read_free, fresh, clock)
        self._inventory = _Shared(self._read_inventory, fresh, clock)

    async def to_run(self, canary: Canary, plan: Plan, world: World) -> tuple[tuple[str, str], ...]:
        """(reason, text) why a run of the target's present revision could not begin now; empty if it can."""
        needs = None
        if world.services is not None:
            needs = needs_of(canary, plan, world.services)
        elif world.target is not None and world.primary is not None:
            needs = needs_of_pods(plan, canary.status, world.target, world.primary)
        found = await self.of(canary.namespace, needs) if needs is not None else None
        return () if found is None else (found,)

    async def of(self, namespace: str, needs: Needs) -> tuple[str, str] | None:
        """(reason, text) why a run that needs so much cannot begin now."""
        if needs.checked:
            lacking = await self._accelerators(namespace, needs) or await self._devices(namespace, needs)
            if lacking:
                return INSUFFICIENT, lacking
        absent = await self._absent(namespace, needs)
        return (ON_ITS_WAY, absent) if absent else None

    async def _accelerators(self, namespace: str, needs: Needs) -> str:
        demand = demand_of(needs.content, await self._added(namespace, needs.runtime))
        if not demand:
            return ""
        try:
            quotas = await self._client.list(RESOURCE_QUOTAS, namespace)
            return await self._free.lack(lambda free: shortage(demand, needs.pods, free=free, quotas=quotas.items))
        except Forbidden:
            return ""

    async def _added(self, namespace: str, runtime: str) -> Sequence[Object]:
        """The containers of a runtime: as KServe has it, one of the namespace comes before one of the cluster."""
        for resource, within in ((SERVING_RUNTIMES, namespace), (CLUSTER_SERVING_RUNTIMES, None)) if runtime else ():
            with contextlib.suppress(Forbidden, NotFound):
                found = await self._client.get(resource, within, runtime)
                return (found.get("spec") or {}).get("containers") or ()
        return ()

    async def _read_free(self) -> list[Counter[str]]:
        nodes, pods = await asyncio.gather(self._client.list(NODES), self._client.list(PODS))
        return free_of(nodes.items, pods.items)

    async def _devices(self, namespace: str, needs: Needs) -> str:
        if not needs.claims:
            return ""
        try:
            templates = [await self._client.get(RESOURCE_CLAIM_TEMPLATES, namespace, name) for name in needs.claims]
            demand, quotas = devices.demand_of(templates), await self._client.list(RESOURCE_QUOTAS, namespace)
            return await self._inventory.lack(lambda known: devices.shortage(demand, needs.pods, known, quotas.items))
        except (Forbidden, NotFound):
            return ""

    async def _read_inventory(self) -> devices.Inventory:
        slices, classes, claims = await asyncio.gather(
            self._client.list(RESOURCE_SLICES), self._client.list(DEVICE_CLASSES), self._client.list(RESOURCE_CLAIMS)
        )
        return devices.inventory_of(slices=slices.items, classes=classes.items, claims=claims.items)

    async def _absent(self, namespace: str, needs: Needs) -> str:
        if not needs.uris:
            return ""
        jobs = await self._existing(JOBS, namespace, label_selector=prefetch.PREFETCH)
        pending = prefetch.fetching(needs.uris, jobs)
        if pending or not needs.cached:
            return pending
        own = await self._existing(LOCAL_MODEL_NAMESPACE_CACHES, namespace)
        return prefetch.missing(needs.uris, (*own, *await self._existing(LOCAL_MODEL_CACHES, None)))

    async def _existing(
        self, resource: Resource, namespace: str | None, *, label_selector: str = ""
    ) -> tuple[Object, ...]:
        try:
            found = await self._client.list(resource, namespace, label_selector=label_selector)
        except (Forbidden, NotFound):
            return ()
        return tuple({**item, "kind": resource.kind} for item in found.items)
