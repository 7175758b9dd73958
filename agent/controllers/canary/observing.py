"""Reading one Canary's world from the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    SECRETS,
    SERVICES,
    Object,
)
from agent.adapters.traffic.knative import KnativeRouter
from agent.adapters.traffic.kserve import KServeRouter
from agent.adapters.traffic.router import Router, RouteUnknownError
from agent.api.canary import FINALIZER, Canary
from agent.controllers.canary.kinds import AUTOSCALERS, WORKLOADS
from agent.controllers.canary.settings import CanarySettings
from agent.core.digits import whole
from agent.core.models.serving import server_of
from agent.core.objects import annotations_of
from agent.core.rollout import servicetarget
from agent.core.rollout.actions import Weights
from agent.core.rollout.baselineobjects import revision_of
from agent.core.rollout.commands import hold, pending
from agent.core.rollout.gates import decode_results
from agent.core.rollout.hashing import STOP, config_checksum, template_hash
from agent.core.rollout.judgesettings import Baseline
from agent.core.rollout.knative import Revisions, facts, weights_of
from agent.core.rollout.kserve.content import KINDS
from agent.core.rollout.kserve.services import serving_of
from agent.core.rollout.kserve.serving import ServiceError, Services
from agent.core.rollout.objects import (
    Selector,
    SelectorError,
    fence_of,
    identity_in,
    is_owned,
    matches_template,
    primary_name,
    primary_template,
    selector_of,
)
from agent.core.rollout.ownership import WANTED_REPLICAS
from agent.core.rollout.plan import Plan
from agent.core.rollout.podspec import CONFIG_MAP, ConfigRef, config_refs, is_tracked
from agent.core.rollout.readiness import Readiness, daemonset_readiness, deployment_readiness
from agent.core.rollout.scalers import minimum_of
from agent.core.rollout.servicetarget import Copies
from agent.core.rollout.snapshot import Snapshot, Stage, Workload
from agent.core.rollout.status import Status
from agent.core.rollout.surge import FULL_REPLICAS
from agent.core.rollout.view import NamedChange


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What was read, as objects: the snapshot's facts come from them, and so does what is written."""

    stage: Stage
    target: Object | None = None
    target_fault: tuple[str, str] | None = None
    selector: Selector | None = None
    configs: Mapping[ConfigRef, Object] = field(default_factory=dict)
    primary: Object | None = None
    copies: Mapping[ConfigRef, Object] = field(default_factory=dict)
    baseline: Object | None = None
    routes: Weights = field(default_factory=Weights)
    routes_fault: str = ""
    scaler_minimum: int = 0
    services: Services | None = None
    """A target that serves by itself, instead of all of the above."""
    revisions: Revisions | None = None
    """A Knative Service, instead of all of the above."""
    copied_service: Copies | None = None
    """A target that is a Service, with its copies; only the routes are read besides."""

    @property
    def tracked(self) -> dict[str, str]:
        """Checksums of the target's configs."""
        return {ref.key: config_checksum(obj.get("data")) for ref, obj in self.configs.items()}

    @property
    def promoted_tracked(self) -> dict[str, str]:
        """Checksums of the primary's copies, under the names of the originals."""
        return {ref.key: config_checksum(obj.get("data")) for ref, obj in self.copies.items()}


