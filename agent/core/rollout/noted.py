"""What is noted in an annotation as JSON, where anybody who may change the object can write anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with a zone: one without cannot be compared with ours."""
T = TypeVar("T")


def noted(annotations: Mapping[str, str], key: str, kind: type[T]) -> T | None:
    """The value of an annotation; None where there is none, or none that can be read."""
    text = annotations.get(key, "")
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except (msgspec.DecodeError, RecursionError):
        return None
