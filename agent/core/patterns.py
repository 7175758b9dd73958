"""Regular expressions that somebody else wrote, in the syntax and with the engine of Flux: RE2.

Python's own engine tries every way there is. One expression of a few characters would keep this process busy for years,
and with it everybody else's work.
"""

from __future__ import annotations

import functools

import re2

_MEMORY = 1 << 20
"""Bytes for one compiled expression."""


def matches(expression: str, text: str) -> bool:
    """True if the whole text fits. Takes time in proportion to its length. Raises ValueError for no expression."""
    return _compiled(expression).fullmatch(text) is not None


@functools.lru_cache(maxsize=256)
def _compiled(expression: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(expression, options=options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{expression!r} is not a regular expression: {said}") from None
