"""Stable fingerprints of pod templates, ConfigMaps and Secrets.

Template hashes follow the scheme Flagger plans (`v2:` and eight bytes of a sha256 over canonical JSON without unset
fields); the checksums of configs are Flagger's own, byte for byte, so that its status can be taken over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from agent.core.objects import canonical

PREFIX = "v2:"
FLUX_MARKER = "toolkit.fluxcd.io"
FLAGGER_ID = "flagger-id"
STOP = "flagger.app/scale-to-zero"
"""Entry of a node selector that no node has: how a DaemonSet is scaled to zero."""
_MISSING = object()


def template_hash(template: Mapping[str, Any]) -> str:
    """The hash of a pod template as the API server returns it, defaults included.

    Unset and empty fields are left out, and so is what others write there without meaning a new revision: the
    creation timestamp, Flux's labels and annotations, the id of a promotion, the stop of a DaemonSet.
    """
    metadata = {
        name: _without_marks(value) if name in {"labels", "annotations"} else value
        for name, value in (template.get("metadata") or {}).items()
        if name != "creationTimestamp"
    }
    return content_hash({**template, "metadata": metadata, "spec": without_stop(template.get("spec") or {})})


def content_hash(content: Mapping[str, Any]) -> str:
    """The hash of what makes a revision, unset and empty fields left out."""
    value = _pruned(content)
    return PREFIX + hashlib.sha256(canonical({} if value is _MISSING else value)).digest()[:8].hex()


def without_stop(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod spec without what scales a DaemonSet to zero."""
    selector = {key: value for key, value in (pod.get("nodeSelector") or {}).items() if key != STOP}
    rest = {name: value for name, value in pod.items() if name != "nodeSelector"}
    return {**rest, "nodeSelector": selector} if selector else rest


def is_stable(value: str) -> bool:
    """True if a status field holds a hash of this scheme, False for those that Flagger 1.x writes."""
    return value.startswith(PREFIX)


def config_checksum(data: Mapping[str, str] | None) -> str:
    """Flagger's checksum over the `data` of a ConfigMap or Secret (base64 values as they are): Go's JSON of the map."""
    text = json.dumps(None if data is None else dict(sorted(data.items())), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).digest()[:8].hex()


def revision_checksum(tracked: Mapping[str, str], applied: str) -> str:
    """What webhooks get as `checksum`: the same as long as the revision on trial is."""
    return hashlib.sha256(canonical([dict(tracked), applied])).digest()[:8].hex()


def _without_marks(values: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (values or {}).items() if FLUX_MARKER not in key and key != FLAGGER_ID}


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: item for key, raw in value.items() if (item := _pruned(raw)) is not _MISSING}
        return kept or _MISSING
    if isinstance(value, list | tuple):
        kept_items = [{} if (item := _pruned(raw)) is _MISSING else item for raw in value]
        return kept_items or _MISSING
    return _MISSING if value is None else value
