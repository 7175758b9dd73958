"""What the GitRepository controller is made of."""

from __future__ import annotations

from dataclasses import dataclass

from agent.adapters.artifacts import ArtifactStorage
from agent.adapters.git import GitMirrors
from agent.api.gitrepository import GitRepository
from agent.controllers.changes import ChangeRecorder
from agent.controllers.fresh import Fresh
from agent.controllers.gitrepository.access import GitAccess
from agent.controllers.includes import Includes
from agent.controllers.sources import SourceRegistry
from agent.controllers.statuses import StatusWriter
from agent.controllers.tagregistries import TagRegistries
from agent.runtime.backoff import Backoff
from agent.telemetry.events import EventRecorder
from agent.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceParts:
    """What the reconciler works with."""

    objects: Fresh[GitRepository]
    access: GitAccess
    mirrors: GitMirrors
    storage: ArtifactStorage
    registry: SourceRegistry
    includes: Includes
    status: StatusWriter[GitRepository]
    changes: ChangeRecorder
    tags: TagRegistries
    events: EventRecorder
    metrics: Metrics
    retry: Backoff
    jitter: float = 0.05
