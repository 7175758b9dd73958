"""Events about GitRepositories, under the name that Flux users know."""

from __future__ import annotations

from collections.abc import Mapping

from agent.api.gitrepository import GitRepository
from agent.api.meta import Artifact
from agent.controllers.sources import SOURCE_COMPONENT
from agent.telemetry.events import EventRecorder, EventType, reference_to


class Reports:
    """Tells people; the truth is in the status."""

    def __init__(self, events: EventRecorder) -> None:
        self._events = events

    def normal(self, repository: GitRepository, reason: str, message: str, artifact: Artifact | None = None) -> None:
        """Something that is as it should be; with the artifact that came of it."""
        self._tell(repository, "Normal", reason, message, _about(artifact))

    def warning(self, repository: GitRepository, reason: str, message: str) -> None:
        """Something that somebody should look at."""
        self._tell(repository, "Warning", reason, message, {})

    def trace(self, repository: GitRepository, reason: str, message: str) -> None:
        """Something for whoever looks at the object, and for nobody's chat."""
        self._tell(repository, "Trace", reason, message, {})

    def _tell(
        self, repository: GitRepository, kind: EventType, reason: str, message: str, annotations: Mapping[str, str]
    ) -> None:
        self._events.event(
            reference_to(repository), kind, reason, message, component=SOURCE_COMPONENT, annotations=annotations
        )


def _about(artifact: Artifact | None) -> Mapping[str, str]:
    if artifact is None:
        return {}
    return {
        f"{GitRepository.GROUP}/revision": artifact.revision,
        f"{GitRepository.GROUP}/digest": artifact.digest,
    }
