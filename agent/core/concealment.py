"""Keeping values that were encrypted in the source out of what is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from agent.core.models.redact import HIDDEN

T = TypeVar("T", bound=msgspec.Struct)
_VOCABULARY = frozenset({"kind", "op", "cause", "action"})
"""Fields of records whose texts are our own or Kubernetes' words."""
_SHORTEST_PART = 6
"""Characters of a text that is hidden for being part of a value, such as a model's name in an argument."""


def concealed(text: str, values: Iterable[str]) -> str:
    """The text with each of the values replaced by ``***``, the longest first."""
    for value in sorted(values, key=lambda value: (-len(value), value)):
        if value in text:
            text = text.replace(value, HIDDEN)
    return text


def concealed_record(record: T, values: frozenset[str]) -> T | None:
    """The record with the values replaced in all of its texts; None if it cannot be told without them."""
    if not values:
        return record
    try:
        return msgspec.convert(_within(msgspec.to_builtins(record), values), type(record))
    except msgspec.ValidationError:
        return None


def _within(value: object, values: frozenset[str]) -> object:
    if isinstance(value, str):
        part = len(value) >= _SHORTEST_PART and any(value in whole for whole in values)
        return HIDDEN if part else concealed(value, values)
    if isinstance(value, dict):
        return {key: inner if key in _VOCABULARY else _within(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_within(inner, values) for inner in value]
    return value
