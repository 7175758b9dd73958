"""Durations are read and written the way Go does it, because Flux's fields and messages hold Go durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.duration import format_duration, parse_duration

TABLE = [
    ("0s", 0.0),
    ("5ns", 5e-9),
    ("1µs", 1e-6),
    ("1.5µs", 1.5e-6),
    ("345.7ms", 0.3457),
    ("1.207s", 1.207),
    ("30s", 30.0),
    ("1m30s", 90.0),
    ("10m0s", 600.0),
    ("1h0m0s", 3600.0),
    ("1h30m0.25s", 5400.25),
    ("-5.5s", -5.5),
]


@pytest.mark.parametrize(("text", "seconds"), TABLE)
def test_format_and_parse_agree_with_go(text, seconds):
    assert format_duration(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h", 3600), ("+2s", 2), (".5s", 0.5), ("1.s", 1), ("0", 0), ("90m30s", 5430)]
)
def test_spellings_that_go_reads_but_does_not_write(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "5", "1d", "1m 30s", "s", "1..5s", "five minutes", "1s ", ".s", "1m30"])
def test_what_is_no_duration_is_refused_by_name(text):
    with pytest.raises(ValueError, match="is not a duration") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_every_whole_number_of_nanoseconds_survives_a_round_trip(nanoseconds):
    text = format_duration(nanoseconds / 1e9)
    assert parse_duration(text) == pytest.approx(nanoseconds / 1e9, rel=1e-12)
