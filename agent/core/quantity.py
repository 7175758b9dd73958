"""Quantities as Kubernetes writes them: `1500m`, `2Ki`, and `1k` for a thousand."""

from __future__ import annotations

import math
from typing import Final

_SUFFIXES: Final = {
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: 1000.0**power for power, letter in enumerate("kMGTPE", 1)},
    **{letter: 1000.0**-power for power, letter in enumerate("mun", 1)},
}


def quantity(text: str) -> float:
    """The number. Raises ValueError for what is none."""
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def whole(amount: object) -> int:
    """A number of things that cannot be divided; 0 for what is no number."""
    try:
        found = quantity(str(amount))
    except ValueError:
        return 0
    return int(found) if math.isfinite(found) else 0
