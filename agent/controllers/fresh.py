"""Reads that never go back behind our own writes.

A watch tells of a write a moment after the API server has answered it. A pass that started in that moment would act on
the status from before: the inventory of the revision before last, for one. So the answer is kept until the watch has
caught up with it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from agent.api.meta import Resource
from agent.core.objects import is_older
from agent.runtime.store import Store

R = TypeVar("R", bound=Resource)


class Fresh(Generic[R]):
    """A store, and over it the newest answers of the API server to our own writes."""

    def __init__(self, store: Store[R]) -> None:
        self._store = store
        self._written: dict[tuple[str, str], R] = {}

    def get(self, namespace: str, name: str) -> R | None:
        """The newest version known of an object; None if the watch says that it is gone."""
        seen = self._store.get(namespace, name)
        if seen is None:
            self._written.pop((namespace, name), None)
            return None
        written = self._written.get((namespace, name))
        if written is None:
            return seen
        ahead = is_older(seen.metadata.resource_version, written.metadata.resource_version)
        if written.metadata.uid != seen.metadata.uid or not ahead:
            del self._written[namespace, name]
            return seen
        return written

    def wrote(self, answer: R) -> R:
        """Take note of what the API server answered to a write."""
        self._written[answer.namespace, answer.name] = answer
        return answer
