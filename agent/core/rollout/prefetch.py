"""Is a model where it will be loaded from? KServe copies models of its objects to nodes ahead of time; Jobs, any.

A cache or a Job that names what Git asks for is reason enough to wait until it is done: it can come in the same commit
as the new reference. Without one there is nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agent.core.objects import Manifest, annotations_of
from agent.core.rollout.quarantine import references_of
from agent.core.rollout.subjects import SERVED

PREFETCH: Final = "weir.dev/prefetch"
"""Label of a Job that fetches models; any value."""
PREFETCHES: Final = "weir.dev/prefetches"
"""Annotation on it: the addresses of these models as the target has them, separated by blanks."""


def uris_of(obj: Manifest) -> tuple[str, ...]:
    """The models that an object names, adapters and image volumes included, each as it is spelled there."""
    return tuple(dict.fromkeys(found.spelling for found in references_of([obj]) if found.kind in SERVED))


def fetching(uris: Iterable[str], jobs: Iterable[Manifest]) -> str:
    """What a Job has not fetched yet, in words; empty if there is nothing to wait for."""
    wanted = frozenset(uris)
    for job in jobs:
        conditions = (job.get("status") or {}).get("conditions") or ()
        states = {item.get("type") for item in conditions if item.get("status") == "True"}
        named = sorted(wanted & set(annotations_of(job).get(PREFETCHES, "").split()))
        if named and "Complete" not in states:
            text = f"Job {job['metadata']['name']} has not fetched {named[0]} yet"
            return f"Job {job['metadata']['name']} has failed to fetch {named[0]}" if "Failed" in states else text
    return ""


def missing(uris: Iterable[str], caches: Iterable[Manifest]) -> str:
    """What is still on its way to the nodes, in words; empty if there is nothing to wait for."""
    wanted = tuple(uris)
    for cache in caches:
        source = str(cache["spec"].get("sourceModelUri") or "").rstrip("/")
        uri = next((uri for uri in wanted if uri == source or uri.startswith(f"{source}/")), "") if source else ""
        copies = (cache.get("status") or {}).get("copies") or {}
        available, total, failed = (int(copies.get(name) or 0) for name in ("available", "total", "failed"))
        if uri and (not total or available < total):
            text = f"{cache['kind']} {cache['metadata']['name']} has {uri} on {available} of {total} nodes"
            return f"{text}, {failed} have failed" if failed else text
    return ""
