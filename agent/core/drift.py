"""Does a server-side dry run differ from what is live?

The comparison is Flux's (`fluxcd/pkg/ssa`): labels, annotations, and everything outside `metadata` and `status`.
Fields that somebody else owns on purpose (a rollout's replicas and weights, drift-ignore rules) are removed from both
sides before they are compared, and from the payload before it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.objects import Manifest, annotations_of, labels_of

_NOT_CONTENT = frozenset({"metadata", "status", "apiVersion", "kind"})


def drifted(live: Manifest, dry_run: Manifest, ignore: Iterable[str] = ()) -> bool:
    """True if applying would change the live object. `ignore` are JSON pointers left out of the comparison."""
    for pointer in ignore:
        live, dry_run = without(live, pointer), without(dry_run, pointer)
    if labels_of(live) != labels_of(dry_run) or annotations_of(live) != annotations_of(dry_run):
        return True
    return _content(live) != _content(dry_run)


def _content(manifest: Manifest) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name not in _NOT_CONTENT}


def parse_pointer(pointer: str) -> list[str]:
    """The members that a JSON pointer (RFC 6901) names, outermost first."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("/").split("/")]


def without(manifest: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    """A copy of `manifest` without the member at a JSON pointer; absent members are no error.

    Only the objects along the path are copied.
    """
    result = _without(manifest, parse_pointer(pointer))
    return result if isinstance(result, dict) else dict(manifest)


def _without(node: Any, path: list[str]) -> Any:
    head, *rest = path
    if isinstance(node, Mapping):
        if head not in node:
            return node
        copy = dict(node)
        if rest:
            copy[head] = _without(node[head], rest)
        else:
            del copy[head]
        return copy
    if isinstance(node, list) and head.isdigit() and int(head) < len(node):
        index = int(head)
        return [*node[:index], *([_without(node[index], rest)] if rest else []), *node[index + 1 :]]
    return node
