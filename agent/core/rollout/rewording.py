"""Whether a new revision is the promoted one in other words: the same content, and not one word more.

That every reference means the same is told by change records: none says more than that it is spelled differently, or
that its new revision touches nothing that is loaded. That nothing else differs is shown by trial, in two ways. Every
difference is undone, one at a time, and has to give one of these references other words: what gives it none, such as
another program that is read in the same way, is a change of its own. And every word of it is spoilt, one at a time, and
has to make a difference to what is known of the workload: one that makes none may be a flag that nobody here knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from agent.core.models import RenderedSet, Resolve, changes
from agent.core.models.extract.declared import without_digests
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context, Slot
from agent.core.models.ref import Ref
from agent.core.objects import key_of

SAME: Final = frozenset({"respelled", "metadata-only"})
"""Operations after which the same is served as before."""
WORDS: Final = 100
"""How many trials there may be; each costs a look at the workload."""
SPAN: Final = 200
"""From the first to the last word, or item, in which two texts, or lists, may differ: comparing takes its square."""
BYTES: Final = 500_000
"""How much may be read in all trials together: of a configuration file that is some seconds."""
_WORD: Final = re.compile(r"\s+|[\w./:@+-]+|.")
"""A reference, a flag or a name is one word, what stands between them others. Spaces count: they mean something in a
configuration file, and a text may differ in nothing else."""
_SPOILT: Final = "0"
_MOST: Final = 10 * SPAN
"""Words of the lines from the first to the last in which two texts differ."""

Objects: TypeAlias = Sequence[Mapping[str, Any]]
Path: TypeAlias = tuple[str | int, ...]
_Place: TypeAlias = tuple[Path, Any]
"""A value and where it stands in the objects of its side."""


class Trial(NamedTuple):
    """An edit of what stands at a place of one side, 0 before and 1 after. It *undoes* a difference, or spoils a word
    of one."""

    side: int
    path: Path
    edit: Callable[[Any], Any]
    undoes: bool


class Unlike(Exception):  # noqa: N818 - no error: an answer
    """The objects differ in more than in texts, or in more texts than anybody looks at."""


def reworded(before: Objects, after: Objects, resolve: Resolve | None = None) -> tuple[str, ...]:
    """The slots whose references are written differently, by name; none if anything else differs, or nothing does.

    The workload comes first on both sides, under one name, then the configs that it uses. `resolve` adds what is known
    of references.
    """
    before, after = ([without_digests(side[0]), *side[1:]] for side in (before, after))
    target = key_of(after[0])
    found = changes(RenderedSet(before), RenderedSet(after), resolve=resolve)
    records = [record for record in found if (record.object.kind, record.object.name) == (target.kind, target.name)]
    if any(record.op not in SAME for record in records if not _is_text(record.new)):
        return ()
    slots = frozenset(record.slot for record in records if record.op in SAME)
    return tuple(sorted(slots)) if slots and _is_all(slots, list(before), list(after)) else ()


def _is_all(slots: frozenset[str], before: list[Any], after: list[Any]) -> bool:
    """Whether the two sides differ in nothing but in how the references of these slots are written."""
    try:
        trials = list(islice(_trials(((), before), ((), after)), WORDS + 1))
    except Unlike:
        return False
    size = max(len(msgspec.json.encode(side)) for side in (before, after))
    if len(trials) > WORDS or size * len(trials) > BYTES:
        return False
    sides = before, after
    known = [_slots(side) for side in sides]
    return all(_passes(trial, sides[trial.side], known[trial.side], slots) for trial in trials)


def _passes(trial: Trial, objects: list[Any], known: Mapping[str, Slot] | None, slots: frozenset[str]) -> bool:
    now = _slots(_edited(objects, trial.path, trial.edit))
    if known is None or now is None:
        return False
    if trial.undoes:
        return any(name in known and name in now and known[name].ref != now[name].ref for name in slots)
    return any(known[name] != now.get(name) for name in known)


def _slots(objects: Objects) -> Mapping[str, Slot] | None:
    """What the workload refers to, wherever it is written; None if that cannot be read."""
    rendered, key = RenderedSet(objects), key_of(objects[0])
    found = extract(objects[0], Context(key.namespace, rendered))
    if found.failures:
        return None
    return {name: slot._replace(path="") for name, slot in found.slots.items() if not _is_text(slot.ref)}


def _is_text(ref: Ref | None) -> bool:
    """Whether the reference is to a ConfigMap's text as a whole: another text is all that it can tell."""
    return ref is not None and ref.scheme == "configmap"


def _edited(value: Any, path: Path, edit: Callable[[Any], Any]) -> Any:
    """The value with what stands at the path edited; what is not on the way there is shared."""
    if not path:
        return edit(value)
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[path[0]] = _edited(value[path[0]], path[1:], edit)
    return copy


