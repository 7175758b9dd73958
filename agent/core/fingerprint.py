"""When must a live object be compared again? A few words about it that change whenever its desired part may have.

Kinds with `metadata.generation` count their spec changes there, so status writes (a Deployment's pod counts) cost
nothing; for the others the resource version has to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.core.objects import canonical

_MESSAGES = "reconcile.fluxcd.io/"
_REVISION = "deployment.kubernetes.io/revision"


class Fingerprint(NamedTuple):
    """Equal fingerprints of one object mean: nobody touched what we applied."""

    uid: str
    version: str
    marks: bytes


def fingerprint_of(metadata: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of a live object, from its metadata alone.

    A request for a pass, or another message to a Flux controller, is no drift: it must reach the one it is for before a
    Kustomization that has applied the object may find that Git knows nothing of it. Nor is the number that the
    Deployment controller gives to each new set of Pods, and would give again if somebody else wrote there.
    """
    generation = metadata.get("generation")
    annotations = metadata.get("annotations") or {}
    lasting = {
        name: value for name, value in annotations.items() if name != _REVISION and not name.startswith(_MESSAGES)
    }
    marks = canonical([metadata.get("labels") or {}, lasting])
    return Fingerprint(
        uid=metadata.get("uid", ""),
        version=f"generation {generation}" if generation else metadata.get("resourceVersion", ""),
        marks=hashlib.blake2b(marks, digest_size=8).digest(),
    )
