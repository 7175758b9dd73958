"""Writing the objects of a rollout: Services, the primary and its configs, the autoscaler's copy."""

from __future__ import annotations

import json
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import AlreadyExists, NotFound
from agent.adapters.kube.resource import (
    CONFIG_MAPS,
    DAEMON_SETS,
    SCALED_OBJECTS,
    SECRETS,
    SERVICES,
    Object,
    Resource,
)
from agent.api.canary import AutoscalerReference, Canary
from agent.controllers.canary.kinds import AUTOSCALERS, WORKLOADS
from agent.controllers.canary.observing import World
from agent.controllers.canary.settings import CanarySettings
from agent.core.objects import Manifest, annotations_of
from agent.core.rollout import objects, scalers
from agent.core.rollout.actions import Exchange
from agent.core.rollout.hashing import STOP
from agent.core.rollout.objects import Selector
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.plan import Plan
from agent.core.rollout.podspec import CONFIG_MAP, ConfigRef
from agent.core.rollout.surge import FEWER, FULL_REPLICAS, Surge
from agent.errors import ConfigurationError

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Workloads:
    """Every method brings one object to what it should be, and writes nothing if it is that already."""

    def __init__(self, client: KubeClient, settings: CanarySettings) -> None:
        self._client = client
        self._settings = settings

    async def ensure_services(self, canary: Canary, world: World) -> None:
        """The Services of the canary and of the primary."""
        service, selector = canary.spec.service, _selector(world)
        if service is None:
            raise ConfigurationError(f"canary {canary.name}.{canary.namespace} has no spec.service")
        await self._ensure_service(canary, world, canary.canary_service_name, selector.value, service.canary)
        await self._ensure_service(canary, world, canary.primary_service_name, selector.primary, service.primary)

    async def ensure_apex(self, canary: Canary, world: World) -> None:
        """The clients' Service, pointing at the primary."""
        service = canary.spec.service
        apex = service.apex if service is not None else None
        await self._ensure_service(canary, world, canary.service_name, _selector(world).primary, apex)

    async def ensure_primary(self, canary: Canary, world: World, identity: str) -> None:
        """The primary as a copy of the target, if there is none."""
        target = _target(world)
        name = objects.primary_name(target["metadata"]["name"])
        resource = WORKLOADS[canary.spec.target_ref.kind]
        if await self._client.find(resource, canary.namespace, name, metadata_only=True) is not None:
            return
        await self._copy_configs(canary, world)
        manifest = objects.primary_workload(
            canary,
            target,
            _selector(world),
            self._template(world, identity),
            replicas=None if resource is DAEMON_SETS else target["spec"].get("replicas") or 1,
            label_prefixes=self._settings.include_label_prefixes,
        )
        await self._create(resource, canary.namespace, manifest)

    async def ensure_baseline_service(self, canary: Canary, world: World) -> None:
        """The Service in front of the fresh copy of the primary."""
        await self._ensure_service(canary, world, canary.baseline_service_name, _selector(world).baseline, None)

    async def promote(self, canary: Canary, plan: Plan, world: World, identity: str) -> None:
        """The primary as the target was judged. Raises ApiError if it has changed since it was read."""
        target, primary = _target(world), world.primary
        if primary is None:
            raise ConfigurationError(f"{plan.target_kind.lower()} {plan.primary}.{plan.namespace} not found")
        await self._copy_configs(canary, world)
        template = self._template(world, identity)
        if objects.identity_in(primary) == identity and objects.matches_template(primary, template):
            return
        in_place = plan.surge is Surge.IN_PLACE or FULL_REPLICAS in annotations_of(primary)
        fewer = in_place or plan.surge in FEWER
        patch = objects.promotion_patch(
            primary,
            _one_by_one(target) if in_place else target,
            _selector(world),
            template,
            replicas=None if plan.autoscaled or fewer else target["spec"].get("replicas") or None,
            label_prefixes=self._settings.include_label_prefixes,
        )
        resource = WORKLOADS[plan.target_kind]
        await self._client.json_patch(resource, plan.namespace, plan.primary, patch, field_manager=FIELD_MANAGER)

    async def scale_target(self, canary: Canary, replicas: int) -> None:
        """Replicas of the target; a DaemonSet is stopped by a node selector instead. Its ScaledObject is told first,
        or it would scale back."""
        reference = canary.spec.autoscaler_ref
        if reference is not None and reference.kind == SCALED_OBJECTS.kind:
            scaler = await self._scaler(canary, reference)
            patch = scalers.pausing(scaler, paused=replicas == 0)
            if patch:
                await self._merge(SCALED_OBJECTS, canary.namespace, reference.name, patch)
        if canary.spec.target_ref.kind == DAEMON_SETS.kind:
            stop = {STOP: None if replicas else "true"}
            patch = {"spec": {"template": {"spec": {"nodeSelector": stop}}}}
        else:
            patch = {"spec": {"replicas": replicas}}
        await self._merge(WORKLOADS[canary.spec.target_ref.kind], canary.namespace, canary.target_name, patch)

    async def scale_primary(self, plan: Plan, replicas: int, *, full: int | None = None) -> None:
        """Replicas of the primary; `full` is noted where a canary has the place of some."""
        noted = None if full is None else str(full)
        patch = {"metadata": {"annotations": {FULL_REPLICAS: noted}}, "spec": {"replicas": replicas}}
        await self._merge(WORKLOADS[plan.target_kind], plan.namespace, plan.primary, patch)

    async def exchange(self, canary: Canary, plan: Plan, world: World, action: Exchange) -> None:
        """Replicas of both sides; the one that gets smaller comes first, so that together they never have more."""
        assert world.primary is not None
        grows = action.primary > world.primary["spec"].get("replicas", 1)
        if grows:
            await self.scale_target(canary, action.target)
        await self.scale_primary(plan, action.primary, full=action.full)
        if not grows:
            await self.scale_target(canary, action.target)

    async def ensure_scaler(self, canary: Canary, *, promote: bool) -> None:
        """The primary's autoscaler. What changed in the original gets there only with a promotion."""
        reference = canary.spec.autoscaler_ref
        if reference is None:
            return
        resource = AUTOSCALERS[reference.kind]
        wanted = scalers.scaler_copy(canary, await self._scaler(canary, reference))
        name = wanted["metadata"]["name"]
        live = await self._client.find(resource, canary.namespace, name)
        if live is None:
            await self._create(resource, canary.namespace, wanted)
        elif promote and any(live["spec"].get(name) != value for name, value in wanted["spec"].items()):
            gone = {name: None for name in live["spec"] if name not in wanted["spec"]}
            await self._merge(resource, canary.namespace, name, {"spec": {**gone, **wanted["spec"]}})

    async def _scaler(self, canary: Canary, reference: AutoscalerReference) -> Object:
        scaler = await self._client.find(AUTOSCALERS[reference.kind], canary.namespace, reference.name)
        if scaler is None:
            shown = "Keda ScaledObject" if reference.kind == SCALED_OBJECTS.kind else reference.kind
            raise ConfigurationError(f"{shown} {reference.name}.{canary.namespace} get query error: not found")
        return scaler

    async def _merge(self, resource: Resource, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self._client.merge_patch(resource, namespace, name, patch, field_manager=FIELD_MANAGER)

    async def release_apex(self, canary: Canary, world: World) -> None:
        """Point the clients' Service at the target again and let it outlive the Canary."""
        live = await self._client.find(SERVICES, canary.namespace, canary.service_name)
        if live is None:
            return
        selector = _selector(world)
        wanted = _applied_selector(live) or {selector.key: selector.value}
        patch: dict[str, Any] = {"spec": {"selector": {**dict.fromkeys(live["spec"].get("selector") or {}), **wanted}}}
        if objects.is_owned(live, canary):
            owners = [item for item in live["metadata"]["ownerReferences"] if item.get("name") != canary.name]
            patch["metadata"] = {"ownerReferences": owners}
        await self._client.merge_patch(
            SERVICES, canary.namespace, canary.service_name, patch, field_manager=FIELD_MANAGER
        )

    def _template(self, world: World, identity: str) -> dict[str, Any]:
        copied = frozenset(ref.key for ref in world.configs)
        template = objects.primary_template(
            _target(world), _selector(world), copied, selector_labels=self._settings.selector_labels
        )
        return objects.with_identity(template, identity)

    async def _ensure_service(self, canary: Canary, world: World, name: str, to: str, metadata: Any) -> None:
        containers = _target(world)["spec"]["template"]["spec"].get("containers") or []
        wanted = objects.service(canary, name, _selector(world), to=to, metadata=metadata, containers=containers)
        live = await self._client.find(SERVICES, canary.namespace, name)
        if live is None:
            await self._create(SERVICES, canary.namespace, wanted)
            return
        patch = objects.service_patch(canary, live, wanted)
        if patch:
            await self._client.merge_patch(SERVICES, canary.namespace, name, patch, field_manager=FIELD_MANAGER)

    async def _copy_configs(self, canary: Canary, world: World) -> None:
        for ref, source in world.configs.items():
            await self._copy_config(canary, ref, source)

    async def _copy_config(self, canary: Canary, ref: ConfigRef, source: Object) -> None:
        resource = CONFIG_MAPS if ref.kind == CONFIG_MAP else SECRETS
        name = objects.primary_name(ref.name)
        live = await self._client.find(resource, canary.namespace, name)
        copy = objects.config_copy(canary, ref, source, live)
        if live is None:
            await self._create(resource, canary.namespace, copy)
        elif not objects.same_config(live, source):
            await self._client.replace(resource, canary.namespace, name, copy, field_manager=FIELD_MANAGER)

    async def _create(self, resource: Any, namespace: str, manifest: Manifest) -> None:
        try:
            await self._client.create(resource, namespace, manifest, field_manager=FIELD_MANAGER)
        except AlreadyExists:
            return
        except NotFound as error:
            raise ConfigurationError(f"{resource.kind} {manifest['metadata']['name']}: {error.message}") from error


def _applied_selector(live: Object) -> dict[str, str]:
    """The selector that a person applied with kubectl before the Service was taken over."""
    text = annotations_of(live).get(_LAST_APPLIED, "")
    if not text:
        return {}
    try:
        found = json.loads(text)["spec"]["selector"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _one_by_one(target: Object) -> Object:
    """The target with the only strategy by which its pods are replaced without room for one more."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return {**target, "spec": {**target["spec"], "strategy": strategy}}


def _target(world: World) -> Object:
    assert world.target is not None
    return world.target


def _selector(world: World) -> Selector:
    assert world.selector is not None
    return world.selector
