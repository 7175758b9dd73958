"""HTTPRoute filters on a request or response, without any I/O (Gateway API v1)."""

from collections.abc import Iterable
from dataclasses import dataclass

from multidict import CIMultiDict

from testbed.gateway.matching import Match
from testbed.node.kubeapi import Obj

SUPPORTED = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestMirror"})


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a rule or of one of its backends, in the API's own form."""

    request_headers: tuple[Obj, ...] = ()
    response_headers: tuple[Obj, ...] = ()
    rewrite: Obj | None = None
    mirrors: tuple[Obj, ...] = ()


def parse_filters(filters: Iterable[Obj]) -> Filters:
    """Sort filters by type; ValueError for a type that this gateway does not know."""
    by_type: dict[str, list[Obj]] = {kind: [] for kind in SUPPORTED}
    for entry in filters:
        if entry["type"] not in SUPPORTED:
            raise ValueError(f"filter {entry['type']} is not supported")
        by_type[entry["type"]].append(entry)
    rewrites = by_type["URLRewrite"]
    return Filters(
        request_headers=tuple(entry["requestHeaderModifier"] for entry in by_type["RequestHeaderModifier"]),
        response_headers=tuple(entry["responseHeaderModifier"] for entry in by_type["ResponseHeaderModifier"]),
        rewrite=rewrites[0]["urlRewrite"] if rewrites else None,
        mirrors=tuple(entry["requestMirror"] for entry in by_type["RequestMirror"]),
    )


def modify_headers(headers: CIMultiDict[str], modifiers: Iterable[Obj]) -> None:
    """Apply header modifiers in place: set, add, remove."""
    for modifier in modifiers:
        for entry in modifier.get("set") or []:
            headers[entry["name"]] = entry["value"]
        for entry in modifier.get("add") or []:
            headers.add(entry["name"], entry["value"])
        for name in modifier.get("remove") or []:
            headers.popall(name, None)


def rewrite_path(raw_path: str, match: Match, rewrite: Obj | None) -> str:
    """The path to send for a request's encoded path: replaced as a whole, or its matched prefix replaced."""
    path = (rewrite or {}).get("path")
    if not path:
        return raw_path
    if path["type"] == "ReplaceFullPath":
        return str(path.get("replaceFullPath") or "/")
    rest = raw_path[len(match.path.rstrip("/")) :].lstrip("/")
    prefix = str(path.get("replacePrefixMatch") or "").rstrip("/")
    return f"{prefix}/{rest}" if rest or not prefix else prefix
