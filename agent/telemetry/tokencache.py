"""Flux's metrics of the token cache. Two caches of one agent may share them."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

_EVENTS = ("cache_hit", "cache_miss")
_OPERATION = "reconcile"


class Asker(NamedTuple):
    """The object for which a token is asked."""

    kind: str
    namespace: str
    name: str


class TokenCacheMetrics:
    """Counts what is found, asked for and dropped."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "gotk_token_cache_events",
            "Total number of cache retrieval events for a Gitops Toolkit resource reconciliation.",
            ["event_type", "kind", "name", "namespace", "operation"],
            registry=registry,
        )
        self._requests = Counter(
            "gotk_token_cache_requests",
            "Total number of cache requests partioned by success or failure.",
            ["status"],
            registry=registry,
        )
        self._items = Gauge("gotk_token_cached_items", "Total number of items in the cache.", registry=registry)
        self._evictions = Counter("gotk_token_cache_evictions", "Total number of cache evictions.", registry=registry)

    def found(self, asker: Asker, *, hit: bool) -> None:
        """A token was there, or had to be asked for."""
        event = _EVENTS[0] if hit else _EVENTS[1]
        self._events.labels(event, asker.kind, asker.name, asker.namespace, _OPERATION).inc()

    def ended(self, *, good: bool) -> None:
        """A look into the cache ended with a token, or without."""
        self._requests.labels("success" if good else "failure").inc()

    def kept(self) -> None:
        """One more token is remembered."""
        self._items.inc()

    def evicted(self) -> None:
        """A token had to make room."""
        self._evictions.inc()
        self._items.dec()

    def forget(self, asker: Asker) -> None:
        """The object is gone, and so are its time series."""
        self._events.remove_by_labels({"kind": asker.kind, "name": asker.name, "namespace": asker.namespace})