class Observer:
    """Reads as much as the stage of a tick needs."""

    def __init__(self, client: KubeClient, settings: CanarySettings) -> None:
        self._client = client
        self._settings = settings

    async def observe(
        self,
        canary: Canary,
        plan: Plan,
        stage: Stage,
        router: Router | None,
        known: World | None = None,
    ) -> World:
        """The world of the Canary at a stage. Raises ApiError where it cannot be read.

        `known` is what was read earlier in the same tick: target and configs are those that are being decided on, so
        they are not read again.
        """
        if isinstance(router, KServeRouter) and plan.target_kind in KINDS:
            return await self._in_place(canary, plan, stage, router)
        if isinstance(router, KnativeRouter):
            return await _with_revisions(canary, plan, stage, router)
        if plan.of_service:
            return await self._with_copies(canary, plan, stage, router, known)
        if known is not None and known.selector is not None and known.target_fault is None:
            glance = replace(known, stage=stage)
        else:
            glance = await self._glance(canary, plan, stage)
        if stage is Stage.GLANCE or glance.selector is None:
            return glance
        if known is None or known.primary is None:
            glance = await self._with_primary(glance, canary, plan)
        return await self._with_routes(glance, canary, router)

    async def _in_place(self, canary: Canary, plan: Plan, stage: Stage, router: KServeRouter) -> World:
        """A target that serves by itself; it is read anew at every stage, there is nothing else to read."""
        services = await router.find(canary)
        if services is None:
            text = f"{plan.target_kind} {plan.full_target} not found"
            return World(stage=stage, target_fault=("TargetNotFound", text))
        try:
            routes = serving_of(services.target).weights(services)
            services = await router.look(canary, services)
        except ServiceError as error:
            return World(stage=stage, target_fault=(error.reason, str(error)))
        return World(stage=stage, services=services, routes=routes)

    async def _glance(self, canary: Canary, plan: Plan, stage: Stage) -> World:
        resource = WORKLOADS.get(plan.target_kind)
        if resource is None:
            return World(stage=stage)
        target = await self._client.find(resource, canary.namespace, plan.target)
        if target is None:
            missing = f'{resource.plural}.apps "{plan.target}" not found'
            text = f"{plan.target_kind.lower()} {plan.full_target} get query error: {missing}"
            return World(stage=stage, target_fault=("TargetNotFound", text))
        target.setdefault("kind", resource.kind)
        try:
            selector = selector_of(target, self._settings.selector_labels)
        except SelectorError as error:
            return World(stage=stage, target=target, target_fault=("TargetInvalid", str(error)))
        configs, missing = await self._configs(canary.namespace, target)
        fault = ("ConfigNotFound", f"GetTargetConfigs failed: {missing}") if missing else None
        return World(stage=stage, target=target, target_fault=fault, selector=selector, configs=configs)

    async def _with_copies(
        self, canary: Canary, plan: Plan, stage: Stage, router: Router | None, known: World | None
    ) -> World:
        """A target that is a Service. It is read once a tick, so that what is judged is what is promoted."""
        copies = known.copied_service if known is not None else None
        target = copies.target if copies is not None else None
        target = target or await self._client.find(SERVICES, canary.namespace, plan.target)
        if target is None:
            text = f'service {plan.full_target} get query error: services "{plan.target}" not found'
            return World(stage=stage, target_fault=("TargetNotFound", text))
        if stage is Stage.GLANCE:
            return World(stage=stage, copied_service=Copies(target))
        primary = await self._client.find(SERVICES, canary.namespace, canary.primary_service_name)
        world = World(stage=stage, copied_service=Copies(target, primary))
        return await self._with_routes(world, canary, router)

    async def _with_primary(self, world: World, canary: Canary, plan: Plan) -> World:
        primary, copies, minimum, baseline = await asyncio.gather(
            self._client.find(WORKLOADS[plan.target_kind], canary.namespace, plan.primary),
            self._copies(canary.namespace, tuple(world.configs)),
            self._scaler_minimum(canary),
            self._baseline(canary, plan),
        )
        return replace(world, primary=primary, copies=copies, scaler_minimum=minimum, baseline=baseline)

    async def _baseline(self, canary: Canary, plan: Plan) -> Object | None:
        """The fresh copy of the primary, where one is asked for or the last run had one."""
        state = canary.status.judge
        if plan.judging.baseline is not Baseline.FRESH and not (state is not None and state.fresh):
            return None
        found = await self._client.find(DEPLOYMENTS, canary.namespace, plan.baseline)
        return found if found is not None and is_owned(found, canary) else None

    async def _with_routes(self, world: World, canary: Canary, router: Router | None) -> World:
        if world.stage is not Stage.ROUTED or router is None:
            return world
        try:
            return replace(world, routes=await router.get_routes(canary))
        except RouteUnknownError as error:
            return replace(world, routes_fault=error.message)

    async def _configs(self, namespace: str, target: Object) -> tuple[dict[ConfigRef, Object], str]:
        """The tracked ConfigMaps and Secrets, and a text about the first required one that is missing."""
        if not self._settings.enable_config_tracking:
            return {}, ""
        refs = config_refs(target["spec"]["template"]["spec"])
        found = await asyncio.gather(*(self._config(namespace, ref.kind, ref.name) for ref in refs))
        configs: dict[ConfigRef, Object] = {}
        missing = ""
        for ref, obj in zip(refs, found, strict=True):
            if obj is None:
                if ref.required and not missing:
                    missing = f"{ref.kind} {ref.name}.{namespace} get query error: not found"
            elif is_tracked(ref.kind, obj):
                configs[ref] = obj
        return configs, missing

    async def _copies(self, namespace: str, refs: tuple[ConfigRef, ...]) -> dict[ConfigRef, Object]:
        found = await asyncio.gather(*(self._config(namespace, ref.kind, primary_name(ref.name)) for ref in refs))
        return {ref: obj for ref, obj in zip(refs, found, strict=True) if obj is not None}

    async def _config(self, namespace: str, kind: str, name: str) -> Object | None:
        return await self._client.find(CONFIG_MAPS if kind == CONFIG_MAP else SECRETS, namespace, name)

    async def _scaler_minimum(self, canary: Canary) -> int:
        reference = canary.spec.autoscaler_ref
        if reference is None:
            return 0
        scaler = await self._client.find(AUTOSCALERS[reference.kind], canary.namespace, reference.name)
        return minimum_of(reference.kind, scaler)


