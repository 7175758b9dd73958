"""In which order objects are applied and deleted, and in which stages.

The stages and the order of kinds are Flux's (`fluxcd/pkg/ssa`): a definition has to be served before objects of its
kind can be sent, a class before what names it, and webhooks come last so that they do not judge their own workload.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from agent.core.objects import Manifest, ObjectKey, key_of

_FIRST = (
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
)
_LAST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_RANK = {kind: index for index, kind in enumerate(_FIRST)} | {
    kind: len(_FIRST) + 1 + index for index, kind in enumerate(_LAST)
}
_DEFINITIONS = frozenset({"CustomResourceDefinition", "Namespace", "ClusterRole"})


class Stage(enum.IntEnum):
    """Each stage is fully processed before the next; the first two are also waited for."""

    DEFINITIONS = 0
    CLASSES = 1
    CUSTOM = 2
    REST = 3

    @property
    def waits(self) -> bool:
        """True if the objects of this stage must be ready before the next stage starts."""
        return self in (Stage.DEFINITIONS, Stage.CLASSES)


def stage_of(key: ObjectKey, custom: frozenset[str] = frozenset()) -> Stage:
    """The stage of an object.

    `custom` holds `group/Kind` names, mere kinds for the core group (flag `--custom-apply-stage-kinds`).
    """
    if key.kind in _DEFINITIONS:
        return Stage.DEFINITIONS
    if key.kind.endswith("Class"):
        return Stage.CLASSES
    if f"{key.group}/{key.kind}" in custom or (not key.group and key.kind in custom):
        return Stage.CUSTOM
    return Stage.REST


def rank(key: ObjectKey) -> tuple[int, str, str, str, str]:
    """Sort key for applying; reversed for deleting."""
    return (_RANK.get(key.kind, len(_FIRST)), key.group, key.kind, key.namespace, key.name)


def staged(manifests: Iterable[Manifest], custom: frozenset[str] = frozenset()) -> list[tuple[Stage, list[Manifest]]]:
    """The manifests by stage, in stage order and sorted inside each; empty stages are left out."""
    stages: dict[Stage, list[Manifest]] = {}
    for manifest in sorted(manifests, key=lambda m: rank(key_of(m))):
        stages.setdefault(stage_of(key_of(manifest), custom), []).append(manifest)
    return sorted(stages.items())
