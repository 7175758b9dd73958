"""How the pods of a workload are made to start anew for content that moved although no commit did.

The workload's pod template gets the annotation that vouches for the content of the slot. That is an edit of the
template: Kubernetes replaces the pods as for any other, a Canary of the workload sees a new revision and analyses it,
and what a rollout rejects is known by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.core.models.extract.declared import PREFIX, slug
from agent.core.models.record import ChangeRecord

DIGEST: Final = f"{PREFIX}model-digest."
BEFORE: Final = f"{PREFIX}model-digest-before."
MANAGER: Final = "weir-content"
"""Field manager of the annotations: an apply from Git neither owns nor removes them."""
_TEMPLATES: Final = {
    ("apps", "Deployment"): ("spec", "template", "metadata"),
    ("apps", "StatefulSet"): ("spec", "template", "metadata"),
    ("apps", "DaemonSet"): ("spec", "template", "metadata"),
    ("argoproj.io", "Rollout"): ("spec", "template", "metadata"),
    ("serving.kserve.io", "InferenceService"): ("spec", "predictor"),
}
"""Where annotations reach the pods, by group and kind."""


def restart_patch(record: ChangeRecord, live: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merge patch after which pods of the *live* workload serve the new content of the record.

    None if nobody knows how to have that. What was served before the first such patch is noted as well: other copies of
    the template, such as a Canary's primary, have no digest until then.
    """
    place = _TEMPLATES.get((record.object.group, record.object.kind))
    if place is None or record.new is None or record.new.digest is None:
        return None
    name = slug(record.slot)
    notes = {f"{DIGEST}{name}": str(record.new.digest)}
    node: Any = live
    for field in (*place, "annotations"):
        node = node.get(field) if isinstance(node, Mapping) else None
    known = node if isinstance(node, Mapping) else {}
    if f"{DIGEST}{name}" not in known and record.old is not None and record.old.digest is not None:
        notes[f"{BEFORE}{name}"] = str(record.old.digest)
    patch: dict[str, Any] = {"annotations": notes}
    for field in reversed(place):
        patch = {field: patch}
    return patch


def with_digests_before(template: dict[str, Any], annotations: Mapping[str, str]) -> None:
    """Give a pod template the digests of what it serves, which *annotations* of a newer one tell, where it has none."""
    told = {
        f"{DIGEST}{key.removeprefix(BEFORE)}": value for key, value in annotations.items() if key.startswith(BEFORE)
    }
    if told:
        metadata = template.setdefault("metadata", {})
        metadata["annotations"] = {**told, **(metadata.get("annotations") or {})}
