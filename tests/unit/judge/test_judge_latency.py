"""Ranks and quantiles of histograms, against what the samples themselves give."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from agent.core.judge.evidence import Histogram
from agent.core.judge.latency import aligned, alike, quantile_ratio, slower, slower_by_strata, unlike

EDGES = (0.1, 0.2, 0.5, 1.0, math.inf)
SIDES = st.lists(st.integers(0, 60), min_size=5, max_size=5)


def samples(counts: list[int]) -> list[int]:
    return [i for i, count in enumerate(counts) for _ in range(count)]


@given(SIDES, SIDES)
def test_the_rank_test_is_that_of_mann_and_whitney_with_ties(ours: list[int], theirs: list[int]) -> None:
    assume(sum(ours) > 1 and sum(theirs) > 1 and len(set(samples(ours) + samples(theirs))) > 1)
    p, share = slower(Histogram(EDGES, tuple(ours)), Histogram(EDGES, tuple(theirs)))
    expected = stats.mannwhitneyu(
        samples(ours), samples(theirs), alternative="greater", method="asymptotic", use_continuity=False
    )
    assert share == pytest.approx(expected.statistic / (sum(ours) * sum(theirs)))
    assert p == pytest.approx(expected.pvalue, rel=1e-6)


def test_correlated_samples_make_the_rank_test_less_sure() -> None:
    ours, theirs = Histogram(EDGES, (10, 40, 40, 10, 0)), Histogram(EDGES, (30, 40, 25, 5, 0))
    assert slower(ours, theirs, effect=4.0)[0] > 10 * slower(ours, theirs)[0]


@pytest.mark.parametrize(
    ("share", "seconds"),
    [(0.5, 0.2), (0.25, 0.15), (0.9, 0.5), (0.99, 0.95), (1.0, 1.0)],
)
def test_quantiles_are_interpolated_as_prometheus_does(share: float, seconds: float) -> None:
    assert Histogram(EDGES, (0, 50, 40, 10, 0)).quantile(share) == pytest.approx(seconds)


def test_a_quantile_above_the_last_finite_edge_is_that_edge() -> None:
    assert Histogram(EDGES, (0, 0, 0, 1, 9)).quantile(0.95) == 1.0
    assert math.isnan(Histogram(EDGES, (0, 0, 0, 0, 0)).quantile(0.5))


def test_only_what_is_certainly_above_a_bound_counts_as_above_it() -> None:
    histogram = Histogram(EDGES, (1, 2, 3, 4, 5))
    assert histogram.above(0.2).bad == 12
    assert histogram.above(0.3).bad == 9  # some between 0.2 and 0.5 may be below 0.3
    assert histogram.above(0).bad == 15


def test_histograms_with_other_buckets_are_compared_over_those_they_share() -> None:
    other = Histogram((0.2, 1.0, 5.0, math.inf), (10, 20, 5, 1))
    ours, theirs = aligned(Histogram(EDGES, (1, 2, 3, 4, 5)), other)
    assert ours == Histogram((0.2, 1.0, math.inf), (3, 7, 5))
    assert theirs == Histogram((0.2, 1.0, math.inf), (10, 20, 6))
    with pytest.raises(ValueError, match="no common buckets"):
        aligned(ours, Histogram((3.0,), (1,)))


def test_buckets_of_prometheus_become_a_histogram() -> None:
    found = Histogram.from_cumulative([(math.inf, 10), (0.1, 2), (0.5, 7)])
    assert found == Histogram((0.1, 0.5, math.inf), (2, 5, 3))
    assert found.total == 10


@pytest.mark.parametrize(("edges", "counts"), [((1.0, 1.0), (1, 1)), ((1.0,), (1, 2)), ((1.0,), (-1,))])
def test_a_histogram_that_is_none_is_refused(edges: tuple[float, ...], counts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rising edges"):
        Histogram(edges, counts)


def test_nothing_to_compare_is_no_difference() -> None:
    empty, some = Histogram(EDGES, (0, 0, 0, 0, 0)), Histogram(EDGES, (0, 5, 0, 0, 0))
    assert slower(empty, some) == (1.0, 0.5)
    assert quantile_ratio(empty, some, 0.95) == 1.0
    assert slower(some, some) == (1.0, 0.5)


@given(SIDES, SIDES)
def test_strata_of_one_kind_are_one_test(ours: list[int], theirs: list[int]) -> None:
    pair = (Histogram(EDGES, tuple(ours)), Histogram(EDGES, tuple(theirs)))
    empty = Histogram(EDGES, (0, 0, 0, 0, 0))
    assert slower_by_strata([pair, (empty, pair[1]), (pair[0], empty)]) == slower(*pair)


@given(SIDES, SIDES, st.integers(2, 9))
def test_the_mix_of_the_canary_is_given_to_the_baseline(ours: list[int], theirs: list[int], times: int) -> None:
    assume(sum(ours) and sum(theirs))
    first = (Histogram(EDGES, tuple(ours)), Histogram(EDGES, tuple(theirs)))
    other = (Histogram(EDGES, tuple(count * times for count in ours)), first[1])
    _, (canary, baseline) = alike([first, other])
    assert canary.total == pytest.approx(sum(ours) * (times + 1))
    assert baseline.total == pytest.approx(canary.total)
    assert [count / baseline.total for count in baseline.counts] == pytest.approx([c / sum(theirs) for c in theirs])


def test_sizes_differ_only_where_that_is_sure_and_matters() -> None:
    even, long = Histogram(EDGES, (50, 50, 50, 50, 0)), Histogram(EDGES, (10, 20, 70, 100, 0))
    assert unlike(even, even) is None
    assert unlike(long, even) == pytest.approx(1 - (unlike(even, long) or 0))
    assert unlike(Histogram(EDGES, (1, 1, 1, 1, 0)), Histogram(EDGES, (0, 0, 2, 2, 0))) is None
    assert unlike(Histogram(EDGES, (0, 0, 0, 0, 0)), even) is None


@given(SIDES.filter(lambda counts: sum(counts) > 0), st.sampled_from([0.5, 0.9, 0.95]), st.floats(1.0, 5.0))
def test_a_quantile_lies_within_its_bounds_which_widen_for_fewer_samples(
    counts: list[int], share: float, effect: float
) -> None:
    found = Histogram(EDGES, tuple(counts))
    lower, upper = found.quantile_bounds(share, 0.05)
    assert lower <= found.quantile(share) <= upper
    wide = found.quantile_bounds(share, 0.05, effect=effect)
    assert wide[0] <= lower
    assert wide[1] >= upper
