"""`weir plan`: revisions, output and exit status."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from agent.adapters.git.local import LocalRepository, LocalRevision
from agent.core.plan.findings import findings
from agent.core.plan.markdown import as_markdown
from agent.core.plan.report import Plan, as_json, shortened
from agent.core.plan.text import as_text
from agent.exitstatus import FAILED, exit_status, write
from agent.plan.planner import make_plan

EXIT_FOUND: Final = 3
"""Something that --fail-on names was found."""
_SHOWN: Final = 20


def execute(chosen: argparse.Namespace) -> int:
    """Make the plan and print it; returns the exit status."""
    return exit_status(lambda: _run(chosen), _fail)


def _run(chosen: argparse.Namespace) -> int:
    repository = LocalRepository(Path(chosen.repo))
    old, new = _revisions(repository, chosen.old, chosen.new)
    plan, notes = make_plan(repository, old, new)
    write(_output(plan, old, new, chosen.output))
    for note in notes:
        _say(note)
    return _judge(plan, chosen.fail_on)


def _revisions(repository: LocalRepository, old: str | None, new: str | None) -> tuple[LocalRevision, LocalRevision]:
    """What the arguments mean, as `git diff` reads them. Raises UnknownRevisionError."""
    if old is not None and new is None and ".." in old:
        left, dots, right = old.partition("...") if "..." in old else old.partition("..")
        left, right = left or "HEAD", right or "HEAD"
        start = repository.merge_base(left, right) if dots == "..." else repository.revision(left)
        return start, repository.revision(right)
    if old is None:
        return repository.before("HEAD"), repository.revision("HEAD")
    return repository.revision(old), repository.revision("HEAD" if new is None else new)


def _output(plan: Plan, old: LocalRevision, new: LocalRevision, form: str) -> bytes:
    if form == "json":
        return as_json(plan)
    if form == "markdown":
        return as_markdown(plan, old.id, new.id).encode(errors="replace")
    colour = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return as_text(plan, old.id, new.id, colour=colour).encode(errors="replace")


def _judge(plan: Plan, conditions: tuple[str, ...]) -> int:
    found = list(findings(plan, conditions))
    for condition, what in found[:_SHOWN]:
        _say(f"--fail-on={condition}: {shortened(what)}")
    if len(found) > _SHOWN:
        _say(f"--fail-on: {len(found) - _SHOWN} more")
    return EXIT_FOUND if found else 0


def _say(text: str) -> None:
    sys.stderr.buffer.write(f"weir plan: {text}\n".encode(errors="replace"))
    sys.stderr.flush()


def _fail(message: str) -> int:
    _say(shortened(message))
    return FAILED
