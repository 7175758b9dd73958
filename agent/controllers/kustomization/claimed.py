"""Two Kustomizations that want one object: found out from the owner labels and told, instead of a silent fight."""

from __future__ import annotations

from collections.abc import Callable

from agent.api.kustomization import Kustomization
from agent.controllers.fresh import Fresh
from agent.controllers.triggers import source_of
from agent.core.claims import same_cluster
from agent.core.objects import ObjectKey
from agent.core.outcome import stored_inventory


class DoubleClaims:
    """Knows what every Kustomization claims. `leaves(key, holder)` says that a holder waits for somebody to take it."""

    def __init__(self, objects: Fresh[Kustomization], leaves: Callable[[ObjectKey, tuple[str, str]], bool]) -> None:
        self._objects = objects
        self._leaves = leaves

    def conflict(self, key: ObjectKey, claimant: tuple[str, str], holder: tuple[str, str]) -> str | None:
        """Why `claimant` may not take `key` from `holder` (namespace, name); None if it may.

        An object that moves from one Kustomization to another in a commit is no conflict: until the holder has
        applied the claimant's revision, it is taken to be on its way out.
        """
        other = self._objects.get(*holder)
        mine = self._objects.get(*claimant)
        if other is None or mine is None or other.is_deleting or other.spec.suspend:
            return None
        if not same_cluster(other, mine) or self._leaves(key, holder):
            return None
        same_source = source_of(other) == source_of(mine)
        settled = other.status.last_applied_revision == mine.status.last_attempted_revision
        claimed = stored_inventory(other.status).keys()
        if not (same_source and settled and key in claimed):
            return None
        return (
            f"{key} is also applied by Kustomization {holder[0]}/{holder[1]} at the same revision: "
            "remove it from the path of one of the two"
        )
