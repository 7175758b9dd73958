"""The figures that the judges have to reach, by simulation with fixed seeds; docs/judges.md quotes them."""

from __future__ import annotations

import pytest

from bench.judges import HELD, PROMOTED, ROLLED_BACK, Traffic, chart, flagger, latency, shares, weir

ROUNDS = 300


@pytest.mark.parametrize("comparative", [False, True])
def test_identical_versions_are_hardly_ever_rolled_back(comparative: bool) -> None:
    found = shares(ROUNDS, lambda random: weir(random, Traffic(canary=0.005), comparative=comparative))
    assert found[ROLLED_BACK] <= 0.05
    assert found[PROMOTED] >= 0.9


@pytest.mark.parametrize(("checks", "least"), [(10, 0.2), (20, 0.5)])
def test_flaggers_rule_rolls_the_same_versions_back_often(checks: int, least: float) -> None:
    found = shares(ROUNDS, lambda random: flagger(random, Traffic(canary=0.005), threshold=2, checks=checks))
    assert found[ROLLED_BACK] >= least


@pytest.mark.parametrize("comparative", [False, True])
def test_a_bad_canary_is_caught_within_two_thousand_requests(comparative: bool) -> None:
    found = shares(ROUNDS, lambda random: weir(random, Traffic(canary=0.05), comparative=comparative, most=2000))
    assert found[ROLLED_BACK] >= 0.9


def test_a_bad_canary_with_a_tenth_of_the_traffic_is_never_promoted() -> None:
    traffic = Traffic(canary=0.05, requests=20, primary_requests=180)
    found = shares(ROUNDS, lambda random: weir(random, traffic, comparative=True))
    assert found[PROMOTED] == 0
    assert found[ROLLED_BACK] >= 0.99


def test_errors_that_come_in_bursts_are_blamed_less_for_looking_at_periods() -> None:
    traffic = Traffic(canary=0.005, requests=100, primary_requests=100, bursts=30.0)
    blind, seeing = (
        shares(ROUNDS, lambda random, by_period=by_period: weir(random, traffic, comparative=True, by_period=by_period))
        for by_period in (False, True)
    )
    assert seeing[ROLLED_BACK] <= 0.05
    assert seeing[ROLLED_BACK] < blind[ROLLED_BACK]


@pytest.mark.parametrize("comparative", [False, True])
def test_ten_bad_requests_a_check_do_not_get_a_bad_canary_promoted(comparative: bool) -> None:
    traffic = Traffic(canary=0.05, requests=10, primary_requests=10)
    found = shares(ROUNDS, lambda random: weir(random, traffic, comparative=comparative))
    assert found[PROMOTED] <= 0.01
    assert found[HELD] <= 0.01
    peer = shares(ROUNDS, lambda random: flagger(random, traffic, threshold=5, checks=5))
    assert peer[PROMOTED] >= 0.98


def test_half_as_slow_again_is_caught() -> None:
    found = shares(ROUNDS, lambda random: latency(random, factor=1.5, requests=40, primary_requests=40))
    assert found[ROLLED_BACK] >= 0.95


@pytest.mark.parametrize("primary_requests", [40, 400])
def test_equal_latency_never_fails_whatever_the_traffic(primary_requests: int) -> None:
    found = shares(ROUNDS, lambda random: latency(random, factor=1.0, requests=40, primary_requests=primary_requests))
    assert found[ROLLED_BACK] == 0
    assert found[PROMOTED] >= 0.95


def test_the_chart_has_a_line_for_each_judge() -> None:
    drawn = chart({"one": [0.0] * 12, "two": [1.0] * 12})
    assert drawn.count("<polyline") == 2
    assert "one: share of runs rolled back" in drawn
