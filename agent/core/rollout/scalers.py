"""The primary's autoscaler: a copy of the target's HorizontalPodAutoscaler or KEDA ScaledObject.

The target's own one is inert while the target has no replicas; a ScaledObject is told so by an annotation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from agent.api.canary import AutoscalerReference, Canary
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.objects import owner_reference, primary_name, unmarked

SCALER, SCALED_OBJECT = "HorizontalPodAutoscaler", "ScaledObject"
PAUSED = "autoscaling.keda.sh/paused-replicas"
"""Annotation by which KEDA holds a workload at so many replicas."""

_SCALER_FIELDS = ("minReplicas", "maxReplicas", "metrics", "behavior")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def scaler_copy(canary: Canary, scaler: Mapping[str, Any]) -> Manifest:
    """The primary's HorizontalPodAutoscaler or ScaledObject, with its own bounds where the Canary names them."""
    reference = _reference(canary)
    if reference.kind == SCALED_OBJECT:
        return _scaled_object(canary, reference, scaler)
    source = scaler["spec"]
    spec = {name: source[name] for name in _SCALER_FIELDS if name in source}
    spec["scaleTargetRef"] = {**source["scaleTargetRef"], "name": canary.primary_name}
    return _manifest(canary, "autoscaling/v2", scaler, {**spec, **_bounds(reference, "minReplicas", "maxReplicas")})


def minimum_of(kind: str, scaler: Mapping[str, Any] | None) -> int:
    """The least number of replicas that the autoscaler keeps; 0 if it does not say."""
    field = "minReplicaCount" if kind == SCALED_OBJECT else "minReplicas"
    return int((scaler or {}).get("spec", {}).get(field) or 0)


def pausing(scaler: Mapping[str, Any], *, paused: bool) -> dict[str, Any]:
    """JSON merge patch that holds a ScaledObject at no replicas, or lets it go; empty if it is so already."""
    have = annotations_of(scaler).get(PAUSED)
    want = "0" if paused else None
    return {} if have == want else {"metadata": {"annotations": {PAUSED: want}}}


def _scaled_object(canary: Canary, reference: AutoscalerReference, scaler: Mapping[str, Any]) -> Manifest:
    spec = copy.deepcopy(dict(scaler["spec"]))
    spec["scaleTargetRef"] = {**spec["scaleTargetRef"], "name": canary.primary_name}
    for trigger in spec.get("triggers") or ():
        _ask_about_primary(canary, reference, trigger)
    horizontal = (spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    if horizontal.get("name"):
        horizontal["name"] = primary_name(horizontal["name"])
    made = _manifest(
        canary, "keda.sh/v1alpha1", scaler, {**spec, **_bounds(reference, "minReplicaCount", "maxReplicaCount")}
    )
    kept = {key: value for key, value in annotations_of(scaler).items() if key not in {PAUSED, _LAST_APPLIED}}
    made["metadata"]["annotations"] = unmarked(kept)
    return made


def _ask_about_primary(canary: Canary, reference: AutoscalerReference, trigger: dict[str, Any]) -> None:
    """A query that names the target or its canary Service is asked about the primary, unless the Canary has one."""
    metadata = trigger.get("metadata") or {}
    given = reference.primary_scaler_queries
    if given is not None:
        if trigger.get("name") in given:
            metadata["query"] = given[trigger["name"]]
    elif "query" in metadata:
        target = canary.target_name
        parts = metadata["query"].split(f"{target}-canary")
        replaced = [part.replace(target, canary.primary_name) for part in parts]
        metadata["query"] = canary.primary_name.join(replaced)


def _bounds(reference: AutoscalerReference, least: str, most: str) -> dict[str, int]:
    given = reference.primary_scaler_replicas
    bounds = {} if given is None else {least: given.min_replicas, most: given.max_replicas}
    return {name: value for name, value in bounds.items() if value is not None}


def _manifest(canary: Canary, api_version: str, scaler: Mapping[str, Any], spec: dict[str, Any]) -> Manifest:
    reference = _reference(canary)
    return {
        "apiVersion": api_version,
        "kind": reference.kind,
        "metadata": {
            "name": primary_name(reference.name),
            "namespace": canary.namespace,
            "labels": unmarked(labels_of(scaler)),
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": spec,
    }


def _reference(canary: Canary) -> AutoscalerReference:
    assert canary.spec.autoscaler_ref is not None
    return canary.spec.autoscaler_ref
