"""Tests on latencies, from the buckets of two histograms with the same edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.core.judge.distributions import normal_upper_tail
from agent.core.judge.evidence import Histogram
from agent.core.judge.queries import together

Pair = tuple[Histogram, Histogram]
"""Canary and baseline."""
_UNLIKELY = 0.01
_NOTABLE = 0.05


def aligned(canary: Histogram, baseline: Histogram) -> tuple[Histogram, Histogram]:
    """Both over the edges that they share: servers of two versions need not have the same buckets.

    Raises ValueError if they share none.
    """
    edges = tuple(edge for edge in canary.edges if edge in frozenset(baseline.edges))
    if not edges or edges[-1] < max(canary.edges[-1], baseline.edges[-1]):
        raise ValueError("the histograms of canary and primary have no common buckets")
    return _merged(canary, edges), _merged(baseline, edges)


def _merged(histogram: Histogram, edges: tuple[float, ...]) -> Histogram:
    counts, position = [0.0] * len(edges), 0
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        while edge > edges[position]:
            position += 1
        counts[position] += count
    return Histogram(edges, tuple(counts))


def slower(canary: Histogram, baseline: Histogram, *, effect: float = 1.0) -> tuple[float, float]:
    """(p, share): the rank test of Mann and Whitney over buckets, each bucket one group of ties.

    `share` is the probability that a request to the canary takes longer than one to the baseline (ties count half);
    p is how likely that is if both are equal. `effect` is the design effect by which samples count for less.
    """
    return slower_by_strata(((canary, baseline),), effect=effect)


def slower_by_strata(strata: Sequence[Pair], *, effect: float = 1.0) -> tuple[float, float]:
    """The same within each of several (canary, baseline), such as prompts of one length, taken together (van Elteren):
    that one side has more of the long ones is no reason to call it slower. `share` is the mean over the canary's."""
    deviation = variance = share = compared = 0.0
    for canary, baseline in strata:
        n, m = canary.total, baseline.total
        if not n or not m:
            continue
        wins, spread = _ranks(canary, baseline)
        weight = 1 / (n + m + 1)
        deviation += weight * (wins - n * m / 2)
        variance += weight**2 * spread
        share += wins / m
        compared += n
    if not compared:
        return 1.0, 0.5
    if variance <= 0:
        return 1.0, share / compared
    return normal_upper_tail(deviation / math.sqrt(variance * effect)), share / compared


def _ranks(canary: Histogram, baseline: Histogram) -> tuple[float, float]:
    """In how many pairs the canary takes longer (ties count half), and the variance of that."""
    n, m = canary.total, baseline.total
    below = wins = tied = 0.0
    for ours, theirs in zip(canary.counts, baseline.counts, strict=True):
        wins += ours * (below + theirs / 2)
        below += theirs
        tied += (ours + theirs) ** 3 - (ours + theirs)
    total = n + m
    return wins, n * m / 12 * (total + 1 - tied / (total * (total - 1))) if total > 1 else 0.0


def alike(strata: Sequence[Pair]) -> tuple[list[Pair], Pair]:
    """Those that both sides have, over the edges that all share; and what they amount to: the canary as it is, and the
    baseline as it would be with the canary's mix of them. Raises ValueError as `aligned`."""
    both = [(canary, baseline) for canary, baseline in strata if canary.total and baseline.total]
    edges = aligned(*(together(side) for side in zip(*both, strict=True)))[0].edges if both else ()
    pairs = [(_merged(canary, edges), _merged(baseline, edges)) for canary, baseline in both]
    ours = [sum(counts) for counts in zip(*(canary.counts for canary, _ in pairs), strict=True)]
    mixed = ([count * canary.total / baseline.total for count in baseline.counts] for canary, baseline in pairs)
    theirs = [sum(counts) for counts in zip(*mixed, strict=True)]
    return pairs, (Histogram(edges, tuple(ours)), Histogram(edges, tuple(theirs)))


def unlike(canary: Histogram, baseline: Histogram) -> float | None:
    """Whether what was asked of both sides differs in size: the share of pairs in which the canary's is the larger one;
    None if it does not, as far as one can tell."""
    if not canary.total or not baseline.total:
        return None
    try:
        p, share = slower(*aligned(canary, baseline))
    except ValueError:
        return None
    return share if min(p, 1 - p) * 2 < _UNLIKELY and abs(share - 0.5) >= _NOTABLE else None


def quantile_ratio(canary: Histogram, baseline: Histogram, share: float) -> float:
    """The canary's quantile as a multiple of the baseline's; 1 where there is nothing to compare."""
    theirs, ours = baseline.quantile(share), canary.quantile(share)
    return ours / theirs if theirs and ours == ours and theirs == theirs else 1.0  # noqa: PLR0124 - NaN
