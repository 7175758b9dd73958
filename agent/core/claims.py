"""What the live object says about whether, and by whom, it may be applied or deleted."""

from __future__ import annotations

import enum

from agent.api.kustomization import Kustomization
from agent.core.normalize import GROUP, OWNER_NAME, OWNER_NAMESPACE
from agent.core.objects import Manifest, labels_of, marked

RECONCILE = f"{GROUP}/reconcile"
SSA = f"{GROUP}/ssa"
PRUNE = f"{GROUP}/prune"
FORCE = f"{GROUP}/force"


class Handling(enum.Enum):
    """What an apply does with one object."""

    APPLY = "apply"
    SKIP = "skip"


def handling(desired: Manifest, live: Manifest | None) -> Handling:
    """Whether to apply: the per-object controls of kustomize-controller, on the desired or on the live object."""
    for manifest in (desired, live):
        if marked(manifest, RECONCILE, "disabled") or marked(manifest, SSA, "ignore"):
            return Handling.SKIP
    if live is not None and marked(desired, SSA, "ifnotpresent"):
        return Handling.SKIP
    return Handling.APPLY


def recreates(desired: Manifest, live: Manifest | None) -> bool:
    """True if the object itself allows to be deleted and created anew on an immutable-field error."""
    return marked(desired, FORCE, "enabled") or marked(live, FORCE, "enabled")


def owner_of(live: Manifest) -> tuple[str, str] | None:
    """Namespace and name of the Kustomization whose labels the object carries, None if it carries none."""
    labels = labels_of(live)
    name, namespace = labels.get(OWNER_NAME), labels.get(OWNER_NAMESPACE)
    return (namespace, name) if name and namespace else None


def same_cluster(one: Kustomization, other: Kustomization) -> bool:
    """True if both apply to the same cluster, as far as their specs say: references are to the own namespace."""
    if one.spec.kube_config != other.spec.kube_config:
        return False
    return one.spec.kube_config is None or one.namespace == other.namespace


def deletable(live: Manifest, owner: tuple[str, str]) -> bool:
    """Whether a prune by `owner` (namespace, name) may delete: both labels are its, and nothing forbids it."""
    if owner_of(live) != owner:
        return False
    return not (marked(live, PRUNE, "disabled") or marked(live, RECONCILE, "disabled") or marked(live, SSA, "ignore"))
