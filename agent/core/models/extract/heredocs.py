"""Here-documents of shell scripts: text for some program, unless it is a script that runs here."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

_OPENING: Final = re.compile(r"(?<!<)<<(?!<)-?[ \t]*(['\"]?)(\w+)\1")
_WRITTEN: Final = re.compile(r">[ \t]*['\"]?([^\s;&|>'\"]+)")
_WORD: Final = re.compile(r"[^\s;&|()'\"]+")


class _Document(NamedTuple):
    command: str
    body: Sequence[str]


def unfolded(script: str, shells: frozenset[str]) -> str:
    """*script* without its here-documents, but for those that one of *shells* reads or that are written to a file
    which another command names: their text stands where they stood."""
    if "<<" not in script:
        return script
    parts = _parts(script.split("\n"))
    named = {word for part in parts if isinstance(part, str) for word in _WORD.findall(part)}
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
            continue
        lines.append(part.command)
        program = next(iter(part.command.split()), "").rpartition("/")[2]
        target = _WRITTEN.search(part.command)
        if program in shells or (target is not None and target[1] in named):
            lines.extend(part.body)
    return "\n".join(lines)


def _parts(lines: Sequence[str]) -> list[str | _Document]:
    ends: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        ends.setdefault(line.strip(), []).append(number)
    parts: list[str | _Document] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        opening = _OPENING.search(line.partition(" #")[0])
        after = ends.get(opening[2], []) if opening else []
        place = bisect_right(after, number)
        if opening is None or place == len(after):
            parts.append(line)
            number += 1
            continue
        command = line[: opening.start()] + " " + line[opening.end() :]
        parts.append(_Document(command, lines[number + 1 : after[place]]))
        number = after[place] + 1
    return parts
