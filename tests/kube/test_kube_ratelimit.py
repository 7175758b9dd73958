"""How many requests a client sends: --kube-api-qps and --kube-api-burst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.kube.ratelimit import RateLimit, TokenBucket


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket(RateLimit(per_second=10, burst=3), clock=lambda: 0.0)
    assert [bucket.reserve() for _ in range(6)] == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


def test_a_silence_fills_the_bucket_up_to_the_burst() -> None:
    now = [0.0]
    bucket = TokenBucket(RateLimit(per_second=10, burst=3), clock=lambda: now[0])
    for _ in range(5):
        bucket.reserve()
    now[0] = 100.0
    assert [bucket.reserve() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_negative_rate_is_no_limit() -> None:
    bucket = TokenBucket(RateLimit(per_second=-1, burst=1), clock=lambda: 0.0)
    assert [bucket.reserve() for _ in range(1000)] == [0.0] * 1000


@given(rate=st.floats(0.5, 500), burst=st.integers(1, 50), gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(rate: float, burst: int, gaps: list[float]) -> None:
    now, sent = 0.0, []
    bucket = TokenBucket(RateLimit(rate, burst), clock=lambda: now)
    for gap in gaps:
        now += gap
        sent.append(now + bucket.reserve())
    for start in range(len(sent)):
        for end in range(start, len(sent)):
            allowed = burst + rate * (sent[end] - sent[start])
            assert end - start + 1 <= allowed + 1e-6
