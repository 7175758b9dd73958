"""What became of one CEL expression."""

from __future__ import annotations

import msgspec


class Evaluation(msgspec.Struct, frozen=True):
    """A value, or an error as cel-go words it.

    `invalid` if the expression itself is wrong, so that no object can make it work.
    """

    value: bool = False
    error: str = ""
    invalid: bool = False
