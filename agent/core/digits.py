"""Numbers in texts that anybody may have written."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 18
"""Digits of any number that fits into 64 bits; Python itself refuses to read thousands, and takes other scripts'."""


def whole(text: str) -> int | None:
    """The number that up to 18 digits (`0` to `9`) are; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else None
