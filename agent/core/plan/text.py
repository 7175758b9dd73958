"""A plan for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from agent.core.models import ChangeRecord
from agent.core.plan.report import Plan
from agent.core.plan.wording import (
    by_kustomization,
    line_of,
    object_of,
    place_of,
    predicted,
    remarks,
    safe,
    short,
    sides,
    summary,
)

_SIGNS: Final = {"added": "+", "removed": "-", "respelled": "=", "metadata-only": "=", "moved": ">", "parse-error": "!"}
_COLOURS: Final = {"+": "32", "-": "31", "~": "33", "!": "31"}
_BOLD, _DIM = "1", "2"


def as_text(plan: Plan, old: str, new: str, *, colour: bool = False) -> str:
    """The plan in lines, grouped by Kustomization and object; *colour* for terminals."""
    paint = _Paint(colour)
    lines = [*_head(plan, old, new, paint)]
    for title, records in by_kustomization(plan.changes):
        lines += ["", paint(title, _BOLD)] if title else []
        for (shown, file), group in groupby(records, key=lambda r: (object_of(r), _file_of(r))):
            lines += ["", f"  {paint(shown, _BOLD)}" + (f"  {paint(file, _DIM)}" if file else "")]
            for record in group:
                lines += _record(record, paint)
    if plan.errors:
        lines += ["", paint("Could not be read (nothing is known about what is in there):", _BOLD)]
        lines += (f"  {paint('!', _COLOURS['!'])} {safe(e.subject)}: {safe(e.message)}" for e in plan.errors)
    return "\n".join(lines) + "\n"


def _head(plan: Plan, old: str, new: str, paint: _Paint) -> Iterator[str]:
    told = summary(plan.changes) or "no model or data reference changes"
    yield f"{paint(f'{short(old)}..{short(new)}', _DIM)}  {paint(told, _BOLD)}"
    actions = predicted(plan.changes)
    if actions:
        yield f"To be expected: {actions}"


def _record(record: ChangeRecord, paint: _Paint) -> Iterator[str]:
    sign = _SIGNS.get(record.op, "~")
    operation = "" if record.op in {"added", "removed", "changed", "parse-error"} else f" {record.op}"
    action = "" if record.op == "parse-error" else f"  {paint(record.action, _BOLD)}"
    slot = "" if record.slot == "content" else f" {safe(record.slot)}"
    line = f"  {paint(f'line {record.location.line}', _DIM)}" if record.location.line else ""
    yield f"    {paint(sign, _COLOURS.get(sign, _DIM))} {record.kind}{slot}{operation}{action}{line}"
    old, new = sides(record)
    if old:
        yield f"        {paint(f'- {old}', _COLOURS['-'])}"
    if new:
        yield f"        {paint(f'+ {new}', _COLOURS['+'])}"
    yield f"        {paint(remarks(record), _DIM)}"


def _file_of(record: ChangeRecord) -> str:
    return place_of(record).removesuffix(line_of(record))


class _Paint:
    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text
