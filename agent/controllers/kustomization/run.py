"""One pass over one Kustomization, while it lasts: what is known so far, so that a failure can say where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from agent.api.changepolicy import ChangePolicy
from agent.api.duration import format_duration
from agent.api.kustomization import Kustomization
from agent.core import conditions as c
from agent.core.changeset import ChangeSet
from agent.core.gitref import same_revision
from agent.core.inventory import Inventory
from agent.core.outcome import Attempt, stored_inventory
from agent.errors import ApplyError
from agent.runtime.controller import WaitOutcome

_SILENCE = timedelta(minutes=9)
"""How long nothing is told of passes without news. Those of an interval of ten minutes, with its jitter, all are."""


@dataclass(slots=True)
class Run:
    """The pass. `ended` is how the wait before it has ended, if it comes of one.

    `inventory` is what a failure has to store; None leaves the stored one alone.
    `revision` is that of the source, "" until it is known; `attempt` comes once the source is found to have the path.
    `policies` are known once something is built.
    """

    kustomization: Kustomization
    ended: WaitOutcome | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    revision: str = ""
    origin_revision: str | None = None
    attempt: Attempt | None = None
    progress: str = ""
    inventory: Inventory | None = None
    changes: ChangeSet = field(default_factory=ChangeSet)
    policies: Sequence[ChangePolicy] = ()

    def at(self, step: str) -> str:
        """Enter a step; returns the message of the Reconciling condition."""
        timeout = format_duration(self.kustomization.effective_timeout())
        self.progress = f"{step} for revision {self.revision} with a timeout of {timeout}"
        return self.progress

    def begin(self) -> None:
        """The source has the path: from now on the revision counts as attempted."""
        self.attempt = Attempt(revision=self.revision, origin_revision=self.origin_revision, started=self.started)

    def digest(self, value: str) -> None:
        """What was built, for the history."""
        assert self.attempt is not None
        self.attempt = msgspec.structs.replace(self.attempt, digest=value)

    def resume(self, check: HealthCheck) -> None:
        """Go on where a pass that waited for health has left off."""
        self.attempt, self.inventory, self.changes = check.attempt, check.inventory, check.changes
        self.revision, self.origin_revision = check.attempt.revision, check.attempt.origin_revision
        self.started = check.attempt.started

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.kustomization.namespace, self.kustomization.name

    @property
    def health_is_news(self) -> bool:
        """True if people are told that a health check has passed: it had not before, or a new revision changed things.

        To be asked before the status says that a check is running.
        """
        status = self.kustomization.status
        unhealthy = not c.is_true(status.conditions, c.HEALTHY)
        other = not same_revision(status.last_applied_revision or "", self.revision)
        return unhealthy or (other and bool(self.changes.written))

    @property
    def requested(self) -> bool:
        """True if a person or a webhook asked for this very pass."""
        asked = self.kustomization.requested_at
        return bool(asked) and asked != self.kustomization.status.last_handled_reconcile_at

    @property
    def settled(self) -> bool:
        """True if the last pass went well at this revision and generation: nothing is expected to change."""
        status = self.kustomization.status
        return (
            bool(self.revision)
            and same_revision(status.last_applied_revision or "", self.revision)
            and status.observed_generation == self.kustomization.metadata.generation
            and c.is_true(status.conditions, c.READY)
        )

    @property
    def noteworthy(self) -> bool:
        """True if the history and an event tell of its success: there are news, or there was silence for long."""
        return self.requested or not self.settled or bool(self.changes.written) or self._silent_for() >= _SILENCE

    def _silent_for(self) -> timedelta:
        history = self.kustomization.status.history
        return datetime.now(UTC) - history[0].last_reconciled if history else timedelta.max

    @property
    def stored(self) -> Inventory:
        """The inventory in the status. Raises ApplyError if somebody has written something else into it."""
        try:
            return stored_inventory(self.kustomization.status)
        except ValueError as error:
            raise ApplyError(f"status.inventory: {error}; remove the entry") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """A pass that waits for health: what its end needs, and when it began (monotonic seconds).

    `announce` if the status tells of it, `news` if an event tells of its success; `requested` is the request that its
    end answers.
    """

    generation: int
    attempt: Attempt
    inventory: Inventory
    changes: ChangeSet
    began: float
    announce: bool
    news: bool
    requested: str | None = None