def _trials(was: _Place, now: _Place) -> Iterator[Trial]:
    """What is to be tried of all in which two values differ. Raises Unlike."""
    (here, one), (there, other) = was, now
    if one == other:
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            if name in one and name in other:
                yield from _trials(((*here, name), one[name]), ((*there, name), other[name]))
            else:
                side, (path, parent) = (0, was) if name in one else (1, now)
                yield Trial(side, path, _without(name), undoes=True)
                yield from _all_spoilt(side, (*path, name), parent[name])
    elif isinstance(one, list) and isinstance(other, list):
        yield from _items(was, now)
    elif isinstance(one, str) and isinstance(other, str):
        yield from _words(was, now)
    else:
        raise Unlike


def _items(was: _Place, now: _Place) -> Iterator[Trial]:
    """Items are paired in their order; those that came are not taken for those that went, unless they are as many."""
    (here, ones), (there, others) = was, now
    keys = [[_identity(item) for item in items] for items in (ones, others)]
    for (first, last), (begin, end) in _runs(*keys):
        if last - first == end - begin:
            for left, right in zip(range(first, last), range(begin, end), strict=True):
                yield from _trials(((*here, left), ones[left]), ((*there, right), others[right]))
            continue
        for side, (path, items), start, stop in ((0, was, first, last), (1, now, begin, end)):
            if start < stop:
                yield Trial(side, path, _cut(start, stop, []), undoes=True)
            for index in range(start, stop):
                yield from _all_spoilt(side, (*path, index), items[index])


def _identity(item: Any) -> str:
    """By what items of a list are paired: the names that Kubernetes merges them by, else what they are."""
    if isinstance(item, Mapping) and isinstance(item.get("name"), str):
        return f"name {item['name']}"
    return msgspec.json.encode(item, order="deterministic").decode()


def _runs(ones: Sequence[str], others: Sequence[str]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Two sequences in runs that are equal, or that stand in each other's place. Raises Unlike where the latter are too
    far apart."""
    head = _common(ones, others)
    tail = _common(ones[head:][::-1], others[head:][::-1])
    one, other = len(ones) - tail, len(others) - tail
    if max(one, other) - head > SPAN:
        raise Unlike
    yield (0, head), (0, head)
    for _, first, last, begin, end in SequenceMatcher(
        None, ones[head:one], others[head:other], autojunk=False
    ).get_opcodes():
        yield (head + first, head + last), (head + begin, head + end)
    yield (one, len(ones)), (other, len(others))


def _common(ones: Sequence[str], others: Sequence[str]) -> int:
    """How many items two sequences have in common at their beginning."""
    shorter = min(len(ones), len(others))
    return next((at for at in range(shorter) if ones[at] != others[at]), shorter)


def _words(was: _Place, now: _Place) -> Iterator[Trial]:
    """What is to be tried of two texts. Where two words stand in each other's place, they are spoilt where they have
    ceased to differ, so that what follows, a closing bracket or quote, is still in its place. Raises Unlike."""
    (ones, others), end_of_ones = _differing_words(was[1], now[1])
    keys = [[word.group() for word in words] for words in (ones, others)]
    for (first, last), (begin, end) in _runs(*keys):
        here, there = ones[first:last], others[begin:end]
        if keys[0][first:last] == keys[1][begin:end]:
            continue
        start = ones[first].start() if first < len(ones) else end_of_ones
        stop = here[-1].end() if here else start
        yield Trial(0, was[0], _cut(start, stop, "".join(word.group() for word in there)), undoes=True)
        paired = len(here) == len(there)
        for index in range(max(len(here), len(there))):
            tail = _common_end(here[index].group(), there[index].group()) if paired else 0
            for side, (path, _), words in ((0, was, here), (1, now, there)):
                if index < len(words):
                    yield Trial(side, path, _spoiling(words[index].end() - tail), undoes=False)


def _differing_words(*texts: str) -> tuple[list[list[re.Match[str]]], int]:
    """The words of two texts in the lines from the first to the last that differ, and where those of the first text
    end. Raises Unlike."""
    ones, others = (text.splitlines(keepends=True) for text in texts)
    head = _common(ones, others)
    tail = _common(ones[head:][::-1], others[head:][::-1])
    start, rest = sum(map(len, ones[:head])), sum(map(len, ones[len(ones) - tail :]))
    found = [list(islice(_WORD.finditer(text, start, len(text) - rest), _MOST + 1)) for text in texts]
    if max(map(len, found)) > _MOST:
        raise Unlike
    return found, len(texts[0]) - rest


def _all_spoilt(side: int, path: Path, value: Any) -> Iterator[Trial]:
    """Every word in a value that the other side lacks. Raises Unlike for one that holds anything else than texts."""
    if isinstance(value, str) and value.strip():
        for word in islice(_WORD.finditer(value), WORDS + 1):
            yield Trial(side, path, _spoiling(word.end()), undoes=False)
    elif isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _all_spoilt(side, (*path, name), item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _all_spoilt(side, (*path, index), item)
    else:
        raise Unlike


def _without(name: str) -> Callable[[Any], Any]:
    return lambda members: {key: value for key, value in members.items() if key != name}


def _cut(start: int, stop: int, instead: Any) -> Callable[[Any], Any]:
    return lambda whole: whole[:start] + instead + whole[stop:]


def _spoiling(at: int) -> Callable[[Any], Any]:
    return _cut(at, at, _SPOILT)


def _common_end(one: str, other: str) -> int:
    """How many characters the two words have in common at their ends."""
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length
