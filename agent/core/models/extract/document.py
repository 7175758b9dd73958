"""YAML and JSON documents from outside: read within bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agent.core.models.extract.slot import MalformedError
from agent.core.yamldocument import parsed

SIZE_LIMIT: Final = 8 * 1024 * 1024
"""Largest document that is read, in bytes."""
NODE_LIMIT: Final = 500_000
"""Most values a document may have once its aliases are written out: aliases of aliases grow without bound."""


def load(data: bytes | str, where: str) -> Mapping[str, Any]:
    """The mapping in a YAML (or JSON) document; an empty document is an empty mapping.

    Raises MalformedError, with *where* as its path, for what is too large, no YAML or no mapping.
    """
    if len(data) > SIZE_LIMIT:
        raise MalformedError(where, "is too large to read")
    try:
        loaded = parsed(data)
    except ValueError as error:
        raise MalformedError(where, f"is not YAML ({error})") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, Mapping):
        raise MalformedError(where, "is not a mapping")
    if ("&" in data) if isinstance(data, str) else (b"&" in data):
        _check_extent(loaded, where)
    return loaded


def load_json(data: bytes | str, where: str) -> Mapping[str, Any]:
    """The mapping in a JSON document. Raises MalformedError."""
    if len(data) > SIZE_LIMIT:
        raise MalformedError(where, "is too large to read")
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError(where, f"is not JSON ({type(error).__name__})") from None
    if not isinstance(loaded, Mapping):
        raise MalformedError(where, "is not a mapping")
    return loaded


def canonical(value: Any, where: str) -> str:
    """*value* as JSON with sorted keys. Raises MalformedError for what JSON cannot say."""
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedError(where, f"is not plain data ({type(error).__name__})") from None


def _check_extent(value: Any, where: str) -> None:
    open_values, seen = [value], 0
    while open_values:
        current = open_values.pop()
        seen += 1
        if seen > NODE_LIMIT:
            raise MalformedError(where, "has too many values")
        if isinstance(current, Mapping):
            open_values.extend(current.values())
        elif isinstance(current, list):
            open_values.extend(current)
