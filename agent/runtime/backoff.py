"""Exponential back-off with jitter, as a value."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `initial * factor ** n`, at most `maximum`, lengthened by up to the share `jitter`.

    Jitter only lengthens, so `initial` is the shortest delay ever used and `maximum * (1 + jitter)` the longest.
    """

    initial: float
    maximum: float
    factor: float = 2.0
    jitter: float = 0.1

    def delay(self, failures: int, rand: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the given number of failures in a row (1 is the first)."""
        # Beyond 60 doublings the maximum has long been reached; the limit keeps the power from overflowing.
        exponent = min(max(failures, 1) - 1, 60)
        return min(self.initial * self.factor**exponent, self.maximum) * (1.0 + self.jitter * rand())
