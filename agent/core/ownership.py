"""Who owns which field of a live object, read from its managedFields (server-side apply's own record)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.drift import parse_pointer, without
from agent.core.fieldsets import means, union
from agent.core.objects import Manifest

_MISSING = object()


def _applied(desired: Manifest, live: Manifest, manager: str, path: list[str]) -> Any:
    """The live value of the field that `path` names in `desired`, if `manager` applied it and still owns it."""
    for entry in _entries(live):
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            value = _owned(entry.get("fieldsV1") or {}, desired, live, path)
            if value is not _MISSING:
                return value
    return _MISSING


def _owned(fields: Mapping[str, Any], desired: Any, live: Any, path: list[str]) -> Any:
    """Follows `path` through a field set and both objects at once; list members are matched by their merge keys."""
    if not path:
        return live
    head, *rest = path
    if isinstance(live, Mapping):
        below = fields.get(f"f:{head}")
        if below is None or head not in live:
            return _MISSING
        if not below:  # nothing is told apart inside: a scalar, or a list or map that is owned as a whole
            return _at(live[head], rest)
        return _owned(below, desired.get(head) if isinstance(desired, Mapping) else None, live[head], rest)
    wanted = _at(desired, [head])
    for name, below in fields.items():
        member = _member(name, wanted, live)
        if member is not _MISSING:
            return _owned(below, wanted, member, rest)
    return _MISSING


def _member(name: str, wanted: Any, live: Any) -> Any:
    """The live list member that is the same as `wanted` by the key `name` of a field set."""
    items = live if isinstance(live, list) and means(name, wanted) else ()
    return next((item for item in items if means(name, item)), _MISSING)


def _entries(live: Manifest) -> list[Mapping[str, Any]]:
    """What managedFields say about the object itself, without its subresources."""
    entries = live.get("metadata", {}).get("managedFields") or ()
    return [entry for entry in entries if not entry.get("subresource")]


def _others(live: Manifest, manager: str) -> list[Mapping[str, Any]]:
    """What managedFields say about what others than `manager` have applied."""
    return [entry for entry in _entries(live) if entry.get("operation") == "Apply" and entry.get("manager") != manager]


def _names(fields: Mapping[str, Any], desired: Any, live: Any, path: list[str]) -> bool:
    """True if a field set has the very field, not only something around it as a whole."""
    head, *rest = path
    wanted = _at(desired, [head])
    if isinstance(live, list):
        for name, below in fields.items():
            member = _member(name, wanted, live)
            if member is not _MISSING:
                return not rest or _names(below, wanted, member, rest)
        return False
    below = fields.get(f"f:{head}")
    return below is not None and (not rest or _names(below, wanted, _at(live, [head]), rest))


def _counterpart(fields: Mapping[str, Any], desired: Any, live: Any, path: list[str]) -> Any:
    """The live value of the field that `path` names in `desired`, whoever owns it.

    `fields` are those of all managers. Members of lists are matched by their keys; where there are none, by place.
    """
    if not path or live is _MISSING:
        return live
    head, *rest = path
    wanted = _at(desired, [head])
    if isinstance(live, list):
        keyed = [(name, below) for name, below in fields.items() if name[:2] in ("k:", "v:")]
        for name, below in keyed:
            member = _member(name, wanted, live)
            if member is not _MISSING:
                return _counterpart(below, wanted, member, rest)
        return _MISSING if keyed else _at(live, path)
    return _counterpart(fields.get(f"f:{head}", {}), wanted, _at(live, [head]), rest)


_REPLICAS = "/spec/replicas"


def noting_replicas(payload: Manifest, desired: Manifest, pointers: tuple[str, ...], annotation: str) -> Manifest:
    """`payload` with an annotation that says how many replicas Git asks for, where a rollout owns the field itself."""
    wanted = (desired.get("spec") or {}).get("replicas")
    if _REPLICAS not in pointers or wanted is None:
        return payload
    metadata = payload["metadata"]
    annotations = {**(metadata.get("annotations") or {}), annotation: str(wanted)}
    return {**payload, "metadata": {**metadata, "annotations": annotations}}


def yielded(desired: Manifest, live: Manifest, manager: str, pointers: tuple[str, ...]) -> Manifest:
    """`desired` without a claim on fields that another party owns from now on.

    A field that `manager` applied earlier and still owns keeps its live value in the payload: leaving it out would
    make the API server remove it (a Deployment would fall back to one replica). Once the other party has written the
    field, or has applied it as well, ownership is theirs and it leaves the payload.
    """
    others = _others(live, manager)
    for pointer in pointers:
        path = parse_pointer(pointer)
        shared = any(_names(entry.get("fieldsV1") or {}, desired, live, path) for entry in others)
        value = _MISSING if shared else _applied(desired, live, manager, path)
        desired = without(desired, pointer) if value is _MISSING else _with(desired, path, value)
    return desired


def _at(node: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(node, Mapping):
            node = node.get(part, _MISSING)
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return _MISSING
    return node


def _with(node: Any, path: list[str], value: Any) -> Any:
    """A copy of `node` with the value at `path`; members of lists are replaced, never added."""
    if not path:
        return value
    head, *rest = path
    if isinstance(node, list):
        index = int(head) if head.isdigit() else len(node)
        return [_with(item, rest, value) if place == index else item for place, item in enumerate(node)]
    inner = node if isinstance(node, dict) else {}
    return {**inner, head: _with(inner.get(head), rest, value)}


def adopted(desired: Manifest, live: Manifest, manager: str, pointers: tuple[str, ...]) -> Manifest:
    """`desired` as it is sent where drift of the fields at `pointers` is to be left alone (`spec.ignore`).

    A field that differs leaves the payload if another manager has applied it, and has its live value otherwise:
    leaving it out would remove what `manager` applied earlier, and break lists that are replaced as a whole.
    """
    if not pointers:
        return desired
    fields: dict[str, Any] = {}
    for entry in _entries(live):
        fields = union(fields, entry.get("fieldsV1") or {})
    others = _others(live, manager)
    for pointer in pointers:
        path = parse_pointer(pointer)
        wanted, value = _at(desired, path), _counterpart(fields, desired, live, path)
        if wanted is _MISSING:
            value = _applied(desired, live, manager, path)
        if wanted is value or wanted == value:
            continue
        owned = any(_names(entry.get("fieldsV1") or {}, desired, live, path) for entry in others)
        desired = without(desired, pointer) if owned or value is _MISSING else _with(desired, path, value)
    return desired
