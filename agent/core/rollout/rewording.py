"""Whether a new revision is the promoted one in other words: the same content, and not one word more.

That every reference means the same is told by change records: none says more than that it is spelled differently, or
that its new revision touches nothing that is loaded. That nothing else differs is shown by trial: every word in which
the two revisions differ is spoilt, one at a time, and has to make a difference to what is known of the workload. A word
that makes none, such as a flag that nobody here knows, is a change of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, TypeAlias

import msgspec

from agent.core.models import RenderedSet, Resolve, changes
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context, Slot
from agent.core.models.ref import Ref
from agent.core.objects import ObjectKey, split_api_version

SAME: Final = frozenset({"respelled", "metadata-only"})
"""Operations after which the same is served as before."""
WORDS: Final = 100
"""In how many words two revisions may differ; each costs a look at the workload."""
_WORD: Final = re.compile(r"\s+|[\w./:@+-]+|.")
"""A reference, a flag or a name is one word, what stands between them others. Spaces count: they mean something in a
configuration file, and a text may differ in nothing else."""
_SPOILT: Final = "0"

Objects: TypeAlias = Sequence[Mapping[str, Any]]
Path: TypeAlias = tuple[str | int, ...]


class Word(msgspec.Struct, frozen=True):
    """A word of one text that the other revision lacks: the text's place in the objects, and where in it to write."""

    path: Path
    at: int


class Unlike(Exception):  # noqa: N818 - no error: an answer
    """The objects differ in more than in texts."""


def reworded(before: Objects, after: Objects, resolve: Resolve | None = None) -> tuple[str, ...]:
    """The slots whose references are written differently, by name; none if anything else differs, or nothing does.

    The workload comes first on both sides, under one name, then the configs that it uses. `resolve` adds what is known
    of references.
    """
    target = _key(after[0])
    found = changes(RenderedSet(before), RenderedSet(after), resolve=resolve)
    records = [record for record in found if (record.object.kind, record.object.name) == (target.kind, target.name)]
    if any(record.op not in SAME for record in records if not _is_text(record.new)):
        return ()
    try:
        words = _differing((), list(before), list(after))
    except Unlike:
        return ()
    sides = (before, [word for word, _ in words if word]), (after, [word for _, word in words if word])
    if sum(len(side[1]) for side in sides) > WORDS:
        return ()
    slots: set[str] = set()
    for objects, differing in sides:
        touched = _slots_of(objects, differing)
        if touched is None:
            return ()
        slots |= touched
    return tuple(sorted(slots))


def _slots_of(objects: Objects, words: Sequence[Word]) -> set[str] | None:
    """The slots that the words say something about; None if one of them is about none."""
    found: set[str] = set()
    as_is = _slots(objects) if words else {}
    for word in words:
        spoilt = _slots(_spoilt(objects, word))
        if as_is is None or spoilt is None:
            return None
        touched = {name for name in as_is if as_is[name] != spoilt.get(name)}
        if not touched:
            return None
        found |= touched
    return found


def _slots(objects: Objects) -> Mapping[str, Slot] | None:
    """What the workload refers to, wherever it is written; None if that cannot be read."""
    rendered, key = RenderedSet(objects), _key(objects[0])
    found = extract(objects[0], Context(key.namespace, rendered))
    if found.failures:
        return None
    return {name: slot._replace(path="") for name, slot in found.slots.items() if not _is_text(slot.ref)}


def _is_text(ref: Ref | None) -> bool:
    """Whether the reference is to a ConfigMap's text as a whole: another text is all that it can tell."""
    return ref is not None and ref.scheme == "configmap"


def _spoilt(objects: Objects, word: Word) -> list[Any]:
    copy: Any = msgspec.json.decode(msgspec.json.encode(list(objects)))
    node = copy
    for step in word.path[:-1]:
        node = node[step]
    text = node[word.path[-1]]
    node[word.path[-1]] = text[: word.at] + _SPOILT + text[word.at :]
    return list(copy)


