"""What a pass has found to be all as it should be, so that the next one need only look whether anything has moved.

Most passes of a fleet are of this kind: the source has nothing new for them, and nobody has touched their objects. They
cost a look at what is in memory: nothing is decoded, and nobody is asked.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from agent.adapters.kube.memory import Memory
from agent.adapters.kube.target import Target
from agent.core.changeset import Action, Change, ChangeSet
from agent.core.inventory import Inventory
from agent.core.objects import ObjectKey, content_hash

Key = tuple[str, str]
Yields = dict[ObjectKey, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Standing:
    """The end of a pass that went well: for which `state` of its inputs, and what is verified of each object."""

    state: str
    inventory: Inventory
    unchanged: ChangeSet
    wanted: tuple[tuple[ObjectKey, str], ...]


def state_of(digest: str, generation: int, target: Target, yields: Yields) -> str:
    """The hash of everything that decides what is sent: build, spec, identity, and fields that a rollout owns."""
    owned = sorted((list(key), pointers) for key, pointers in yields.items())
    return content_hash([digest, generation, target.client.acting_as, owned])


class Standings:
    """The last standing of each Kustomization."""

    def __init__(self) -> None:
        self._last: dict[Key, tuple[weakref.ref[Memory], Standing]] = {}

    def forget(self, owner: Key) -> None:
        """Drop what is kept for a Kustomization."""
        self._last.pop(owner, None)

    def inventory(self, owner: Key) -> Inventory | None:
        """What it had applied, None if nothing is kept."""
        last = self._last.get(owner)
        return last[1].inventory if last is not None else None

    def remember(self, owner: Key, target: Target, state: str, inventory: Inventory) -> None:
        """Everything in the inventory is applied. It is kept if each object is also verified."""
        keys = [entry.key for entry in inventory.entries]
        wanted = tuple((key, target.memory.wanted(key)) for key in keys)
        if any(hashed is None for _, hashed in wanted):
            self.forget(owner)
            return
        unchanged = ChangeSet(tuple(Change(key, Action.UNCHANGED) for key in keys))
        verified = tuple((key, hashed) for key, hashed in wanted if hashed is not None)
        self._last[owner] = (weakref.ref(target.memory), Standing(state, inventory, unchanged, verified))

    def of(self, owner: Key, target: Target, state: str) -> Standing | None:
        """What still stands: the same state, on the same cluster, and no object has moved since."""
        last = self._last.get(owner)
        if last is None or last[0]() is not target.memory or last[1].state != state:
            return None
        standing = last[1]
        moved = any(
            not target.memory.is_verified(key, wanted, target.live.fingerprint(key)) for key, wanted in standing.wanted
        )
        return None if moved else standing
