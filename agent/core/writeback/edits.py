"""The smallest edits that could put an earlier reference back: the bytes of the reference change, and no other byte.

Where a reference is written is not known for certain: in the object itself, in a kustomize `images` entry as a tag of
its own, in a patch, in the literals of a generator. So every place that could be it is a proposal, and whoever builds
the result finds out which of them does what is wanted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

LARGEST = 1 << 20
"""Bytes of a file that is looked into."""
MOST = 24
"""Proposals at most: where a reference may stand in more places, nobody can tell which one is meant."""
_SHORTEST = 2
_WORD = re.compile(rb"[A-Za-z0-9_.\-]")
_DELIMITERS = re.compile(r"[/:@=?&#,]")
_NUMBER = re.compile(rb"[+-]?[0-9][0-9_.eE+-]*|true|false|null|yes|no|on|off|~", re.IGNORECASE)


class Piece(NamedTuple):
    """A part of a reference as it is, and as it shall be."""

    old: str
    new: str


class TooManyPlacesError(ValueError):
    """The reference may stand in more places than are looked at."""


Changed = dict[str, bytes]
"""Contents of changed files by path."""


def proposals(files: Mapping[str, bytes], rejected: str, restored: str) -> list[tuple[Changed, ...]]:
    """One item for each edit that could turn *rejected* into *restored*; no two are the same.

    An item has the edit as it is, and where YAML would read the bare text as a number, once more with quotes. Files
    that are large or no text are left out. Raises TooManyPlacesError.
    """
    texts = {path: data for path, data in files.items() if len(data) <= LARGEST and b"\0" not in data}
    found: dict[tuple[tuple[str, bytes], ...], tuple[Changed, ...]] = {}
    for pieces in readings(rejected, restored):
        places = [list(_places(texts, piece)) for piece in pieces]
        for chosen in itertools.product(*places):
            edited = _edited(texts, chosen)
            found.setdefault(tuple(sorted(edited[0].items())), edited)
            if len(found) > MOST:
                raise TooManyPlacesError
    return list(found.values())


def readings(rejected: str, restored: str) -> list[tuple[Piece, ...]]:
    """The ways in which a reference may be written: as a whole, or in parts of which those that differ count."""
    ways: list[tuple[Piece, ...]] = [(Piece(rejected, restored),)]
    for separator in ("@", ":"):
        parts = rejected.rpartition(separator), restored.rpartition(separator)
        if all(part[0] for part in parts):
            ways.append(_differing((parts[0][0], parts[1][0]), (parts[0][2], parts[1][2])))
    names, tags = _image(rejected), _image(restored)
    if names is not None and tags is not None:
        ways.append(_differing(*zip(names, tags, strict=True)))
    ways.append((_core(rejected, restored),))
    usable = [way for way in ways if way and all(len(piece.old) >= _SHORTEST and piece.new for piece in way)]
    return list(dict.fromkeys(usable))


class _Place(NamedTuple):
    path: str
    start: int
    piece: Piece


def _differing(*pairs: tuple[str, str]) -> tuple[Piece, ...]:
    return tuple(Piece(old, new) for old, new in pairs if old != new)


def _image(text: str) -> tuple[str, str, str] | None:
    """Name, tag and digest of an image; None for what is an address."""
    if "://" in text:
        return None
    rest, _, digest = text.partition("@")
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return folder + slash + name, tag, digest


def _core(rejected: str, restored: str) -> Piece:
    """What differs, up to the next delimiter on both sides."""
    ends = []
    for old, new in ((rejected, restored), (rejected[::-1], restored[::-1])):
        common = 0
        for position, (one, other) in enumerate(zip(old, new, strict=False), start=1):
            if one != other:
                break
            if _DELIMITERS.match(one):
                common = position
        ends.append(common)
    start, end = ends
    if start + end >= min(len(rejected), len(restored)):
        return Piece("", "")
    return Piece(rejected[start : len(rejected) - end], restored[start : len(restored) - end])


def _places(files: Mapping[str, bytes], piece: Piece) -> Iterator[_Place]:
    """Where the piece stands as a word of its own. Raises TooManyPlacesError."""
    count, wanted = 0, piece.old.encode()
    for path, data in files.items():
        start = data.find(wanted)
        while start >= 0:
            end = start + len(wanted)
            if not _WORD.match(data[start - 1 : start]) and not _WORD.match(data[end : end + 1]):
                count += 1
                if count > MOST:
                    raise TooManyPlacesError
                yield _Place(path, start, piece)
            start = data.find(wanted, start + 1)


def _edited(files: Mapping[str, bytes], chosen: Sequence[_Place]) -> tuple[Changed, ...]:
    plain = _replaced(files, chosen, quoted=False)
    quoted = _replaced(files, chosen, quoted=True)
    return (plain,) if plain == quoted else (plain, quoted)


def _replaced(files: Mapping[str, bytes], chosen: Sequence[_Place], *, quoted: bool) -> Changed:
    changed: Changed = {}
    for place in sorted(chosen, key=lambda place: -place.start):
        data = changed.get(place.path, files[place.path])
        end, text = place.start + len(place.piece.old.encode()), place.piece.new.encode()
        if quoted and _NUMBER.fullmatch(text) and data[place.start - 1 : place.start] not in (b'"', b"'"):
            text = b'"' + text + b'"'
        changed[place.path] = data[: place.start] + text + data[end:]
    return changed
