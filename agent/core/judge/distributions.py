"""The few distributions that the tests need, to about ten digits; tests compare them with SciPy's.

SciPy itself would cost the agent 60 MiB of memory for these functions.
"""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300
_ROUNDS = 400


def normal_upper_tail(z: float) -> float:
    """The probability that a standard normal variable is above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(probability: float) -> float:
    """The z below which a standard normal variable stays with this probability (more than 0, less than 1)."""
    return _NORMAL.inv_cdf(probability)


def hypergeometric_upper_tail(hits: int, drawn: int, marked: int, total: int) -> float:
    """P(X >= hits) where `drawn` of `total` are drawn without putting back, and `marked` of the total are marked.

    Fisher's exact test, one-sided: given all errors of both sides, how likely does one side have so many of them?
    """
    first, last = max(hits, 0, drawn + marked - total), min(drawn, marked)
    if hits <= max(0, drawn + marked - total):
        return 1.0
    whole = _log_choose(total, drawn)
    terms = (
        math.exp(_log_choose(marked, k) + _log_choose(total - marked, drawn - k) - whole)
        for k in range(first, last + 1)
    )
    return min(1.0, math.fsum(terms))


def binomial_lower_bound(bad: float, total: float, alpha: float) -> float:
    """The share that is exceeded with confidence 1 - alpha, one-sided (Clopper and Pearson)."""
    return 0.0 if bad <= 0 else _beta_quantile(alpha, bad, total - bad + 1)


def binomial_upper_bound(bad: float, total: float, alpha: float) -> float:
    """The share that is not reached with confidence 1 - alpha, one-sided (Clopper and Pearson)."""
    return 1.0 if bad >= total else _beta_quantile(1 - alpha, bad + 1, total - bad)


def binomial_upper_tail(bad: float, total: float, share: float) -> float:
    """P(X >= bad) of `total` independent requests that are bad with probability `share`."""
    if bad <= 0:
        return 1.0
    return 0.0 if bad > total else incomplete_beta(share, bad, total - bad + 1)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by the continued fraction of Lentz."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _nonzero(1 + even * d), _nonzero(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _nonzero(1 + odd * d), _nonzero(1 + odd / c)
        value *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return value


def _beta_quantile(probability: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    while high - low > 1e-12 * max(high, 1e-6):
        middle = (low + high) / 2
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
