"""What an apply or a prune did, as a value: log line, event text, inventory and health set all derive from it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from agent.core.objects import ObjectKey

_PUNCTUATION = len('"": "", ')


class Action(enum.Enum):
    """What happened to one object; the words are Flux's."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    DELETED = "deleted"


class Change(msgspec.Struct, frozen=True):
    """One object and what happened to it."""

    key: ObjectKey
    action: Action
    withheld: tuple[str, ...] = ()
    """Paths of fields in which the object serves something else than Git asks for, because a rollout decides."""
    undeclared: tuple[str, ...] = ()
    """Paths of fields that were left out, because the kind does not have them."""

    def __str__(self) -> str:
        """`Kind/namespace/name action`."""
        return f"{self.key} {self.action.value}"


class ChangeSet(msgspec.Struct, frozen=True):
    """Changes in the order in which they were made."""

    changes: tuple[Change, ...] = ()

    def __add__(self, other: ChangeSet) -> ChangeSet:
        """These changes, then the other ones."""
        return ChangeSet(self.changes + other.changes)

    def having(self, *actions: Action) -> tuple[Change, ...]:
        """The changes with one of these actions."""
        return tuple(change for change in self.changes if change.action in actions)

    @property
    def written(self) -> tuple[Change, ...]:
        """Changes that altered the cluster."""
        return self.having(Action.CREATED, Action.CONFIGURED, Action.DELETED)

    def text(self, changes: Iterable[Change] | None = None) -> str:
        """One line a change: the text of Flux's events."""
        return "\n".join(str(change) for change in (self.written if changes is None else changes))

    def in_parts(self, size: int) -> list[ChangeSet]:
        """The same changes in the same order, cut so that none but a single change is longer than `size` as a text."""
        parts: list[list[Change]] = []
        room = 0
        for change in self.changes:
            needed = len(str(change)) + _PUNCTUATION
            if needed > room:
                parts.append([])
                room = size
            parts[-1].append(change)
            room -= needed
        return [ChangeSet(tuple(part)) for part in parts]

    def as_log(self) -> dict[str, str]:
        """Object to action, as Flux logs it under `output`."""
        return {str(change.key): change.action.value for change in self.changes}

    def as_grouped_log(self) -> dict[str, list[str]]:
        """Action to objects: the same with Flux's gate GroupChangeLog, which has fewer keys."""
        grouped: dict[str, list[str]] = {}
        for change in self.changes:
            grouped.setdefault(change.action.value, []).append(str(change.key))
        return grouped
