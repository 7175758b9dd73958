"""Which objects a Kustomization wants to be healthy before it is Ready itself."""

from __future__ import annotations

from collections.abc import Iterable

from agent.api.kustomization import Kustomization
from agent.core.changeset import Action, ChangeSet
from agent.core.inventory import Entry, Inventory
from agent.core.objects import Manifest, ObjectKey, key_of, split_api_version


def to_check(kustomization: Kustomization, inventory: Inventory, changes: ChangeSet) -> tuple[Entry, ...]:
    """What the spec wants to be healthy; skipped objects and the Kustomization itself are left out."""
    own = ObjectKey(Kustomization.GROUP, Kustomization.KIND, kustomization.namespace, kustomization.name)
    if kustomization.spec.wait:
        skipped = {change.key for change in changes.having(Action.SKIPPED)} | {own}
        return inventory.minus(skipped).entries
    entries = []
    for check in kustomization.spec.health_checks:
        group, version = split_api_version(check.api_version or "apps/v1")
        key = ObjectKey(group, check.kind, check.namespace or "", check.name)
        if key != own:
            entries.append(Entry(key, version))
    return tuple(entries)


def passing_objects(objects: Iterable[Manifest]) -> frozenset[ObjectKey]:
    """Jobs that Kubernetes deletes once they are finished: to be gone is to be done."""
    return frozenset(
        key_of(manifest)
        for manifest in objects
        if manifest["kind"] == "Job" and "ttlSecondsAfterFinished" in (manifest.get("spec") or {})
    )
