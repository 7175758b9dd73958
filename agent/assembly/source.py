"""The source role: GitRepositories, their mirrors, and the artifacts that it serves."""

from __future__ import annotations

import asyncio
from functools import partial

from agent.api.gitrepository import GitRepository
from agent.assembly.shared import Shared
from agent.controllers.fresh import Fresh
from agent.controllers.gitrepository import GitAccess, GitRepositoryReconciler, SourceParts, keep_tidy
from agent.controllers.includes import Includes
from agent.controllers.statuses import StatusWriter
from agent.controllers.trackedcontent import TrackedContent
from agent.controllers.triggers import include_changed, watch_objects
from agent.runtime.backoff import Backoff
from agent.runtime.manager import Service
from agent.runtime.queue import Priority
from agent.server.listeners import serving

SOURCE_MANAGER = "source-controller"


class SourceRole:
    """What Flux's source-controller does for GitRepositories."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        repositories, registry = shared.repositories, shared.registry
        reconciler = GitRepositoryReconciler(self._parts())
        controller = shared.passes.controller("source", GitRepository, reconciler.reconcile)
        watch_objects(repositories, controller.queue)
        registry.subscribe_artifacts(include_changed(repositories, controller.queue))
        self.queue = controller.queue
        self.look = partial(controller.queue.add, priority=Priority.REVISION)
        self.services: list[Service] = []
        tracked = TrackedContent(
            registry,
            repositories,
            shared.changelog,
            shared.changes.announcer,
            shared.resolution,
            policies=shared.policies.list,
            belonging=shared.belonging.of,
        )
        self.led_services: list[Service] = [self._serve_artifacts, partial(keep_tidy, shared.mirrors), tracked.run]

    def _parts(self) -> SourceParts:
        shared = self._shared
        settings, client, registry = shared.settings, shared.client, shared.registry
        fresh = Fresh(shared.repositories)
        return SourceParts(
            objects=fresh,
            access=GitAccess.of(settings, client, shared.token_metrics),
            mirrors=shared.mirrors,
            storage=shared.storage,
            registry=registry,
            includes=Includes(fresh, client, registry, shared.artifacts, requeue=settings.requeue_dependency),
            status=StatusWriter(client, GitRepository, fresh, SOURCE_MANAGER),
            changes=shared.changes,
            tags=shared.changes.tags,
            events=shared.events,
            metrics=shared.metrics,
            jitter=settings.interval_jitter,
            retry=Backoff(initial=settings.min_retry_delay, maximum=settings.max_retry_delay),
        )

    async def _serve_artifacts(self) -> None:
        """Only the leader serves, as it is only the leader that packs."""
        async with serving(self._shared.settings.storage_addr, self._shared.storage.routes()):
            await asyncio.Event().wait()
