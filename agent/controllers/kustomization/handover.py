"""An object that moves from one Kustomization to another in a commit changes hands; it is not deleted and made anew.

Flux prunes it if the Kustomization that loses it goes first: a model server is then down until the other one has
applied it again. Here the loser asks what the other Kustomizations of its source are about to apply, and leaves to
them what they have. It keeps such an object in its inventory until it is theirs, or until nobody wants it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.build import Builder
from agent.controllers.kustomization.targets import Targets
from agent.controllers.sources import SourceSnapshot
from agent.controllers.triggers import source_of
from agent.core import conditions as c
from agent.core.claims import same_cluster
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.errors import WeirError

Key = tuple[str, str]


class Handover:
    """Knows which objects wait for another owner."""

    def __init__(self, kustomizations: Callable[[], Iterable[Kustomization]], builder: Builder) -> None:
        self._kustomizations = kustomizations
        self._builder = builder
        self._left: dict[Key, frozenset[ObjectKey]] = {}

    def leaves(self, key: ObjectKey, holder: Key) -> bool:
        """True if `holder` (namespace, name) no longer wants the object and only keeps it for its next owner."""
        return key in self._left.get(holder, ())

    def pending(self, holder: Key) -> bool:
        """True if `holder` keeps something for another."""
        return holder in self._left

    def forget(self, holder: Key) -> None:
        """The Kustomization is gone."""
        self._left.pop(holder, None)

    async def heirs(
        self,
        holder: Kustomization,
        source: SourceSnapshot,
        stale: Iterable[Entry],
        targets: Targets,
    ) -> dict[ObjectKey, Key]:
        """Who is about to apply which of the objects that `holder` has lost.

        A Kustomization that cannot be built has no say: its fault would keep all others from pruning. Nor has one of
        another namespace, unless it acts as the agent itself: a team could keep objects of another one alive for ever
        by claiming them, without a right to any of them.
        """
        unclaimed = {entry.key for entry in stale}
        heirs: dict[ObjectKey, Key] = {}
        for other in self._kustomizations():
            if not unclaimed:
                break
            if not _is_about_to_apply(other, holder, source.revision):
                continue
            try:
                if other.namespace != holder.namespace and targets.account(other):
                    continue
                wanted = await self._builder.foresee(other, source.tree, targets.home(other))
            except WeirError:
                continue
            wanted |= {key._replace(namespace="") for key in wanted}  # of a cluster-wide kind, for all that is known
            heirs |= dict.fromkeys(unclaimed & wanted, (other.namespace, other.name))
            unclaimed -= wanted
        return heirs

    def leave(self, holder: Key, heirs: dict[ObjectKey, Key]) -> frozenset[Key]:
        """Remember what `holder` keeps for whom.

        Returns the heirs of objects that were not left before: they may have been refused them, and may now try again.
        """
        known = self._left.pop(holder, frozenset())
        if heirs:
            self._left[holder] = frozenset(heirs)
        fresh = {key: heir for key, heir in heirs.items() if key not in known}
        for key, heir in fresh.items():
            structlog.get_logger().info("object is left to another Kustomization", object=str(key), heir="/".join(heir))
        return frozenset(fresh.values())


def _is_about_to_apply(other: Kustomization, holder: Kustomization, revision: str) -> bool:
    """True if `other` is alive, applies from the same source to the same cluster, and has not done so at `revision`."""
    if source_of(other) != source_of(holder) or (other.namespace, other.name) == (holder.namespace, holder.name):
        return False
    if other.is_deleting or other.spec.suspend or not same_cluster(other, holder):
        return False
    current = other.status.observed_generation == other.metadata.generation
    if current and c.is_true(other.status.conditions, c.STALLED):
        return False
    return not (current and other.status.last_applied_revision == revision)
