"""Weighted and round-robin choice without randomness, so that even few requests show the weights."""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class SmoothChoice:
    """Smooth weighted round robin: over any whole cycle each index comes exactly as often as its weight says."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = tuple(weights)
        self._current = [0] * len(self._weights)

    def next(self) -> int | None:
        """The next index; one of weight 0 never comes, None when no weight is positive."""
        total = sum(self._weights)
        if total <= 0:
            return None
        self._current = [current + weight for current, weight in zip(self._current, self._weights, strict=True)]
        chosen = max(range(len(self._weights)), key=lambda i: (self._weights[i] > 0, self._current[i]))
        self._current[chosen] -= total
        return chosen


class Rotation:
    """Round robin over a list that may change between calls."""

    def __init__(self) -> None:
        self._count = 0

    def order(self, items: Sequence[_T]) -> list[_T]:
        """All items, starting one further each time."""
        if not items:
            return []
        start = self._count % len(items)
        self._count += 1
        return [*items[start:], *items[:start]]
