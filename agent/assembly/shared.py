"""What more than one role uses: the client's caches, the stores of our kinds, the renderer, the journal of changes."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TypeVar

from agent.adapters.decryptor import Decryptor, ambient
from agent.adapters.eventsink import NotificationSink
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.events import CoreEvents
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.adapters.loraservers import LoraServers
from agent.adapters.registries import Resolver
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.logins import RegistryLogins
from agent.adapters.renderer import RendererPool
from agent.adapters.stores import journal_of_changes, stores
from agent.api.canary import Canary
from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.api.meta import Resource
from agent.controllers.belonging import Belonging
from agent.controllers.canary import RolloutLog
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.changes import ChangeRecorder
from agent.controllers.following import Following
from agent.controllers.hotadapters import HotAdapters
from agent.controllers.kustomization.build import Builder
from agent.controllers.kustomization.decryption import Decryption
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.controllers.passes import Passes
from agent.controllers.registryaccess import RegistryAccess
from agent.controllers.resolution import Resolution
from agent.controllers.serving import Serving
from agent.controllers.sources import SourceRegistry
from agent.controllers.workloadidentity import WorkloadAccounts
from agent.core.objects import ObjectKey
from agent.runtime.store import Store
from agent.settings import Settings
from agent.telemetry.events import EventRecorder
from agent.telemetry.metrics import Metrics
from agent.telemetry.tokencache import Asker, TokenCacheMetrics
from agent.telemetry.tracing import Tracing

R = TypeVar("R", bound=Resource)


class Shared:
    """The parts that roles share; what is public here is what they may use."""

    def __init__(self, settings: Settings, client: KubeClient, metrics: Metrics, tracing: Tracing | None) -> None:
        self.settings, self.client, self.metrics = settings, client, metrics
        self.passes = Passes(settings, metrics, tracing)
        self._sink = NotificationSink(settings.events_addr) if settings.events_addr else None
        self.events = EventRecorder(
            CoreEvents(client), metrics, sink=self._sink, drain=settings.shutdown_grace, calm=self.passes.calm
        )
        self.following = Following(client, namespace=settings.namespace)
        self.discovery = Discovery(client)
        self.live = LiveIndex(client, on_problem=self.following.problem)
        self.storage, self.artifacts, self.mirrors = stores(settings)
        self.registry = SourceRegistry()
        self.rollouts = RolloutLog()
        self.repositories = self._follow(GitRepository, "source", "kustomize")
        self.kustomizations = self._follow(Kustomization, "kustomize")
        self.canaries = self._follow(Canary, "canary", "kustomize")
        self.policies = self._follow(ChangePolicy, "kustomize")
        self.triggers = self._follow(DataTrigger, "kustomize")
        self.renderer = RendererPool(size=settings.renderers)
        self.shortcuts = Shortcuts(metrics, verify=settings.verify)
        self.builder = Builder(
            self.renderer,
            Decryption(client, Decryptor(environment=ambient(os.environ)), settings),
            self.shortcuts,
            strict_substitutions=settings.gates.strict_post_build_substitutions,
        )
        self.token_metrics = TokenCacheMetrics(metrics.registry)
        self.changelog = ChangeLog(journal=journal_of_changes(settings))
        self._registries = Fetcher()
        self._resolver = Resolver(self._registries)
        self.belonging = Belonging(self.kustomizations.list, self.builder.inputs)
        self.resolution = self._resolution()
        self.changes = self._recorder()
        self._lora = LoraServers()
        self.adapters = HotAdapters(self._lora, self.events, canaried=self._canaried, suspended=self._suspended)
        self.serving = Serving(
            self.changes.teller,
            self.events,
            metrics,
            self.changes.moves,
            canaries=self.canaries.list,
            loaded=self.adapters.keeps,
            meanings=lambda key, pods: self.changelog.meanings(key.kind, key.namespace, key.name, pods),
            suspended=self._suspended,
        )

    async def open(self, stack: AsyncExitStack) -> None:
        """What holds processes or connections, until the stack closes. Raises RendererUnavailableError."""
        if self._sink is not None:
            await stack.enter_async_context(self._sink)
        if self.settings.runs("kustomize"):
            await stack.enter_async_context(self._registries)
            await stack.enter_async_context(self._lora)
            stack.push_async_callback(self._resolver.stop)
            stack.push_async_callback(self.renderer.stop)
            await self.renderer.start()

    def _follow(self, kind: type[R], *roles: str) -> Store[R]:
        """A store of one of our kinds: required by the first of the roles, of use to the others."""
        settings = self.settings
        if not any(settings.runs(role) for role in roles):
            return Store()
        auxiliary = kind in (Canary, ChangePolicy)
        optional = auxiliary or kind is DataTrigger or not settings.runs(roles[0])
        selector = "" if auxiliary else settings.watch_label_selector
        within = settings.canary_namespace if kind is Canary else ""
        return self.following.kind(
            kind, label_selector=selector, optional=optional, restrains=auxiliary, namespace=within
        )

    def _canaried(self, key: ObjectKey) -> bool:
        target = (key.kind, key.namespace, key.name)
        return any((one.spec.target_ref.kind, one.namespace, one.target_name) == target for one in self.canaries.list())

    def _suspended(self, key: tuple[str, str]) -> bool:
        kustomization = self.kustomizations.get(*key)
        return kustomization is not None and kustomization.spec.suspend

    def _recorder(self) -> ChangeRecorder:
        return ChangeRecorder(
            self.changelog,
            self.builder,
            self.live,
            self.events,
            self.metrics,
            triggers=self.triggers.list,
            whom=self._whom,
            canaries=lambda: [canary.to_object() for canary in self.canaries.list()],
            policies=self.policies.list,
            resolution=self.resolution,
            suspended=self._suspended,
            belonging=self.belonging.of,
        )

    def _whom(self, entry: ChangeEntry) -> Kustomization | GitRepository | None:
        if entry.kustomization:
            return self.kustomizations.get(*entry.kustomization.split("/"))
        kind, namespace, name = entry.source.split("/")
        return self.repositories.get(namespace, name) if kind == GitRepository.KIND else None

    def _resolution(self) -> Resolution:
        settings = self.settings
        logins = RegistryLogins(
            ClusterServiceAccounts(self.client),
            self.token_metrics,
            environment=os.environ,
            cache=settings.token_cache_max_size,
            longest=settings.token_cache_max_duration,
        )

        def policy_changed(old: ChangePolicy | None, new: ChangePolicy | None) -> None:
            if old is not None and new is None:
                self.token_metrics.forget(Asker(ChangePolicy.KIND, old.namespace, old.name))

        self.policies.subscribe(policy_changed)
        access = RegistryAccess(self.client, logins, WorkloadAccounts.of(settings))
        return Resolution(self._resolver, access)
