"""What each Kustomization has applied, for those who look at the references in it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from agent.core.concealment import concealed
from agent.core.models import RenderedSet
from agent.core.models.references import Reference, references
from agent.core.models.rules import NO_RULES, Rules

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Applied:
    """A build that is on the cluster: its revision, digest, objects as JSON, and the encrypted values in them.

    `rules` say where its users have references besides.
    """

    revision: str
    digest: str
    objects: tuple[bytes, ...]
    exposed: frozenset[str]
    rules: Rules = NO_RULES


class AppliedObjects:
    """Filled by the passes; nothing is decoded unless somebody asks for references."""

    def __init__(self) -> None:
        self._applied: dict[Key, Applied] = {}
        self._references: dict[Key, tuple[str, Rules, tuple[Reference, ...]]] = {}
        self._versions: dict[Key, int] = {}
        self._counter = itertools.count(1)
        self._subscribers: list[Callable[[Key], None]] = []

    def subscribe(self, subscriber: Callable[[Key], None]) -> None:
        """Call `subscriber` when a Kustomization has applied something, and when its references mean other content."""
        self._subscribers.append(subscriber)

    def put(self, key: Key, applied: Applied) -> None:
        """A Kustomization has applied this."""
        before = self._applied.get(key)
        self._applied[key] = applied
        if before is None or (before.digest, before.revision) != (applied.digest, applied.revision):
            self.moved(key)

    def moved(self, key: Key) -> None:
        """References of a Kustomization mean other content."""
        self._versions[key] = next(self._counter)
        for subscriber in self._subscribers:
            subscriber(key)

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._applied.pop(key, None)
        self._references.pop(key, None)
        self.moved(key)
        del self._versions[key]

    def get(self, key: Key) -> Applied | None:
        """What a Kustomization has applied last; None if that was before this process."""
        return self._applied.get(key)

    def version(self, key: Key) -> int:
        """A number that is another one whenever there may be news of a Kustomization; 0 if nothing is known of it."""
        return self._versions.get(key, 0)

    async def references(self, key: Key, applied: Applied) -> tuple[Reference, ...]:
        """The references in what was applied, without those that would show an encrypted value."""
        known = self._references.get(key)
        if known is not None and known[:2] == (applied.digest, applied.rules):
            return known[2]
        found = await asyncio.to_thread(_read, applied)
        if self._applied.get(key) is applied:
            self._references[key] = (applied.digest, applied.rules, found)
        return found


def _read(applied: Applied) -> tuple[Reference, ...]:
    return tuple(
        reference
        for reference in references(RenderedSet.from_json(applied.objects), applied.rules)
        if "ignored" not in reference.slot.traits and not _shows(reference, applied.exposed)
    )


def _shows(reference: Reference, exposed: frozenset[str]) -> bool:
    texts = (reference.slot.ref.spelling, reference.slot.ref.canonical)
    return any(concealed(text, exposed) != text for text in texts)
