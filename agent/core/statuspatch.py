"""From an old and a new status to the smallest merge patch that turns one into the other (RFC 7386)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch from `old` to `new`; empty if they are equal. Lists are replaced whole, as the RFC has it."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        elif name not in old or before != value:
            patch[name] = value
    return patch


def status_patch(old: msgspec.Struct, new: msgspec.Struct) -> dict[str, Any]:
    """`merge_patch` over two status structs."""
    return merge_patch(msgspec.to_builtins(old), msgspec.to_builtins(new))
