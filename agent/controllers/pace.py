"""How long until the next look."""

from __future__ import annotations

import random

SHORTEST = 1.0
"""Seconds: an interval of `0s` or `1ms`, which the fields allow, must not become a loop without a pause."""


def paced(interval: float, jitter: float = 0.0) -> float:
    """The interval in seconds, spread by the fraction `jitter` to both sides, so that passes do not come in step."""
    return max(interval * random.uniform(1 - jitter, 1 + jitter), SHORTEST)  # noqa: S311 - spreads load
