"""What the Kustomization reconciler works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.api.kustomization import Kustomization
from agent.controllers.changes import ChangeRecorder
from agent.controllers.fresh import Fresh
from agent.controllers.hotadapters import HotAdapters
from agent.controllers.kustomization.apply import Applier
from agent.controllers.kustomization.build import Builder
from agent.controllers.kustomization.dependencies import Dependencies
from agent.controllers.kustomization.expressions import Expressions
from agent.controllers.kustomization.finalize import Finalizer
from agent.controllers.kustomization.handover import Handover
from agent.controllers.kustomization.health import HealthWaiter
from agent.controllers.kustomization.policies import Policies
from agent.controllers.kustomization.reporter import Reporter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.controllers.kustomization.targets import Targets
from agent.controllers.serving import Serving
from agent.controllers.sources import RemoteArtifact, SourceSnapshot
from agent.controllers.statuses import StatusWriter
from agent.core.objects import ObjectKey


class Sources(Protocol):
    """Where a Kustomization's files come from."""

    async def find(self, kustomization: Kustomization) -> SourceSnapshot | RemoteArtifact:
        """The current artifact of its source. Raises ArtifactError, WaitingError or ConfigurationError."""

    async def fetch(self, artifact: RemoteArtifact) -> SourceSnapshot:
        """The artifact with its files. Raises ArtifactError or WaitingError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Flux's flags for this controller."""

    requeue_dependency: float = 30.0
    jitter: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the reconciler works with."""

    objects: Fresh[Kustomization]
    sources: Sources
    targets: Targets
    builder: Builder
    applier: Applier
    expressions: Expressions
    dependencies: Dependencies
    health: HealthWaiter
    status: StatusWriter[Kustomization]
    finalizer: Finalizer
    reporter: Reporter
    changes: ChangeRecorder
    policies: Policies
    serving: Serving
    adapters: HotAdapters
    handover: Handover
    shortcuts: Shortcuts
    rollout_fields: Callable[[], Mapping[ObjectKey, frozenset[str]]]