def _key(obj: Mapping[str, Any]) -> ObjectKey:
    group, _ = split_api_version(obj["apiVersion"])
    metadata = obj["metadata"]
    return ObjectKey(group, obj["kind"], metadata.get("namespace") or "", metadata["name"])


_Pair: TypeAlias = tuple[Word | None, Word | None]
_Side: TypeAlias = tuple[Path, str] | None
"""A text and its place, on a side that has it."""


def _differing(path: Path, one: Any, other: Any) -> list[_Pair]:
    """The words that only one of two values has; of two that stand in each other's place, both. Raises Unlike."""
    return [pair for was, now in _texts((path, one), (path, other)) for pair in _words(was, now)]


def _texts(was: tuple[Path, Any], now: tuple[Path, Any]) -> Iterator[tuple[_Side, _Side]]:
    """The texts in which two values differ. Raises Unlike."""
    (here, one), (there, other) = was, now
    if one == other:
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from _members((here, one), (there, other), name)
    elif isinstance(one, list) and isinstance(other, list):
        yield from _items((here, one), (there, other))
    elif isinstance(one, str) and isinstance(other, str):
        yield (here, one), (there, other)
    else:
        raise Unlike


def _members(was: tuple[Path, Any], now: tuple[Path, Any], name: str) -> Iterator[tuple[_Side, _Side]]:
    (here, one), (there, other) = was, now
    if name in one and name in other:
        yield from _texts(((*here, name), one[name]), ((*there, name), other[name]))
    elif name in one:
        yield from ((text, None) for text in _all_texts((*here, name), one[name]))
    else:
        yield from ((None, text) for text in _all_texts((*there, name), other[name]))


def _items(was: tuple[Path, list[Any]], now: tuple[Path, list[Any]]) -> Iterator[tuple[_Side, _Side]]:
    """Items are paired in their order; those that came are not taken for those that went, unless they are as many."""
    (here, ones), (there, others) = was, now
    keys = [[_identity(item) for item in items] for items in (ones, others)]
    for tag, first, last, begin, end in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if tag in {"equal", "replace"} and last - first == end - begin:
            for index in range(last - first):
                left, right = first + index, begin + index
                yield from _texts(((*here, left), ones[left]), ((*there, right), others[right]))
            continue
        for index in range(first, last):
            yield from ((text, None) for text in _all_texts((*here, index), ones[index]))
        for index in range(begin, end):
            yield from ((None, text) for text in _all_texts((*there, index), others[index]))


def _identity(item: Any) -> str:
    """By what items of a list are paired: the names that Kubernetes merges them by, else what they are."""
    if isinstance(item, Mapping) and isinstance(item.get("name"), str):
        return f"name {item['name']}"
    return msgspec.json.encode(item, order="deterministic").decode()


def _all_texts(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    """All texts in a value that one side lacks. Raises Unlike for one that holds anything else."""
    if isinstance(value, str) and value.strip():
        yield path, value
    elif isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _all_texts((*path, name), item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _all_texts((*path, index), item)
    else:
        raise Unlike


def _words(was: _Side, now: _Side) -> Iterator[_Pair]:
    """The words that two texts do not have in common. Where two stand in each other's place, they are written to where
    they have ceased to differ, so that what follows, a closing bracket or quote, is still in its place."""
    ones, others = (list(_WORD.finditer(side[1])) if side else [] for side in (was, now))
    keys = [[word.group() for word in words] for words in (ones, others)]
    for tag, first, last, begin, end in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        paired = last - first == end - begin
        for index in range(max(last - first, end - begin)):
            left = ones[first + index] if first + index < last else None
            right = others[begin + index] if begin + index < end else None
            tail = _common_end(left.group(), right.group()) if paired and left and right else 0
            yield (
                Word(was[0], left.end() - tail) if was and left else None,
                Word(now[0], right.end() - tail) if now and right else None,
            )


def _common_end(one: str, other: str) -> int:
    """How many characters the two words have in common at their ends."""
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length
