"""How many pods a canary may have beside what serves, where accelerators are scarce: annotation `weir.dev/surge`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from agent.core.rollout.judgesettings import PREFIX, InvalidAnnotationError

SURGE: Final = f"{PREFIX}surge"


class Surge(enum.StrEnum):
    """What the annotation may say. UNCHECKED: a node autoscaler brings what is missing once pods wait for it."""

    SURGE = "surge"
    ONE_POD = "one-pod"
    UNCHECKED = "unchecked"


def surge_of(annotations: Mapping[str, str]) -> Surge | None:
    """What a Canary says, None if it says nothing. Raises InvalidAnnotationError."""
    text = annotations.get(SURGE)
    if text is None:
        return None
    try:
        return Surge(text)
    except ValueError:
        raise InvalidAnnotationError(f"annotation {SURGE} is {text!r:.60}: use {', '.join(Surge)}") from None
