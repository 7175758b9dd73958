"""Text of which only the beginning is left."""

from __future__ import annotations

import re
from typing import Final

_TOLD: Final = {
    True: "is cut off: it is how the earlier text begins, and nothing after it",
    False: "is empty, which it was not: taken for cut off",
}
_FIELD: Final = re.compile(rb"^([A-Za-z][\w.-]*):", re.MULTILINE)
_NEXT: Final = re.compile(rb"^---", re.MULTILINE)
_WHAT_IT_IS: Final = frozenset({b"apiVersion", b"kind", b"metadata"})


def told_of(now: bytes) -> str:
    """What to say of a file of which *now* is left."""
    return _TOLD[bool(now)]


def is_cut_off(before: bytes, now: bytes) -> bool:
    """Whether *now* is what a copy of *before* leaves that broke off: nothing, a part of a line, a key without a value.

    Whole lines that are gone from the end may be what somebody wanted, and so may a last line that became shorter.
    """
    rest = before[len(now) :]
    if not rest or not before.startswith(now):
        return False
    if not now:
        return True
    if now.endswith(b"\n") or rest.startswith((b"\n", b"\r\n")):
        return now.rstrip().endswith(b":")
    return b"\n" in rest


def is_torn(before: bytes, now: bytes, *, optional: bool) -> bool:
    """Whether the last YAML document of *now* lacks fields at its end that it has in *before*, and is the same else.

    Nobody takes the spec of an object away and leaves its name. Where all fields are *optional*, one has to be left
    that says more than what the document is.
    """
    if not before.startswith(now):
        return False
    kept, lost = (_FIELD.findall(text) for text in (_NEXT.split(now)[-1], _NEXT.split(before[len(now) :])[0]))
    return bool(kept and lost) and (not optional or _WHAT_IT_IS.issuperset(kept))
