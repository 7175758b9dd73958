"""Our few distributions against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from agent.core.judge.distributions import (
    binomial_lower_bound,
    binomial_upper_bound,
    binomial_upper_tail,
    hypergeometric_upper_tail,
    incomplete_beta,
    normal_quantile,
    normal_upper_tail,
)

ALPHAS = st.sampled_from([0.05, 0.025, 0.01, 1e-3, 1e-5])


@given(st.floats(0.0, 1.0), st.floats(0.3, 3000.0), st.floats(0.3, 3000.0))
def test_incomplete_beta(x: float, a: float, b: float) -> None:
    assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-12)


@given(st.integers(1, 5000), st.data())
def test_binomial_tail_and_bounds(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    share, alpha = data.draw(st.floats(0.0001, 0.9)), data.draw(ALPHAS)
    assert binomial_upper_tail(bad, total, share) == pytest.approx(stats.binom.sf(bad - 1, total, share), abs=1e-9)
    exact = stats.binomtest(bad, total).proportion_ci(1 - 2 * alpha, method="exact")
    assert binomial_lower_bound(bad, total, alpha) == pytest.approx(exact.low, abs=1e-7)
    assert binomial_upper_bound(bad, total, alpha) == pytest.approx(exact.high, abs=1e-7)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2000), st.integers(0, 2000))
def test_fishers_exact_test(bad: int, usual: int, good: int, fine: int) -> None:
    drawn, total = bad + good, bad + good + usual + fine
    expected = stats.fisher_exact([[bad, good], [usual, fine]], alternative="greater").pvalue if total else 1.0
    assert hypergeometric_upper_tail(bad, drawn, bad + usual, total) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.floats(-8.0, 8.0))
def test_normal_tail(z: float) -> None:
    assert normal_upper_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-9)


@given(st.floats(1e-6, 1 - 1e-6))
def test_normal_quantile(probability: float) -> None:
    assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), rel=1e-6, abs=1e-9)
