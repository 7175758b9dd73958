"""Times as people and programs write them to Weir: RFC 3339, with a zone."""

from __future__ import annotations

from datetime import datetime


def parse_moment(text: str) -> datetime:
    """The moment in a text such as `2026-01-02T15:04:05Z`. Raises ValueError for what is none, or has no zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("is no time: write it as 2026-01-02T15:04:05Z")
    return moment
