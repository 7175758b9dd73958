"""Who still has to hear of entries of the change log, in this process or of what one before it has left."""

from __future__ import annotations

from collections.abc import Collection, Iterable

Mark = tuple[str, str]
"""Record id and revision, which tell an entry from others."""


class Owed:
    """Marks of entries that somebody is about to be told of, and of those that they were told of; so many of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._due: dict[Mark, None] = {}
        self._done: dict[Mark, None] = {}
        self._left: dict[Mark, None] = {}
        self._elsewhere: frozenset[Mark] = frozenset()

    def begin(self, marks: Iterable[Mark]) -> None:
        """Somebody is about to be told of these."""
        bounded(self._due, marks, self._limit)

    def end(self, marks: Collection[Mark]) -> bool:
        """They were told. True if who keeps it elsewhere believes that it is to be done."""
        for mark in marks:
            self._due.pop(mark, None)
        bounded(self._done, marks, self._limit)
        return not self._elsewhere.isdisjoint(marks)

    def take_in(self, due: Iterable[Mark], done: Collection[Mark]) -> None:
        """What another process has noted: what it has left is still to be done."""
        known = {*self._done, *done}
        bounded(self._done, done, self._limit)
        self._left = {mark: None for mark in (*self._left, *due) if mark not in known}
        self.begin(self._left)

    def settle(self, marks: Iterable[Mark]) -> None:
        """Another process has told of these."""
        for mark in marks:
            self._left.pop(mark, None)
            self._due.pop(mark, None)

    def left(self) -> Collection[Mark]:
        """Those that another process has left; only once."""
        left, self._left = self._left, {}
        return left.keys()

    def written(self) -> tuple[Mark, ...]:
        """All that are due, for who keeps them elsewhere."""
        return self.read(tuple(self._due))

    def read(self, due: tuple[Mark, ...]) -> tuple[Mark, ...]:
        """These are due by what is kept elsewhere."""
        self._elsewhere = frozenset(due)
        return due

    def is_ahead(self) -> bool:
        """Whether something is done that is due by what is kept elsewhere."""
        return not self._elsewhere.isdisjoint(self._done)


def bounded(where: dict[Mark, None], marks: Iterable[Mark], limit: int) -> None:
    """Add marks; the oldest go first."""
    for mark in marks:
        where[mark] = None
    while len(where) > limit:
        del where[next(iter(where))]
