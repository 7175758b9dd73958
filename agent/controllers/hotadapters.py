"""Loads adapters into the pods that run, where a policy says so, instead of having the pods replaced.

What Git asks for stays in Git. As long as nothing but adapters differs, the words with which the pods were started are
left as they are in the cluster, and every pod that comes is brought to what Git asks for. Anything else that changes in
the pod template takes effect as usual, with the adapters in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import structlog

from agent.adapters.kube.resource import PODS, Object
from agent.adapters.kube.target import Target
from agent.adapters.loraservers import LoraError, LoraServers
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.reporter import COMPONENT
from agent.core.health.pods import selector_of
from agent.core.models import ChangeRecord, RenderedSet
from agent.core.models.hotload import LOADED, AdapterChange, HotServer, adapter_change, hot_server, template_hash
from agent.core.models.restarting import MANAGER
from agent.core.objects import ObjectKey
from agent.errors import WeirError
from agent.telemetry.events import EventRecorder, EventType, reference_to

Key = tuple[str, str]
_EVERY: Final = 15.0
"""Seconds between two looks for pods that have come since."""


class NotLoadedError(Exception):
    """Why pods have to be replaced."""


class Pod(NamedTuple):
    """A pod that serves: its name, address, and what tells its runs apart."""

    name: str
    address: str
    run: str


@dataclass(slots=True)
class _Kept:
    """A workload whose pods have adapters that they were not started with."""

    template: str
    server: HotServer
    selector: str
    kustomization: Kustomization
    target: Target
    done: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)


class HotAdapters:
    """`prepare` before each apply, `pointers` for what the apply leaves alone; `run` looks after pods that come.

    Pods of a Kustomization that is `suspended` are left alone.
    """

    def __init__(
        self,
        servers: LoraServers,
        events: EventRecorder,
        *,
        canaried: Callable[[ObjectKey], bool],
        suspended: Callable[[Key], bool] = lambda _key: False,
    ) -> None:
        self._servers = servers
        self._events = events
        self._canaried = canaried
        self._suspended = suspended
        self._kept: dict[Key, dict[ObjectKey, _Kept]] = {}
        self._looked: set[tuple[Key, ObjectKey]] = set()

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._kept.pop(key, None)
        self._looked = {mark for mark in self._looked if mark[0] != key}

    def pointers(self, key: Key) -> dict[ObjectKey, tuple[str, ...]]:
        """The fields of a Kustomization's objects that an apply leaves as they are."""
        return {at: (kept.server.pointer,) for at, kept in self._kept.get(key, {}).items()}

    def keeps(self, at: ObjectKey) -> bool:
        """Whether an object's adapters are looked after here."""
        return any(at in kept for kept in self._kept.values())

    async def prepare(
        self,
        kustomization: Kustomization,
        policies: Sequence[ChangePolicy],
        records: Iterable[ChangeRecord],
        sides: tuple[tuple[bytes, ...] | None, tuple[bytes, ...]],
        target: Target,
    ) -> None:
        """Load what a policy wants to have loaded. *sides* are the objects that are applied, and those that will be."""
        key = (kustomization.namespace, kustomization.name)
        wanted = any(rule.action == "hot-reload" for policy in policies for rule in policy.spec.rules)
        if not wanted or kustomization.spec.kube_config is not None:
            self.forget(key)
            return
        old, new = await asyncio.to_thread(lambda: tuple(RenderedSet.from_json(side or ()) for side in sides))
        fresh = {_key(record) for record in records if record.kind == "adapter" and record.action == "hot-reload"}
        kept: dict[ObjectKey, _Kept] = {}
        for at, entry in new.entries.items():
            server = hot_server(at, entry.object)
            if server is None or self._canaried(at):
                continue
            this = _Kept(template_hash(entry.object), server, selector_of(dict(entry.object)), kustomization, target)
            before = old.entries.get(at)
            if at in fresh and before is not None:
                change = adapter_change(at, before.object, entry.object)
                if await self._loaded(at, this, change):
                    kept[at] = this
            elif (found := await self._still(key, at, this)) is not None:
                kept[at] = found
        self._kept[key] = kept

    async def run(self) -> None:
        """Bring pods that have come since to what Git asks for, for ever."""
        while True:
            await asyncio.sleep(_EVERY)
            await self.look()

    async def look(self) -> None:
        """Look once at all workloads."""
        for key, kept in [(key, dict(kept)) for key, kept in self._kept.items()]:
            for at, this in kept.items():
                if not self._suspended(key):
                    await self._look(at, this)

    async def _look(self, at: ObjectKey, this: _Kept) -> None:
        try:
            pods = await self._pods(at, this)
        except WeirError as error:
            self._tell(this, "Warning", "AdaptersNotLoaded", f"pods of {at.kind} {at.name}: {error.message}")
            return
        this.done &= {pod.run for pod in pods}
        for pod in pods:
            if pod.run in this.done:
                continue
            try:
                await self._servers.bring(pod.address, this.server.prefix, this.server.adapters, ())
                this.done.add(pod.run)
            except LoraError as error:
                self._tell(this, "Warning", "AdaptersNotLoaded", f"pod {pod.name}: {error.message}")

    async def _loaded(self, at: ObjectKey, this: _Kept, change: AdapterChange | None) -> bool:
        """Whether all pods that run serve the adapters now. If not, they are to be replaced."""
        shown = f"{at.kind} {at.name}"
        try:
            names = await self._bring(at, this, change)
            await self._note(at, this)
        except (NotLoadedError, WeirError) as error:
            why = error.message if isinstance(error, WeirError) else str(error)
            self._tell(this, "Warning", "HotReloadFailed", f"pods of {shown} are replaced: {why}")
            return False
        told = f"{', '.join(sorted(names)) or 'nothing'} in {len(this.done)} pods of {shown}, which go on running"
        self._tell(this, "Normal", "AdaptersLoaded", f"loaded or unloaded {told}")
        return True

    async def _bring(self, at: ObjectKey, this: _Kept, change: AdapterChange | None) -> set[str]:
        """The names of adapters that were loaded or unloaded. Raises NotLoadedError or ApiError."""
        if change is None:
            raise NotLoadedError("more than its adapters differs")
        pods = await self._pods(at, this)
        if not pods:
            raise NotLoadedError("no pod of it serves")

        async def bring(pod: Pod) -> list[str]:
            try:
                return await self._servers.bring(pod.address, change.server.prefix, change.wanted, change.gone)
            except LoraError as error:
                raise NotLoadedError(f"pod {pod.name}: {error.message}") from None

        done = await asyncio.gather(*(bring(pod) for pod in pods), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException):
                raise one
        this.done = {pod.run for pod in pods}
        return {name for names in done if isinstance(names, list) for name in names}

    async def _note(self, at: ObjectKey, this: _Kept) -> None:
        """On the object, for the process that comes after this one."""
        resource = await this.target.discovery.preferred(at.group, at.kind)
        patch = {"metadata": {"annotations": {LOADED: this.template}}}
        await this.target.client.merge_patch(resource, at.namespace, at.name, patch, field_manager=MANAGER)

    async def _still(self, key: Key, at: ObjectKey, this: _Kept) -> _Kept | None:
        """The workload, if its adapters were loaded instead of applied, by this process or by one before it."""
        known = self._kept.get(key, {}).get(at)
        if known is not None:
            known.target = this.target
            return known if known.template == this.template else None
        if (key, at) in self._looked:
            return None
        resource = await this.target.discovery.preferred(at.group, at.kind)
        live = await this.target.client.find(resource, at.namespace, at.name, metadata_only=True)
        self._looked.add((key, at))
        noted = ((live or {}).get("metadata") or {}).get("annotations") or {}
        return this if noted.get(LOADED) == this.template else None

    async def _pods(self, at: ObjectKey, this: _Kept) -> list[Pod]:
        page = await this.target.client.list(PODS, at.namespace, label_selector=this.selector)
        return [pod for item in page.items if (pod := _serving(item, this.server)) is not None]

    def _tell(self, this: _Kept, kind: EventType, reason: str, message: str) -> None:
        if message in this.told:
            return
        this.told.add(message)
        structlog.get_logger().info(message, reason=reason)
        self._events.event(reference_to(this.kustomization), kind, reason, message, component=COMPONENT)


def _serving(pod: Object, server: HotServer) -> Pod | None:
    """A pod that is ready and stays."""
    metadata: Mapping[str, Any] = pod["metadata"]
    status: Mapping[str, Any] = pod.get("status") or {}
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or ())
    address = str(status.get("podIP") or "")
    if not ready or not address or metadata.get("deletionTimestamp"):
        return None
    listed = status.get("containerStatuses") or ()
    restarts = next((one.get("restartCount", 0) for one in listed if one.get("name") == server.container), 0)
    host = f"[{address}]" if ":" in address else address
    return Pod(str(metadata["name"]), f"http://{host}:{server.port}", f"{metadata.get('uid')} {restarts}")


def _key(record: ChangeRecord) -> ObjectKey:
    target = record.object
    return ObjectKey(target.group, target.kind, target.namespace, target.name)
