"""Sync windows: spans of the day, in a time zone, in which new revisions may or may not be applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.api.changepolicy import DAYS, SyncWindow

_HORIZON = 8
"""Days that are looked ahead: a window that ever opens does so within a week."""


def fault(window: SyncWindow) -> str:
    """What is wrong with a window, as `field: why`; empty if nothing is."""
    for field, value in (("start", window.start), ("end", window.end)):
        try:
            time.fromisoformat(value)
        except ValueError:
            return f"{field}: {value!r} is not a time of the form HH:MM"
    try:
        ZoneInfo(window.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"timeZone: {window.time_zone!r} is not in the time zone database; use a name such as Europe/Berlin"
    return ""


def permitted(windows: Sequence[SyncWindow], now: datetime) -> bool:
    """Whether new revisions may be applied at *now* (with a time zone). Every window has to be without fault."""
    allowing = [window for window in windows if window.mode == "allow"]
    denied = any(_contains(window, now) for window in windows if window.mode == "deny")
    return not denied and (not allowing or any(_contains(window, now) for window in allowing))


def opens(windows: Sequence[SyncWindow], now: datetime) -> datetime | None:
    """The next moment at which new revisions may be applied; None if that is not within a week."""
    edges = {edge for window in windows for span in _spans(window, now) for edge in span if edge > now}
    return next((edge for edge in sorted(edges) if permitted(windows, edge)), None)


def _contains(window: SyncWindow, now: datetime) -> bool:
    return any(start <= now < end for start, end in _spans(window, now))


def _spans(window: SyncWindow, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end of the window on the days around *now*, in UTC: clocks may change in between."""
    zone = ZoneInfo(window.time_zone)
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    today = now.astimezone(zone).date()
    for offset in range(-1, _HORIZON + 1):
        day = today + timedelta(days=offset)
        if window.days and DAYS[day.weekday()] not in window.days:
            continue
        last = day if end > start else day + timedelta(days=1)
        begins = datetime.combine(day, start, zone).astimezone(UTC)
        ends = datetime.combine(last, end, zone).astimezone(UTC)
        yield begins, ends
