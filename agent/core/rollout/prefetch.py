"""Is a model where it will be loaded from? KServe copies models of its objects to nodes ahead of time; Jobs, any.

A cache or a Job that names what Git asks for is reason enough to wait until it is done: it can come in the same commit
as the new reference. Without one there is nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.core.models.redact import redact_within
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


def stored_in(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What KServe loads for a revision of its objects, each address as KServe has it: its caches and Jobs name these.

    A reference that is declared by annotation, or spelled without its secrets, is another text. Not to be shown as is.
    """
    model = content.get("model") or {}
    adapters = (model.get("lora") or {}).get("adapters") or ()
    several = content.get("storageUris") or ()
    found = [model.get("storageUri"), model.get("uri"), *(item.get("uri") for item in (*several, *adapters))]
    return tuple(str(uri) for uri in found if uri)


def fetching(uris: Iterable[str], jobs: Iterable[Manifest]) -> str:
    """What a Job has not fetched yet, in words; empty if there is nothing to wait for."""
    wanted = frozenset(uris)
    for job in jobs:
        conditions = (job.get("status") or {}).get("conditions") or ()
        states = {item.get("type") for item in conditions if item.get("status") == "True"}
        named = sorted(wanted & set(annotations_of(job).get(PREFETCHES, "").split()))
        if named and "Complete" not in states:
            uri = redact_within(named[0])
            text = f"has failed to fetch {uri}" if "Failed" in states else f"has not fetched {uri} yet"
            return f"Job {job['metadata']['name']} {text}"
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
            where = f"{available} of {total} nodes"
            text = f"{cache['kind']} {cache['metadata']['name']} has {redact_within(uri)} on {where}"
            return f"{text}, {failed} have failed" if failed else text
    return ""
