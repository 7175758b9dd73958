"""A plan for a comment on a merge request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Final

from agent.core.models import ChangeRecord
from agent.core.plan.report import Plan
from agent.core.plan.wording import (
    by_kustomization,
    is_quiet,
    object_of,
    place_of,
    predicted,
    remarks,
    safe,
    short,
    sides,
    summary,
)

MARK: Final = "<!-- weir-plan -->"
"""First line: a pipeline finds its earlier comment by it."""
LIMIT: Final = 60_000
"""Characters; GitHub takes no comment of more than 65,536."""
_HEAD: Final = ("| | Where | What | Then |", "|:-|:-|:-|:-|")
_RUNS: Final = re.compile(r"`+")


def as_markdown(plan: Plan, old: str, new: str) -> str:
    """The plan as GitHub and GitLab show it: what needs attention in tables, the rest folded away."""
    loud = [record for record in plan.changes if not is_quiet(record)]
    quiet = [record for record in plan.changes if is_quiet(record)]
    lines = [*_head(plan, old, new), *_tables(loud, "####")]
    if quiet:
        told = summary(quiet) or f"{len(quiet)} more"
        lines += ["", f"<details><summary>Applied as it is: {html.escape(told)}</summary>"]
        lines += [*_tables(quiet, "#####"), "", "</details>"]
    if plan.errors:
        lines += ["", "#### :warning: Could not be read", ""]
        lines += (f"- {_code(error.subject)}: {_plain(error.message)}" for error in plan.errors)
    return _bounded(lines)


def _head(plan: Plan, old: str, new: str) -> Iterator[str]:
    yield MARK
    yield f"### Weir plan: {summary(plan.changes) or 'no model or data reference changes'}"
    yield ""
    actions = predicted(plan.changes)
    expected = f" · to be expected: **{actions}**" if actions else ""
    yield f"{_code(short(old))} → {_code(short(new))}{expected}"


def _tables(records: Iterable[ChangeRecord], heading: str) -> Iterator[str]:
    for title, found in by_kustomization(records):
        if title:
            yield from ("", f"{heading} {_plain(title)}")
        yield from ("", *_HEAD)
        yield from (_row(record) for record in found)


def _row(record: ChangeRecord) -> str:
    place = place_of(record)
    where = _code(object_of(record)) + (f"<br>{_code(place)}" if place else "")
    old, new = sides(record)
    shown = [f"{record.kind} {_code(safe(record.slot))}" if record.slot != "content" else record.kind]
    if old:
        shown.append(f"{_code(old)} →" if new else f"<del>{_code(old)}</del>")
    if new:
        shown.append(_code(new))
    then = f"**{record.action}**<br>{_plain(remarks(record))}"
    return f"| {record.op} | {where} | {'<br>'.join(shown)} | {then} |"


def _code(text: str) -> str:
    """*text* as code inside of a table: longer fences around backticks, bars escaped."""
    fence = "`" * (max((len(run) for run in _RUNS.findall(text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|") if text else ""


def _plain(text: str) -> str:
    """*text* as it is: nothing in it is markup, a mention or a link."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", html.escape(safe(text), quote=False))
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def _bounded(lines: list[str]) -> str:
    """All lines, or as many as a comment takes; what is open is closed."""
    taken: list[str] = []
    size = 0
    for position, line in enumerate(lines):
        size += len(line) + 1
        if size > LIMIT:
            if "<details>" in "".join(taken) and "</details>" not in taken:
                taken += ["", "</details>"]
            taken += ["", f"… and {len(lines) - position} more lines: run `weir plan` to see all."]
            break
        taken.append(line)
    return "\n".join(taken) + "\n"
