"""How many pods a canary may have beside what serves, where accelerators are scarce: annotation `weir.dev/surge`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from agent.core.rollout.judgesettings import PREFIX, InvalidAnnotationError

SURGE: Final = f"{PREFIX}surge"
FULL_REPLICAS: Final = f"{PREFIX}full-replicas"
"""Annotation on a primary that has fewer replicas because of its canary: how many it has otherwise."""

INSUFFICIENT: Final = "InsufficientAccelerators"
"""Why a run waits that would have no room."""


class Surge(enum.StrEnum):
    """What the annotation may say. IN_PLACE: pods of the canary take the place of pods of the primary. UNCHECKED: a
    node autoscaler brings what is missing once pods wait for it."""

    SURGE = "surge"
    IN_PLACE = "in-place"
    ONE_POD = "one-pod"
    UNCHECKED = "unchecked"


FEWER: Final = frozenset({Surge.IN_PLACE, Surge.ONE_POD})
"""With these the canary has fewer replicas than the primary is to have after the promotion."""


def surge_of(annotations: Mapping[str, str]) -> Surge | None:
    """What a Canary says, None if it says nothing. Raises InvalidAnnotationError."""
    text = annotations.get(SURGE)
    if text is None:
        return None
    try:
        return Surge(text)
    except ValueError:
        raise InvalidAnnotationError(f"annotation {SURGE} is {text!r:.60}: use {', '.join(Surge)}") from None
