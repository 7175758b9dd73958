"""Tests on shares of bad requests: against a ceiling, and of the canary against the primary."""

from __future__ import annotations

import math

from agent.core.judge.distributions import (
    binomial_lower_bound,
    binomial_upper_tail,
    hypergeometric_upper_tail,
    normal_quantile,
)
from agent.core.judge.evidence import Counts
from agent.core.judge.looks import spent

FEW = 20
"""Bad requests of both sides together below which the exact test is used."""
MIXING = 0.04
"""Size of the differences (of shares) that the sequential test finds soonest."""
EXACT = "exact"
SEQUENTIAL = "sequential"


def above_ceiling(canary: Counts, ceiling: float, alpha: float, *, look: int) -> tuple[float, float]:
    """(p, lower bound): how likely such a count is if the true share is the ceiling, and what the share surely exceeds.

    Exact, by the binomial distribution, for the `look`-th look with `alpha` for all of them.
    """
    p = binomial_upper_tail(canary.bad, canary.total, ceiling)
    return spent(p, look), binomial_lower_bound(canary.bad, canary.total, alpha / (look * (look + 1)))


def worse(canary: Counts, baseline: Counts, *, look: int, scale: float = MIXING) -> tuple[float, str]:
    """(p, name of the test): how likely the canary is so much worse than the baseline if both are equal.

    Few bad requests: Fisher's exact test at the `look`-th look. Many: the mixture sequential probability ratio test
    (Johari, Pekelis and Walsh, 2015) with mixing `scale`, whose p holds at any number of looks.
    """
    if not canary.total or not baseline.total or canary.share <= baseline.share:
        return 1.0, EXACT
    if canary.bad + baseline.bad < FEW:
        hits, marked = math.floor(canary.bad), math.floor(canary.bad) + math.ceil(baseline.bad)
        drawn = max(round(canary.total), hits)
        total = max(drawn + round(baseline.total), marked)
        return spent(hypergeometric_upper_tail(hits, drawn, marked, total), look), EXACT
    pooled = (canary + baseline).share
    variance = pooled * (1 - pooled) * (1 / canary.total + 1 / baseline.total)
    if variance <= 0:
        return 1.0, SEQUENTIAL
    difference, mixed = canary.share - baseline.share, variance + scale**2
    exponent = difference**2 * scale**2 / (2 * variance * mixed)
    log_ratio = 0.5 * math.log(variance / mixed) + exponent
    return min(1.0, math.exp(-log_ratio)), SEQUENTIAL


def difference_bounds(canary: Counts, baseline: Counts, alpha: float) -> tuple[float, float]:
    """One-sided bounds of canary share minus baseline share, each with confidence 1 - alpha (Newcombe's hybrid)."""
    low_c, high_c = _wilson(canary, alpha)
    low_b, high_b = _wilson(baseline, alpha)
    difference = canary.share - baseline.share
    lower = difference - math.hypot(canary.share - low_c, high_b - baseline.share)
    upper = difference + math.hypot(high_c - canary.share, baseline.share - low_b)
    return lower, upper


def _wilson(counts: Counts, alpha: float) -> tuple[float, float]:
    if not counts.total:
        return 0.0, 1.0
    n, p, z = counts.total, counts.share, normal_quantile(1 - alpha)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
