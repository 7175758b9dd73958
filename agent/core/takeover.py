"""What comes over to the manager that applies: fields, annotations and labels that earlier tools left on an object.

Without it, a field that `kubectl` once set would stay for ever, whatever Git says: server-side apply only removes
what the same manager applied before. The rules are kustomize-controller's (`fluxcd/pkg/ssa`, metadata cleanup).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.core.claims import SSA
from agent.core.fieldsets import union
from agent.core.objects import Manifest, annotations_of, labels_of, marked

_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kustomize.toolkit.fluxcd.io/checksum",
    "fluxcd.io/sync-checksum",
)
_LABELS = ("fluxcd.io/sync-gc-mark",)
_APPLY, _UPDATE = "Apply", "Update"

ManagedFields = list[dict[str, Any]]


class Predecessor(NamedTuple):
    """Managers whose name begins with `prefix`, for one operation (Apply or Update)."""

    prefix: str
    operation: str

    def wrote(self, entry: Mapping[str, Any]) -> bool:
        """True if the entry is of such a manager, and about the object itself: status and scale stay whose they are."""
        return (
            entry.get("operation") == self.operation
            and not entry.get("subresource")
            and str(entry.get("manager", "")).startswith(self.prefix)
        )


class Takeover(NamedTuple):
    """JSON patch operations for a live object, and the object as it is after them."""

    operations: tuple[dict[str, Any], ...]
    result: Manifest


def predecessors(manager: str, overridden: Iterable[str] = ()) -> tuple[Predecessor, ...]:
    """Whose fields `manager` takes over; `overridden` are further prefixes (flag `--override-manager`)."""
    fixed = (
        Predecessor("kubectl", _APPLY),
        Predecessor("kubectl", _UPDATE),
        Predecessor("before-first-apply", _UPDATE),
        Predecessor(manager, _UPDATE),
    )
    return fixed + tuple(Predecessor(name, operation) for name in overridden for operation in (_APPLY, _UPDATE))


def takeover(desired: Manifest, live: Manifest, manager: str, earlier: tuple[Predecessor, ...]) -> Takeover | None:
    """What `manager` has to take over before it applies `desired`; None if nothing, or if `ssa: Merge` forbids it.

    The patch only holds for the very version of `live` that it was made for.
    """
    if marked(desired, SSA, "merge") or marked(live, SSA, "merge"):
        return None
    metadata = dict(live["metadata"])
    operations: list[dict[str, Any]] = []
    for field, names, present in (
        ("annotations", _ANNOTATIONS, annotations_of(live)),
        ("labels", _LABELS, labels_of(live)),
    ):
        found = [name for name in names if name in present]
        operations += [{"op": "remove", "path": f"/metadata/{field}/{name.replace('/', '~1')}"} for name in found]
        if found:
            metadata[field] = {name: value for name, value in present.items() if name not in found}
    entries = _with_one_manager(live["metadata"].get("managedFields") or [], manager, earlier)
    if entries is not None:
        operations.append({"op": "replace", "path": "/metadata/managedFields", "value": entries})
        metadata["managedFields"] = entries
    if not operations:
        return None
    return Takeover((*operations, _only_this_version(live)), {**live, "metadata": metadata})


def _with_one_manager(entries: ManagedFields, manager: str, earlier: tuple[Predecessor, ...]) -> ManagedFields | None:
    """The entries with those of `earlier` merged into the Apply entry of `manager`; None if there are none."""
    own = next((entry for entry in entries if _applied_by(entry, manager)), None)
    taken = [entry for entry in entries if entry is not own and any(one.wrote(entry) for one in earlier)]
    if not taken:
        return None
    merged = dict(own or taken[0])
    for entry in taken if own else taken[1:]:
        merged["fieldsV1"] = union(merged.get("fieldsV1") or {}, entry.get("fieldsV1") or {})
    merged |= {"manager": manager, "operation": _APPLY}
    return [entry for entry in entries if entry is not own and entry not in taken] + [merged]


def _applied_by(entry: Mapping[str, Any], manager: str) -> bool:
    return (entry.get("manager"), entry.get("operation")) == (manager, _APPLY) and not entry.get("subresource")


def version_migration(live: Manifest, api_version: str) -> tuple[dict[str, Any], ...]:
    """JSON patch operations after which every manager's entry is of `api_version`; none if they are already.

    An entry of an older version makes the API server refuse fields that only the newer one declares.
    """
    entries = live["metadata"].get("managedFields") or []
    if all(entry.get("apiVersion") == api_version for entry in entries):
        return ()
    moved = [{**entry, "apiVersion": api_version} for entry in entries]
    return ({"op": "replace", "path": "/metadata/managedFields", "value": moved}, _only_this_version(live))


def _only_this_version(live: Manifest) -> dict[str, Any]:
    """Makes the API server refuse the patch (Conflict) if somebody has changed the object in the meantime."""
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
