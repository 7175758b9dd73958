"""The fresh copy of the primary that a canary may be compared with: of its size and age, gone with its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.api.canary import Canary
from agent.core.objects import Manifest, annotations_of
from agent.core.rollout.hashing import FLAGGER_ID
from agent.core.rollout.objects import RECONCILE_DISABLED, Selector, owner_reference

BASELINE_OF = "weir.dev/baseline-of"
"""Annotation on its pods: the revision that they are compared with, so that they begin anew with each."""
_CARRIED = ("strategy", "minReadySeconds", "progressDeadlineSeconds")


def baseline_workload(
    canary: Canary, primary: Mapping[str, Any], selector: Selector, name: str, *, revision: str, replicas: int
) -> Manifest:
    """The copy: the pods of the primary as it runs, under a label of their own."""
    labels = {selector.key: selector.baseline}
    return {
        "apiVersion": primary["apiVersion"],
        "kind": primary["kind"],
        "metadata": {
            "name": name,
            "namespace": canary.namespace,
            "labels": labels,
            "annotations": dict(RECONCILE_DISABLED),
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": {
            **{field: primary["spec"][field] for field in _CARRIED if field in primary["spec"]},
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": _template(primary, labels, revision),
        },
    }


def baseline_patch(live: Mapping[str, Any], *, revision: str, replicas: int) -> dict[str, Any]:
    """JSON merge patch for a copy that is there; empty if it is as it should be."""
    change: dict[str, Any] = {}
    if live["spec"].get("replicas") != replicas:
        change["replicas"] = replicas
    if revision_of(live) != revision:
        change["template"] = {"metadata": {"annotations": {BASELINE_OF: revision}}}
    return {"spec": change} if change else {}


def revision_of(live: Mapping[str, Any]) -> str:
    """The revision that a copy was made for."""
    return annotations_of(live["spec"]["template"]).get(BASELINE_OF, "")


def _template(primary: Mapping[str, Any], labels: Mapping[str, str], revision: str) -> dict[str, Any]:
    template = primary["spec"]["template"]
    metadata = template.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != FLAGGER_ID}
    return {
        "metadata": {
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": {**annotations, BASELINE_OF: revision},
        },
        "spec": template["spec"],
    }
