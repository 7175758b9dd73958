"""The inventory: which objects a Kustomization owns, as it stands in `status.inventory`.

Entry ids have Flux's form (`fluxcd/cli-utils` object metadata): `<namespace>_<name>_<group>_<kind>`, with `:` in RBAC
names written as `__`. The version stands beside the id and does not take part in identity, so an API version bump is
never a deletion.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agent.api.kustomization import Inventory as StatusInventory
from agent.api.kustomization import InventoryEntry as StatusEntry
from agent.core.objects import Manifest, ObjectKey, key_of, split_api_version
from agent.core.ordering import staged

_RBAC_KINDS = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
_RBAC_GROUP = "rbac.authorization.k8s.io"


class Entry(msgspec.Struct, frozen=True):
    """One owned object: its key and the API version (without group) under which it was applied."""

    key: ObjectKey
    version: str

    @property
    def api_version(self) -> str:
        """`group/version`, or the bare version for the core group."""
        return f"{self.key.group}/{self.version}" if self.key.group else self.version


class Inventory(msgspec.Struct, frozen=True):
    """An ordered set of entries, unique by key."""

    entries: tuple[Entry, ...] = ()

    def keys(self) -> frozenset[ObjectKey]:
        """The keys of all entries."""
        return frozenset(entry.key for entry in self.entries)

    def union(self, other: Inventory) -> Inventory:
        """This inventory's entries, then those of `other` that it lacks; `other`'s version wins for a shared key."""
        versions = {entry.key: entry for entry in other.entries}
        mine = tuple(versions.pop(entry.key, entry) for entry in self.entries)
        return Inventory(mine + tuple(versions.values()))

    def minus(self, keys: Iterable[ObjectKey]) -> Inventory:
        """Without the entries whose key is in `keys`."""
        gone = frozenset(keys)
        return Inventory(tuple(entry for entry in self.entries if entry.key not in gone))

    def applied(self, keys: Iterable[ObjectKey]) -> Inventory:
        """These entries in the order in which they were applied.

        A key lacks the namespace of its entry where the kind turned out to be cluster-wide.
        """
        bare = {entry.key._replace(namespace=""): entry for entry in self.entries}
        known = bare | {entry.key: entry for entry in self.entries}
        return Inventory(tuple(Entry(key, known[key].version) for key in keys if key in known))

    def stale(self, new: Inventory) -> tuple[Entry, ...]:
        """Entries that `new` no longer has: what a prune may delete."""
        kept = new.keys()
        return tuple(entry for entry in self.entries if entry.key not in kept)


def inventory_of(manifests: Iterable[Manifest]) -> Inventory:
    """The inventory of a set of manifests, in the order in which they are applied.

    That is kustomize-controller's order too, so that a status does not change with the agent that writes it.
    """
    entries: dict[ObjectKey, Entry] = {}
    for _, stage in staged(manifests):
        for manifest in stage:
            key = key_of(manifest)
            entries[key] = Entry(key, split_api_version(manifest["apiVersion"])[1])
    return Inventory(tuple(entries.values()))


def format_id(key: ObjectKey) -> str:
    """The inventory id of a key."""
    name = key.name
    if key.group == _RBAC_GROUP and key.kind in _RBAC_KINDS:
        name = name.replace(":", "__")
    return f"{key.namespace}_{name}_{key.group}_{key.kind}"


def parse_id(text: str) -> ObjectKey:
    """The key behind an inventory id.

    Raises ValueError for a text that is not one.
    """
    namespace, first, rest = text.partition("_")
    head, last, kind = rest.rpartition("_")
    name, middle, group = head.rpartition("_")
    if not (first and last and middle and name and kind):
        msg = f"inventory id {text!r} is not of the form <namespace>_<name>_<group>_<kind>"
        raise ValueError(msg)
    if group == _RBAC_GROUP and kind in _RBAC_KINDS:
        name = name.replace("__", ":")
    return ObjectKey(group, kind, namespace, name)


def to_status(inventory: Inventory) -> StatusInventory:
    """The value of `status.inventory`."""
    return StatusInventory(entries=tuple(StatusEntry(id=format_id(e.key), v=e.version) for e in inventory.entries))


def from_status(status: StatusInventory | None) -> Inventory:
    """The inventory in a `status.inventory` value; entries that cannot be read raise ValueError, never vanish."""
    entries = status.entries if status else ()
    return Inventory(tuple(Entry(parse_id(entry.id), entry.v) for entry in entries))
