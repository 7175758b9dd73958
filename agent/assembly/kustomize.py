"""The kustomize role: Kustomizations, what they are built and applied with, and everything that wakes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.adapters.kube.clusters import RemoteClusters
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.resource import BUCKETS, CONFIG_MAPS, EXTERNAL_ARTIFACTS, OCI_REPOSITORIES, SECRETS
from agent.adapters.kube.resource import Resource as KubeResource
from agent.adapters.kube.target import Target
from agent.adapters.kube.transport import OnRequest
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.assembly.content import follow_content, history_of
from agent.assembly.datatrigger import wire_triggers
from agent.assembly.shared import Shared
from agent.controllers.configs import decode_config, watch_configs
from agent.controllers.downloads import Downloads
from agent.controllers.fresh import Fresh
from agent.controllers.kustomization.apply import Applier
from agent.controllers.kustomization.claimed import DoubleClaims
from agent.controllers.kustomization.dependencies import Dependencies
from agent.controllers.kustomization.expressions import Expressions
from agent.controllers.kustomization.finalize import Finalizer
from agent.controllers.kustomization.handover import Handover
from agent.controllers.kustomization.health import HealthWaiter
from agent.controllers.kustomization.parts import Parts
from agent.controllers.kustomization.parts import Settings as KustomizeSettings
from agent.controllers.kustomization.policies import Policies, watch_policies
from agent.controllers.kustomization.reconciler import KustomizationReconciler
from agent.controllers.kustomization.reporter import Reporter
from agent.controllers.kustomization.targets import Targets
from agent.controllers.sourcelookup import SourceLookup
from agent.controllers.sources import decode_source
from agent.controllers.statuses import StatusWriter, resource_of
from agent.controllers.triggers import (
    SourceChanged,
    drift_watcher,
    watch_artifacts,
    watch_dependencies,
    watch_objects,
)
from agent.core.objects import ObjectKey
from agent.core.rollout.ownership import owned_fields
from agent.runtime.manager import Service
from agent.runtime.queue import WorkQueue

Key = tuple[str, str]

KUSTOMIZE_MANAGER = "gotk-kustomize-controller"


class KustomizeRole:
    """What Flux's kustomize-controller does."""

    def __init__(self, shared: Shared, count_for: Callable[[Cluster], OnRequest]) -> None:
        self._shared = shared
        settings = shared.settings
        self._memory = Memory()
        clusters = RemoteClusters(
            count_for,
            may_write=shared.client.may_write,
            on_problem=shared.following.problem,
            on_open=lambda opened: opened.live.subscribe(drift_watcher(opened.memory, controller.queue)),
            rate=RateLimit(settings.kube_api_qps, settings.kube_api_burst),
        )
        parts = self._parts(clusters)
        self.home = parts.targets.home
        reconciler = KustomizationReconciler(
            parts,
            KustomizeSettings(requeue_dependency=settings.requeue_dependency, jitter=settings.interval_jitter),
        )
        controller = shared.passes.controller("kustomize", Kustomization, reconciler.reconcile)
        reconciler.attach(controller)
        self.queue = controller.queue
        self._wake(controller.queue, reconciler.overtake)
        wire_triggers(shared)
        follow_content(shared, controller.queue)
        self.services: list[Service] = [shared.live.run, clusters.run]
        followers = (shared.changes.moves.floats, shared.serving, shared.adapters)
        self.led_services: list[Service] = [history_of(shared).run, *(one.run for one in followers)]

    def _parts(self, clusters: RemoteClusters) -> Parts:
        shared = self._shared
        settings, client, builder = shared.settings, shared.client, shared.builder
        fresh = Fresh(shared.kustomizations)
        target = Target(client, shared.discovery, shared.live, self._memory)
        reporter = Reporter(shared.events, shared.metrics, grouped=settings.gates.group_change_log)
        status = StatusWriter(client, Kustomization, fresh, KUSTOMIZE_MANAGER)
        handover = Handover(shared.kustomizations.list, builder)
        expressions = Expressions(shared.renderer, additive=settings.gates.additive_cel_dependency_check)
        finalizer = Finalizer(status, reporter, target, default_service_account=settings.default_service_account)
        return Parts(
            objects=fresh,
            sources=self._lookup(),
            targets=Targets.from_settings(settings, target, clusters),
            builder=builder,
            applier=self._applier(DoubleClaims(fresh, handover.leaves)),
            expressions=expressions,
            dependencies=Dependencies(fresh, client, expressions, requeue=settings.requeue_dependency),
            health=HealthWaiter(
                shared.renderer, shared.shortcuts, fail_fast=not settings.gates.disable_fail_fast_behavior
            ),
            status=status,
            finalizer=finalizer,
            reporter=reporter,
            changes=shared.changes,
            policies=Policies(shared.policies, shared.triggers, shared.changes.applied, client, shared.events),
            serving=shared.serving,
            adapters=shared.adapters,
            handover=handover,
            shortcuts=shared.shortcuts,
            rollout_fields=self._rollout_fields,
        )

    def _applier(self, claims: DoubleClaims) -> Applier:
        settings = self._shared.settings
        return Applier(
            concurrency=settings.concurrent_ssa,
            custom_stage_kinds=settings.custom_apply_stage_kinds,
            override_managers=settings.override_managers,
            migrate_api_version=settings.gates.migrate_api_version,
            claimed_by_other=claims.conflict,
            shortcuts=self._shared.shortcuts,
        )

    def _lookup(self) -> SourceLookup:
        shared, settings = self._shared, self._shared.settings
        return SourceLookup(
            shared.client,
            shared.discovery,
            shared.registry,
            Downloads(shared.artifacts, retries=settings.http_retry),
            shared.repositories if settings.runs("source") else None,
            cross_namespace=not settings.no_cross_namespace_refs,
            external=settings.gates.external_artifact,
            requeue=settings.requeue_dependency,
        )

    def _wake(self, queue: WorkQueue[Key], overtake: Callable[[Key, str], None]) -> None:
        shared, settings = self._shared, self._shared.settings
        kustomizations, registry = shared.kustomizations, shared.registry
        changed = SourceChanged(kustomizations, queue, inputs=shared.builder.inputs, current=registry.get)
        registry.subscribe(changed)
        for source in self._foreign_sources():
            git = source.kind == GitRepository.KIND
            ours = shared.repositories if git and settings.runs("source") else None
            watch_artifacts(source.kind, shared.following.others(source, decode_source), changed, ours)
        if not settings.gates.disable_config_watchers:
            self._wake_for_configs(queue, overtake)
        watch_objects(kustomizations, queue)
        watch_dependencies(kustomizations, queue)
        watch_policies(shared.policies, shared.triggers, kustomizations, queue)
        shared.live.subscribe(drift_watcher(self._memory, queue))

    def _foreign_sources(self) -> tuple[KubeResource, ...]:
        """Kinds of which other controllers may reconcile some, or all."""
        settings = self._shared.settings
        all_ours = settings.runs("source") and not settings.watch_label_selector
        git = () if all_ours else (resource_of(GitRepository),)
        external = (EXTERNAL_ARTIFACTS,) if settings.gates.external_artifact else ()
        return (*git, OCI_REPOSITORIES, BUCKETS, *external)

    def _wake_for_configs(self, queue: WorkQueue[Key], overtake: Callable[[Key, str], None]) -> None:
        shared = self._shared
        config_maps, secrets = (
            shared.following.others(
                resource,
                decode_config,
                label_selector=shared.settings.watch_configs_label_selector,
                metadata_only=True,
            )
            for resource in (CONFIG_MAPS, SECRETS)
        )
        watch_configs(shared.kustomizations, queue, ("ConfigMap", config_maps), ("Secret", secrets), told=overtake)

    def _rollout_fields(self) -> Mapping[ObjectKey, frozenset[str]]:
        settings = self._shared.settings
        if not settings.runs("canary"):
            return {}
        return owned_fields(self._shared.canaries.list(), default_provider=settings.mesh_provider)
