"""What a watch has seen, by name: the read side of every controller.

A store is fed by a watcher on the loop's thread and read synchronously. A new listing replaces the content in one
step when it is complete, so that a reader never sees half of one.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from agent.runtime.watch import Apply, Delete, Event, Init, InitApply, InitDone, Item, ObjectKey

T = TypeVar("T")

Subscriber = Callable[[T | None, T | None], None]
IndexFunction = Callable[[T], Iterable[Hashable]]


class Store(Generic[T]):
    """Objects of one kind by (namespace, name), with indexes and subscribers.

    Subscribers are called as `(old, new)` after the store has changed: old is None for an addition, new is None for
    a deletion, never both. Objects whose resource version did not change are not announced by a new listing.
    """

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self._items: dict[ObjectKey, Item[T]] = {}
        self._incoming: dict[ObjectKey, Item[T]] = {}
        self._functions: dict[str, IndexFunction[T]] = {}
        self._indexes: dict[str, dict[Hashable, set[ObjectKey]]] = {}
        self._subscribers: builtins.list[Subscriber[T]] = []

    def __len__(self) -> int:
        return len(self._items)

    def get(self, namespace: str, name: str) -> T | None:
        """The object, or None. Cluster-wide objects have the namespace ""."""
        item = self._items.get(ObjectKey(namespace, name))
        return None if item is None else item.value

    def list(self, namespace: str | None = None) -> builtins.list[T]:
        """All objects, or those of one namespace, in no particular order."""
        return [item.value for key, item in self._items.items() if namespace is None or key.namespace == namespace]

    def keys(self) -> builtins.list[ObjectKey]:
        """The names of all objects."""
        return list(self._items)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Index the objects by each value that the function returns for them."""
        self._functions[name] = function
        index: dict[Hashable, set[ObjectKey]] = {}
        self._indexes[name] = index
        for key, item in self._items.items():
            for value in function(item.value):
                index.setdefault(value, set()).add(key)

    def by_index(self, name: str, value: Hashable) -> builtins.list[T]:
        """The objects for which the index function returned the value, ordered by name."""
        return [self._items[key].value for key in sorted(self._indexes[name].get(value, ()))]

    def subscribe(self, subscriber: Subscriber[T]) -> Callable[[], None]:
        """Call the subscriber for every later change. Returns the function that ends it."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def feed(self, event: Event[T]) -> None:
        """Take one event of the watcher."""
        match event:
            case Init():
                self._incoming = {}
            case InitApply(item):
                self._incoming[item.key] = item
            case InitDone():
                incoming, self._incoming = self._incoming, {}
                self._swap(incoming)
                self.synced.set()
            case Apply(item):
                self._announce(self._put(item), item)
            case Delete(key):
                old = self._remove(key)
                if old is not None:
                    self._announce(old, None)

    def _swap(self, incoming: dict[ObjectKey, Item[T]]) -> None:
        changes: builtins.list[tuple[Item[T] | None, Item[T] | None]]
        changes = [(self._remove(key), None) for key in self._items.keys() - incoming.keys()]
        for key, item in incoming.items():
            old = self._items.get(key)
            if old is None or old.resource_version != item.resource_version:
                changes.append((self._put(item), item))
        for before, after in changes:
            self._announce(before, after)

    def _put(self, item: Item[T]) -> Item[T] | None:
        old = self._remove(item.key)
        self._items[item.key] = item
        for name, function in self._functions.items():
            for value in function(item.value):
                self._indexes[name].setdefault(value, set()).add(item.key)
        return old

    def _remove(self, key: ObjectKey) -> Item[T] | None:
        old = self._items.pop(key, None)
        if old is None:
            return None
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(old.value):
                members = index.get(value)
                if members is not None:
                    members.discard(key)
                    if not members:
                        del index[value]
        return old

    def _announce(self, old: Item[T] | None, new: Item[T] | None) -> None:
        before = None if old is None else old.value
        after = None if new is None else new.value
        for subscriber in tuple(self._subscribers):
            subscriber(before, after)
