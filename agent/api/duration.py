"""Go's duration strings: `1m30s`, `345.7ms`, as every Flux and Flagger field and message has them."""

from __future__ import annotations

import functools
import re
from decimal import Decimal

NANOSECONDS = 1_000_000_000

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # micro sign
    "μs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


@functools.lru_cache(1024)
def parse_duration(text: str) -> float:
    """Seconds in a Go duration string.

    Accepts what Go's `time.ParseDuration` accepts: an optional sign, then one or more decimal numbers each with
    its unit, or the bare `0`. Raises ValueError for everything else.
    """
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if body == "0":
        return 0.0
    total, end = Decimal(0), 0
    for part in _PART.finditer(body):
        if part.start() != end:
            break
        total += Decimal(part[1]) * _UNITS[part[2]]
        end = part.end()
    if not body or end != len(body):
        raise ValueError(f"{text!r} is not a duration: write it like 1m30s or 500ms")
    return float(sign * total / NANOSECONDS)


def format_duration(seconds: float) -> str:
    """The way Go prints a duration of so many seconds: `10m0s`, `1.207s`, `345.7ms`, `0s`. Rounds to nanoseconds."""
    nanoseconds = round(seconds * NANOSECONDS)
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest == 0:
        return "0s"
    if rest < NANOSECONDS:
        unit = next(name for name in ("ms", "µs", "ns") if rest >= _UNITS[name])
        return f"{sign}{_decimal(rest, _UNITS[unit])}{unit}"
    minutes, rest = divmod(rest, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, NANOSECONDS)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def format_elapsed(seconds: float) -> str:
    """A measured length of time, to the millisecond; a clock that was set back gives `0s`."""
    return format_duration(round(max(seconds, 0.0), 3))


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0")
