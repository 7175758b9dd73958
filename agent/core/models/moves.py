"""References that went from one place to another without change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.core.models.recording import Pair
from agent.core.models.ref import Ref, origin
from agent.core.objects import ObjectKey

_Home = tuple[str, ObjectKey]
"""An object where it was built: two builds may hold the same one."""


class Moves(NamedTuple):
    """What became of slots that only one side has."""

    moved: list[tuple[Pair, Pair]]
    changed: list[Pair]
    removed: list[Pair]
    added: list[Pair]


def pair_moves(removed: Sequence[Pair], added: Sequence[Pair]) -> Moves:
    """Tell apart what moved, what changed while its object moved, and what really left or came.

    A pinned reference moved when one of the same kind with equal digest, or equal canonical text, left and came. The
    same object in another build keeps its slots, pinned or not. The other slots of an object that lost and gained
    references this way follow it by name. Of references without names of their own, one that took the place of another
    is a change of that one.
    """
    if not removed or not added:
        return Moves([], [], list(removed), list(added))
    moved: list[tuple[Pair, Pair]] = []
    for key_of in (_same_object, _content):
        taken = _places(moved)
        moved += _match(_left(removed, taken), _left(added, taken), key_of)
    # The plain settings of a renamed object mean nothing alone; together with its references they moved too.
    renamed = {_home(source): _home(target) for source, target in moved if _home(source) != _home(target)}
    taken = _places(moved)
    moved += _match(
        [item for item in _left(removed, taken) if _home(item) in renamed],
        _left(added, taken),
        lambda item: (str(renamed.get(_home(item), _home(item))), item.slot.name, item.slot.ref.canonical),
    )
    taken = _places(moved)
    rehomed = [item for item in _left(removed, taken) if (to := renamed.get(_home(item))) and to[1] == item.key]
    changed = _match(rehomed, _left(added, taken), lambda item: (str(item.key), item.slot.name))
    taken |= _places(changed)
    changed += _replaced(_left(removed, taken), _left(added, taken))
    taken |= _places(changed)
    edits = [target._replace(old=source.old, standing=True) for source, target in changed]
    return Moves(moved, edits, _left(removed, taken), _left(added, taken))


def _match(
    removed: Sequence[Pair], added: Sequence[Pair], key_of: Callable[[Pair], tuple[str, ...] | None]
) -> list[tuple[Pair, Pair]]:
    """Pairs with equal keys, each side used once; equal slot names are preferred."""
    candidates: dict[tuple[str, ...], list[Pair]] = {}
    for item in added:
        if (key := key_of(item)) is not None:
            candidates.setdefault(key, []).append(item)
    found = []
    for item in removed:
        key = key_of(item)
        choice = candidates.get(key) if key is not None else None
        if choice:
            best = next((c for c in choice if c.slot.name == item.slot.name), choice[0])
            choice.remove(best)
            found.append((item, best))
    return found


def _replaced(removed: Sequence[Pair], added: Sequence[Pair]) -> list[tuple[Pair, Pair]]:
    """The one reference that left a list without names, and the one that came to it."""
    alone: list[dict[tuple[_Home, str, str], Pair]] = []
    for side in (removed, added):
        lists: dict[tuple[_Home, str, str], list[Pair]] = {}
        for item in side:
            name, bracket, key = item.slot.name.removesuffix("]").rpartition("[")
            if not bracket or not item.slot.name.endswith("]"):
                continue
            # What shares a place with others is called by both.
            fitting = (own for own in _own_names(item.slot.ref) if own == key or key.endswith(f":{own}"))
            own = max(fitting, key=len, default=None)
            if own is not None:
                place = f"{name}[{key.removesuffix(own)}"
                lists.setdefault((_home(item), place, item.slot.kind), []).append(item)
        alone.append({key: items[0] for key, items in lists.items() if len(items) == 1})
    return [(alone[0][key], alone[1][key]) for key in alone[0] if key in alone[1]]


def _own_names(ref: Ref) -> set[str]:
    """What a slot is called whose reference has no other name. Other objects of the cluster have one."""
    return set() if ref.scheme == "object" else {ref.canonical, origin(ref), ref.spelling.partition("@")[0]}


def _same_object(item: Pair) -> tuple[str, ...] | None:
    """The slot of one object and its content: what an object that changes its build keeps."""
    return (*item.key, item.slot.name, item.slot.kind, item.slot.ref.canonical) if item.file is None else None


def _content(item: Pair) -> tuple[str, ...] | None:
    """What a reference is, wherever it stands; None when its text does not fix that."""
    ref = item.slot.ref
    if ref.digest is not None:
        return item.slot.kind, ref.digest.alg, ref.digest.value
    if ref.pinned is True and ref.scheme != "literal":
        return item.slot.kind, "", ref.canonical
    return None


def _home(item: Pair) -> _Home:
    return item.shared.scope, item.key


def _left(items: Sequence[Pair], taken: set[tuple[_Home, str, bool]]) -> list[Pair]:
    return [item for item in items if _place(item) not in taken]


def _places(pairs: Sequence[tuple[Pair, Pair]]) -> set[tuple[_Home, str, bool]]:
    return {_place(item) for pair in pairs for item in pair}


def _place(item: Pair) -> tuple[_Home, str, bool]:
    return _home(item), item.slot.name, item.file is None
