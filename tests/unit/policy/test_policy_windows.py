"""Sync windows: days, hours that pass midnight, time zones and their changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.changepolicy import DAYS, SyncWindow
from agent.core.policy.windows import fault, opens, permitted

OFFICE = SyncWindow(mode="allow", start="09:00", end="17:00", days=("Mon", "Tue"), time_zone="Europe/Berlin")
NIGHT = SyncWindow(mode="deny", start="22:00", end="06:00")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "now", "expected"),
    [
        ([], "2026-11-29T03:00", True),
        ([OFFICE], "2026-11-30T07:59", False),  # Monday, 08:59 in Berlin
        ([OFFICE], "2026-11-30T08:00", True),
        ([OFFICE], "2026-11-30T16:00", False),  # the end is not part of it
        ([OFFICE], "2026-12-02T10:00", False),  # Wednesday
        ([OFFICE], "2026-06-01T07:00", True),  # Monday in summer: 09:00 in Berlin
        ([NIGHT], "2026-11-29T21:59", True),
        ([NIGHT], "2026-11-29T23:00", False),
        ([NIGHT], "2026-11-30T05:59", False),  # began the evening before
        ([NIGHT], "2026-11-30T06:00", True),
        ([OFFICE, SyncWindow(mode="deny", start="12:00", end="13:00")], "2026-11-30T12:30", False),
    ],
)
def test_permitted(windows: list[SyncWindow], now: str, expected: bool) -> None:
    assert permitted(windows, at(now)) is expected


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    friday = SyncWindow(mode="deny", start="22:00", end="06:00", days=("Fri",))
    assert not permitted([friday], at("2026-12-05T05:00"))  # Saturday morning
    assert permitted([friday], at("2026-12-04T05:00"))  # Friday morning


@pytest.mark.parametrize(
    ("windows", "now", "expected"),
    [
        ([OFFICE], "2026-11-29T12:00", "2026-11-30T08:00"),
        ([OFFICE], "2026-12-01T17:00", "2026-12-07T08:00"),
        ([NIGHT], "2026-11-29T23:00", "2026-11-30T06:00"),
    ],
)
def test_the_next_opening(windows: list[SyncWindow], now: str, expected: str) -> None:
    assert opens(windows, at(now)) == at(expected)


def test_windows_that_never_open() -> None:
    always = SyncWindow(mode="deny", start="00:00", end="00:00")
    assert opens([always], at("2026-11-29T12:00")) is None


def test_the_clock_goes_forward_within_a_window() -> None:
    night = SyncWindow(mode="allow", start="01:00", end="04:00", time_zone="Europe/Berlin")
    assert permitted([night], at("2026-03-29T00:30"))
    assert permitted([night], at("2026-03-29T01:59"))  # 03:59, two hours of the night are left
    assert not permitted([night], at("2026-03-29T02:00"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time_zone": "Mars/Olympus"}, "timeZone: 'Mars/Olympus' is not in the time zone database"),
        ({"time_zone": "../../etc/passwd"}, "timeZone"),
        ({"start": "9 am"}, "start: '9 am' is not a time"),
        ({"end": "25:00"}, "end: '25:00'"),
    ],
)
def test_faults(changes: dict[str, str], text: str) -> None:
    assert text in fault(SyncWindow(**{"mode": "allow", "start": "09:00", "end": "17:00"} | changes))
    assert fault(OFFICE) == ""


TIMES = st.times().map(lambda value: f"{value:%H:%M}")
WINDOWS = st.builds(
    SyncWindow,
    mode=st.sampled_from(["allow", "deny"]),
    start=TIMES,
    end=TIMES,
    days=st.lists(st.sampled_from(DAYS), unique=True).map(tuple),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(ZoneInfo("UTC")))  # noqa: DTZ001


@given(st.lists(WINDOWS, max_size=3), MOMENTS)
def test_an_opening_is_the_end_of_a_closed_time(windows: list[SyncWindow], now: datetime) -> None:
    found = opens(windows, now)
    if found is not None:
        assert found > now
        assert permitted(windows, found)
        if not permitted(windows, now):
            assert not permitted(windows, found - timedelta(seconds=1))