async def _with_revisions(canary: Canary, plan: Plan, stage: Stage, router: KnativeRouter) -> World:
    """A Knative Service is read anew at every stage, there is nothing else to read."""
    revisions = await router.find(canary)
    if revisions is None:
        text = f"Knative Service {plan.full_target} get query error: not found"
        return World(stage=stage, target_fault=("TargetNotFound", text))
    weights = weights_of(revisions.service)
    fault = "" if weights is not None else f"Knative Service {plan.full_target} traffic spec invalid"
    return World(stage=stage, revisions=revisions, routes=weights or Weights(), routes_fault=fault)


def snapshot_of(
    canary: Canary,
    plan: Plan,
    status: Status,
    world: World,
    *,
    now: datetime,
    due: bool,
    refused: tuple[str, str] | None,
    changes: tuple[NamedChange, ...],
    selector_labels: tuple[str, ...],
    quarantined: str = "",
    content_changed: bool = False,
    reworded: tuple[str, ...] = (),
) -> Snapshot:
    """The facts that the machine decides from."""
    target, primary, matches = _sides(canary, plan, status, world, now=now, selector_labels=selector_labels)
    return Snapshot(
        plan=plan,
        status=status,
        now=now,
        due=due,
        stage=world.stage,
        deleting=canary.is_deleting,
        finalizer=FINALIZER in canary.metadata.finalizers,
        refused=refused,
        target=target,
        target_fault=world.target_fault,
        tracked=world.tracked,
        promoted_tracked=world.promoted_tracked,
        primary=primary,
        primary_matches=matches,
        baseline=_baseline(world, plan, now),
        routes=world.routes,
        routes_fault=world.routes_fault,
        scaler_minimum=world.scaler_minimum,
        quarantined=quarantined,
        changes=tuple(dict.fromkeys(change.text for change in changes)),
        bytes=sum(change.bytes for change in changes),
        content_changed=content_changed,
        reworded=reworded,
        results=decode_results(canary.metadata.annotations),
        command=pending(canary.metadata.annotations),
        hold=hold(canary.metadata.annotations),
    )


def _sides(
    canary: Canary, plan: Plan, status: Status, world: World, *, now: datetime, selector_labels: tuple[str, ...]
) -> tuple[Workload | None, Workload | None, bool]:
    """Target and primary as far as they were read, and whether the primary is what the target would make it."""
    if world.services is not None:
        served = serving_of(world.services.target).facts(world.services, plan, status, now)
        return served.target, served.primary, served.matches
    if world.revisions is not None:
        found = facts(world.revisions, plan, status.last_transition_time, now)
        return found.target, found.primary, found.matches
    if world.copied_service is not None:
        return servicetarget.facts(canary, world.copied_service, plan)
    target, primary, since = None, None, status.last_transition_time
    if world.target is not None and world.selector is not None:
        target = _workload(world.target, plan, plan.canary_ready, since, now)
    if world.primary is not None:
        primary = _workload(world.primary, plan, plan.primary_ready, since, now)
    return target, primary, _matches(world, selector_labels)


def _baseline(world: World, plan: Plan, now: datetime) -> Workload | None:
    if world.baseline is None:
        return None
    found = _workload(world.baseline, plan, plan.canary_ready, None, now)
    return msgspec.structs.replace(found, identity=revision_of(world.baseline))


def _workload(found: Mapping[str, Any], plan: Plan, threshold: int, since: datetime | None, now: datetime) -> Workload:
    template = found["spec"]["template"]
    containers = (*(template["spec"].get("containers") or ()), *(template["spec"].get("initContainers") or ()))
    wanted = annotations_of(found).get(WANTED_REPLICAS, "")
    full = annotations_of(found).get(FULL_REPLICAS, "")
    replicas, ready = _size(found, plan, threshold, since, now)
    return Workload(
        hash=template_hash(template),
        replicas=replicas,
        ready=ready,
        images=tuple(container.get("image", "") for container in containers),
        identity=identity_in(found),
        fence=fence_of(found),
        server=server_of(template["spec"]),
        wanted_replicas=whole(wanted),
        available=(found.get("status") or {}).get("availableReplicas") or 0,
        full_replicas=whole(full),
    )


def _size(
    found: Mapping[str, Any], plan: Plan, threshold: int, since: datetime | None, now: datetime
) -> tuple[int, Readiness]:
    """Replicas, and whether they are ready. A DaemonSet counts as one, or as none where it is stopped."""
    if plan.target_kind == DAEMON_SETS.kind:
        stopped = STOP in (found["spec"]["template"]["spec"].get("nodeSelector") or {})
        ready = daemonset_readiness(found, deadline=plan.deadline, threshold=threshold, since=since, now=now)
        return 0 if stopped else 1, ready
    ready = deployment_readiness(found, deadline=plan.deadline, threshold=threshold, now=now)
    return found["spec"].get("replicas", 1), ready


def _matches(world: World, selector_labels: tuple[str, ...]) -> bool:
    if world.primary is None or world.target is None or world.selector is None:
        return False
    copied = frozenset(ref.key for ref in world.configs)
    template = primary_template(world.target, world.selector, copied, selector_labels=selector_labels)
    return matches_template(world.primary, template)
