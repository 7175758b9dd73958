"""Flux 5.2: intervals are spread, so that what was created together does not come back together."""

from __future__ import annotations

from agent.controllers.pace import SHORTEST, paced


def test_an_interval_is_spread_to_both_sides_by_the_percentage() -> None:
    delays = [paced(600.0, 0.05) for _ in range(1000)]
    assert 570.0 <= min(delays) < 585.0
    assert 615.0 < max(delays) <= 630.0


def test_without_jitter_it_is_kept_to_the_second() -> None:
    assert {paced(600.0) for _ in range(10)} == {600.0}


def test_no_interval_is_a_loop_without_a_pause() -> None:
    assert {paced(0.0), paced(0.001), paced(0.5, 0.99)} == {SHORTEST}
