"""What the JSON API answers from: the stores, the change log and the rollouts, as they are at this moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from agent import __version__
from agent.adapters.git import GitRemote
from agent.api.canary import Canary
from agent.api.datatrigger import DataTrigger
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeLog
from agent.controllers.serving import StaleReference
from agent.core import conditions as c
from agent.core.rollout.ledger import LedgerEntry, entries_of
from agent.core.rollout.view import RolloutView
from agent.core.trigger.started import StartedRuns
from agent.runtime.manager import Manager
from agent.runtime.store import Store
from agent.server.views import (
    AgentView,
    ChangeView,
    CountView,
    KustomizationView,
    SourceView,
    StaleView,
    change_view,
    kustomization_view,
    source_view,
)
from agent.settings import Settings


class Knowledge:
    """Implements `api.Knowledge`."""

    def __init__(
        self,
        settings: Settings,
        repositories: Store[GitRepository],
        kustomizations: Store[Kustomization],
        changelog: ChangeLog,
        canaries: Store[Canary],
        *,
        triggers: Store[DataTrigger],
        rollouts: Callable[[], Sequence[RolloutView]],
        runs: Callable[[], Sequence[RolloutView]],
        stale: Callable[[tuple[str, str]], Sequence[StaleReference] | None],
    ) -> None:
        self._settings = settings
        self._repositories = repositories
        self._kustomizations = kustomizations
        self._changelog = changelog
        self._canaries = canaries
        self._triggers = triggers
        self._rollouts = rollouts
        self._runs = runs
        self._stale = stale
        self._manager: Manager | None = None

    def attach(self, manager: Manager) -> None:
        """The manager knows the phase."""
        self._manager = manager

    def sources(self) -> Sequence[SourceView]:
        """All sources by namespace and name."""
        views = [source_view(repository, _address(repository.spec.url)) for repository in self._repositories.list()]
        return sorted(views, key=lambda view: (view.namespace, view.name))

    def kustomizations(self) -> Sequence[KustomizationView]:
        """All Kustomizations by namespace and name."""
        views = [kustomization_view(one, self._stale_of(one)) for one in self._kustomizations.list()]
        return sorted(views, key=lambda view: (view.namespace, view.name))

    def changes(self) -> Sequence[ChangeView]:
        """Change records, newest first, with the runs that they have started."""
        started = StartedRuns(self._triggers.list())
        return [change_view(entry, started) for entry in self._changelog.entries()]

    def _stale_of(self, kustomization: Kustomization) -> tuple[StaleView, ...]:
        found = self._stale((kustomization.namespace, kustomization.name)) or ()
        return tuple(
            StaleView(object=one.object, slot=one.slot, text=one.text, pods=one.pods, since=one.since) for one in found
        )

    def rollouts(self) -> Sequence[RolloutView]:
        """All rollouts by namespace and name."""
        return sorted(self._rollouts(), key=lambda view: (view.namespace, view.name))

    def runs(self) -> Sequence[RolloutView]:
        """Finished runs, newest first."""
        return self._runs()

    def ledger(self) -> Sequence[LedgerEntry]:
        """Which revisions answered when, by Canary, the newest first."""
        return [
            entry
            for canary in self._canaries.list()
            for entry in entries_of(f"{canary.namespace}/{canary.name}", canary.metadata.annotations)
        ]

    def status(self) -> AgentView:
        """A summary of the agent itself."""
        return AgentView(
            version=__version__,
            phase=self._manager.phase.value if self._manager else "starting",
            controllers=self._settings.controllers,
            sources=_counts(self._repositories.list()),
            kustomizations=_counts(self._kustomizations.list()),
            rollouts=len(self._rollouts()),
        )


def _address(url: str) -> str:
    """The URL without credentials; what cannot be taken apart is not shown, for it may hold some."""
    try:
        _ = urlsplit(url).port  # which an unquoted slash in a password ends up as
        return GitRemote(url).address
    except ValueError:
        return ""


def _counts(items: Sequence[GitRepository] | Sequence[Kustomization]) -> CountView:
    return CountView(
        total=len(items),
        ready=sum(1 for item in items if c.is_true(item.status.conditions, c.READY)),
        suspended=sum(1 for item in items if item.spec.suspend),
    )
