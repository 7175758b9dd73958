"""Columns, colours, and texts that cannot mislead a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
_GAP: Final = "   "
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


class Paint:
    """Colours a text, or leaves it as it is."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, *codes: str) -> str:
        codes = tuple(filter(None, codes))
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._on and codes and text else text


def safe(text: object) -> str:
    """The text in one line, with what a terminal would obey written out."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in str(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows under their headings, as kubectl prints them; the last column is as long as it is."""
    lines = [tuple(head), *(tuple(safe(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def cut(text: str, width: int) -> str:
    """The text in no more than so many characters; what is left out is in the middle, both ends say most."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: max(width - 1 - tail, 0)]}…{text[len(text) - tail :] if tail else ''}"


def ago(moment: datetime | None, now: datetime) -> str:
    """`5s`, `12m`, `3h20m`, `4d2h`; `-` if unknown."""
    if moment is None:
        return "-"
    return span((now - moment).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes}m{rest}s" if rest and minutes < 10 else f"{minutes}m"
    if whole < _DAY:
        hours, rest = divmod(whole, _HOUR)
        return f"{hours}h{rest // _MINUTE}m" if rest >= _MINUTE else f"{hours}h"
    days, rest = divmod(whole, _DAY)
    return f"{days}d{rest // _HOUR}h" if rest >= _HOUR else f"{days}d"
