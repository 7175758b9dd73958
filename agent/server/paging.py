"""Lists in pages: `limit` items, and a token that continues behind the last one.

The token names the last item, not a position, so items that come or go meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")
Mark: TypeAlias = tuple[str, ...]
Order: TypeAlias = Literal["ascending", "descending", "log"]
"""Of the items by their marks; or a log: new ones come in front, and only the last ones go."""
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Page(msgspec.Struct, Generic[T], frozen=True, rename={"items": "items", "total": "total", "token": "continue"}):
    """One page. `token` is empty on the last one; `total` counts all matching items."""

    items: Sequence[T]
    total: int
    token: str = ""


def paged(
    items: Sequence[T], mark: Callable[[T], Mark], *, limit: int, token: str, order: Order = "ascending"
) -> Page[T]:
    """The page that `token` asks for. `mark` gives each item a unique name.

    Raises ValueError for a limit out of range or a token that is not one of ours.
    """
    if not 1 <= limit <= MAX_LIMIT:
        msg = f"limit must be a number between 1 and {MAX_LIMIT}"
        raise ValueError(msg)
    start = _behind(items, mark, _decode(token), order) if token else 0
    part = items[start : start + limit]
    more = start + limit < len(items)
    return Page(items=part, total=len(items), token=_encode(mark(part[-1])) if more else "")


def _behind(items: Sequence[T], mark: Callable[[T], Mark], last: Mark, order: Order) -> int:
    if order == "ascending":
        return bisect_right(items, last, key=mark)
    if order == "descending":
        return next((index for index, item in enumerate(items) if mark(item) < last), len(items))
    # What is older than an item that has gone has gone with it.
    return next((index + 1 for index, item in enumerate(items) if mark(item) == last), len(items))


def _encode(mark: Mark) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode().rstrip("=")


def _decode(token: str) -> Mark:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=Mark)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        msg = "continue is not a token of this API"
        raise ValueError(msg) from None
