"""A webhook that is answered by a person: by an annotation on the Canary, without a pod that keeps gates.

    analysis:
      webhooks:
        - name: release-manager
          type: confirm-promotion
          url: weir://gate

    weir.dev/gate.release-manager: approved

The gate is named by the webhook, with a dash for whatever the name of an annotation cannot have. It is closed until the
annotation says `approved`, as a load tester's gate is until it is opened, and open for as long as it says so. Who
may annotate the Canary may open it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.core.rollout.plan import Hook

URL = "weir://gate"
PREFIX = "weir.dev/gate."
APPROVED = "approved"
_LONGEST = 58
"""Characters that are left of the 63 of an annotation's name."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def is_manual(hook: Hook) -> bool:
    """Whether a person answers the hook, instead of a server."""
    return hook.url.rstrip("/") == URL


def annotation(name: str) -> str:
    """The annotation that opens the gate of a webhook."""
    return PREFIX + _NOT_IN_NAMES.sub("-", name)[:_LONGEST].strip("-._")


def refusal(hook: Hook, annotations: Mapping[str, str]) -> str:
    """Empty if the gate is open, else what opens it."""
    key = annotation(hook.name)
    if annotations.get(key) == APPROVED:
        return ""
    return f"gate is closed: annotate the canary with {key}: {APPROVED}"


def gates_differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether somebody opened or closed a gate between two states of a Canary."""
    return _gates(one) != _gates(other)


def _gates(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key.startswith(PREFIX)}
