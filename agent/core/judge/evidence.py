"""What was counted in one window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from agent.core.judge.distributions import normal_quantile


class Counts(msgspec.Struct, frozen=True):
    """Requests of one side in a window, and how many of them were bad."""

    total: float = 0.0
    bad: float = 0.0

    @property
    def share(self) -> float:
        """The share of bad ones, 0 where there was none at all."""
        return self.bad / self.total if self.total else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.total + other.total, self.bad + other.bad)

    def deflated(self, effect: float) -> Counts:
        """As few as they are worth if samples of one pod resemble each other; see `design_effect`."""
        return Counts(self.total / effect, self.bad / effect)


class Histogram(msgspec.Struct, frozen=True):
    """Latencies of one side: `counts[i]` requests took at most `edges[i]` seconds and more than the edge before it.

    The last edge may be infinite. Raises ValueError for edges that do not rise or do not fit the counts.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
        if len(self.edges) != len(self.counts) or not rising or any(count < 0 for count in self.counts):
            raise ValueError("a histogram needs rising edges with one count of at least 0 each")

    @classmethod
    def from_cumulative(cls, buckets: Iterable[tuple[float, float]]) -> Histogram:
        """From Prometheus' `(le, count of at most le)`, in any order; a counter that went back counts as 0."""
        ordered = sorted(buckets)
        counts, before = [], 0.0
        for _, count in ordered:
            counts.append(max(count - before, 0.0))
            before = max(count, before)
        return cls(tuple(edge for edge, _ in ordered), tuple(counts))

    @property
    def total(self) -> float:
        return sum(self.counts)

    def above(self, bound: float) -> Counts:
        """How many certainly took longer than `bound` seconds: those above the first edge that is not below it."""
        over = sum(count for low, count in zip((0.0, *self.edges), self.counts, strict=False) if low >= bound)
        return Counts(self.total, over)

    def quantile(self, share: float) -> float:
        """The quantile in seconds, interpolated inside its bucket; the last finite edge where it lies above that.

        NaN if there are no samples.
        """
        wanted, seen, low = share * self.total, 0.0, 0.0
        if not self.total:
            return float("nan")
        for edge, count in zip(self.edges, self.counts, strict=True):
            if count and seen + count >= wanted:
                return low if edge == float("inf") else low + (edge - low) * (wanted - seen) / count
            seen, low = seen + count, edge
        return low

    def quantile_bounds(self, share: float, alpha: float, *, effect: float = 1.0) -> tuple[float, float]:
        """One-sided bounds of a quantile in seconds, each with confidence 1 - alpha: the quantiles between which the
        share lies by the normal approximation. There have to be samples; `effect` is the design effect."""
        spread = normal_quantile(1 - alpha) * math.sqrt(share * (1 - share) * effect / self.total)
        return self.quantile(max(share - spread, 0.0)), self.quantile(min(share + spread, 1.0))

    def edge_below(self, share: float) -> float:
        """The edge at which the bucket of that quantile begins: what is above it is counted, not interpolated."""
        quantile = self.quantile(share)
        return max((edge for edge in self.edges if edge < quantile), default=0.0)


def design_effect(blocks: Sequence[Counts]) -> float:
    """How many correlated samples are worth one independent one, at least 1.

    `blocks` are the counts by pod. Requests that share a queue fail together: then the shares of
    the blocks scatter more than independent requests would, and by that factor the samples count for less.
    """
    used = [block for block in blocks if block.total > 0]
    whole = sum(used, Counts())
    if len(used) < 2 or not 0 < whole.share < 1:
        return 1.0
    expected = whole.share * (1 - whole.share)
    observed = sum(block.total * (block.share - whole.share) ** 2 for block in used) / (len(used) - 1)
    return max(1.0, observed / expected)
