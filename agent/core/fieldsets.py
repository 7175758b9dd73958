"""Sets of fields as managedFields write them (`fieldsV1`): tries of `f:name`, `k:{keys}` and `v:value` members.

`{}` is a member of the set; below a node, `.` says that the node itself is a member as well as what follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

FieldSet = Mapping[str, Any]
_SELF = "."


def union(one: FieldSet, other: FieldSet) -> dict[str, Any]:
    """The fields that are in either set."""
    merged = dict(one)
    for name, below in other.items():
        merged[name] = _united(merged[name], below) if name in merged else below
    return merged


def _united(one: FieldSet, other: FieldSet) -> FieldSet:
    if not one and not other:
        return one
    return union(one or {_SELF: {}}, other or {_SELF: {}})


def means(name: str, member: Any) -> bool:
    """True if a set's `k:{...}` or `v:...` means that list member."""
    form, _, text = name.partition(":")
    if form == "v":
        return bool(json.loads(text) == member)
    if form != "k" or not isinstance(member, Mapping):
        return False
    return all(member.get(key) == value for key, value in json.loads(text).items())
