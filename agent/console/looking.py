"""`weir rollout status`, `explain`, `history`, `ledger`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from agent.adapters.agentapi import NoAnswerError
from agent.api.canary import Canary
from agent.console import output
from agent.console.command import EXIT_FAILED, EXIT_OPEN
from agent.console.models import brought
from agent.console.session import Session, decoded, named
from agent.core.console.answered import answered, answered_table, begins, written
from agent.core.console.explained import explanation, history
from agent.core.console.facts import Rollout, kept_runs
from agent.core.console.screen import LEAST_WIDTH, listing, screen, summary
from agent.core.console.table import safe
from agent.core.objects import ObjectKey, split_api_version
from agent.core.rollout.ledger import LedgerEntry, entries_of
from agent.core.rollout.status import Phase
from agent.errors import ConfigurationError, OperationError

_EVERY = 1.0
"""Seconds between two looks."""
_UP, _CLEAR_LINE, _CLEAR_BELOW, _HIDE, _SHOW = "\x1b[{}A", "\x1b[K", "\x1b[J", "\x1b[?25l", "\x1b[?25h"


async def status(session: Session, chosen: argparse.Namespace) -> int:
    """Where one rollout stands, or all; returns the exit status."""
    if not chosen.name:
        if chosen.watch:
            raise ConfigurationError("--watch follows one rollout: name it")
        return await _all(session, chosen)
    namespace, name = named(session, chosen.name, chosen.namespace)
    if chosen.watch:
        return await _watch(session, namespace, name, chosen)
    found = await session.rollout(namespace, name)
    if chosen.output == "json":
        output.document(found)
    else:
        said = await session.events(namespace, name)
        output.lines(screen(found, said, datetime.now(UTC), paint=output.paint(), width=_width()))
    return exit_of(found)


async def explain(session: Session, chosen: argparse.Namespace) -> int:
    """Why it went as it did."""
    found = await session.rollout(*named(session, chosen.name, chosen.namespace))
    if chosen.output == "json":
        output.document(found)
    else:
        output.lines(explanation(found, output.paint()))
    return 0


async def past(session: Session, chosen: argparse.Namespace) -> int:
    """Finished runs."""
    namespace, name = named(session, chosen.name, chosen.namespace)
    stored = await session.canary(namespace, name)
    try:
        runs, unasked = await session.runs(namespace, name), ""
    except NoAnswerError as error:
        runs, unasked = kept_runs(decoded(stored)), error.message
        if not runs:
            raise
    if chosen.output == "json":
        output.document(runs)
    elif runs:
        output.lines(history(runs, datetime.now(UTC)))
        output.lines([f"These are the runs that the Canary keeps: {safe(unasked)}"] if unasked else ())
    else:
        output.lines([f"no run of {namespace}/{name} has ended, as far as is known"])
    return 0


async def ledger(session: Session, chosen: argparse.Namespace) -> int:
    """Which model answered when, or at one time. Raises OperationError for a time that is not covered."""
    namespace, name = named(session, chosen.name, chosen.namespace)
    stored = await session.canary(namespace, name)
    entries = entries_of(f"{namespace}/{name}", stored["metadata"].get("annotations") or {})
    try:
        seen, unasked = await brought(session, namespace), ""
    except NoAnswerError as error:
        seen, unasked = [], error.message
    found = answered(entries, _target(decoded(stored)), seen, chosen.at)
    if chosen.at is not None and not found:
        raise OperationError(_not_covered(entries, f"{namespace}/{name}", chosen.at))
    if chosen.output == "json":
        output.document(found)
    elif found:
        output.lines(answered_table(found, chosen.at, output.paint()))
        output.lines([f"The commits are not known here: {safe(unasked)}"] if unasked else ())
    else:
        output.lines([f"the ledger of {namespace}/{name} is empty: it begins with the first run that Weir sees"])
    return 0


def _target(canary: Canary) -> ObjectKey:
    target = canary.spec.target_ref
    return ObjectKey(split_api_version(target.api_version)[0], target.kind, canary.namespace, target.name)


def _not_covered(entries: Sequence[LedgerEntry], canary: str, at: datetime) -> str:
    begin = begins(entries)
    known = f"begins at {written(begin)}" if begin is not None else "is empty"
    return f"what answered at {written(at)} is not known: the ledger of {canary} {known}"


def exit_of(found: Rollout) -> int:
    """0 where the last run was good, or there was none; otherwise see `agent.console.command`."""
    if found.phase == Phase.FAILED:
        return EXIT_FAILED
    return EXIT_OPEN if found.running or not found.phase else 0


async def _all(session: Session, chosen: argparse.Namespace) -> int:
    found = await session.rollouts(None if chosen.all_namespaces else session.namespace)
    if chosen.output == "json":
        output.document(found)
    elif found:
        output.lines(listing(found, datetime.now(UTC)))
    else:
        where = "the cluster" if chosen.all_namespaces else f"namespace {session.namespace}"
        output.lines([f"no Canary in {where}"])
    return 0


async def _watch(session: Session, namespace: str, name: str, chosen: argparse.Namespace) -> int:
    """Follow the run: a picture that renews itself on a terminal, else a line (or JSON) for each change."""
    deadline = time.monotonic() + chosen.timeout if chosen.timeout else None
    picture = _Picture() if sys.stdout.isatty() and chosen.output == "text" else None
    last = ""
    try:
        while True:
            found = await session.rollout(namespace, name)
            if picture is not None:
                said = await session.events(namespace, name)
                picture.draw(tuple(screen(found, said, datetime.now(UTC), paint=output.paint(), width=_width())))
            elif (line := _line(found, chosen.output)) != last:
                last = line
                output.lines([line])
            if _over(found) or (deadline is not None and time.monotonic() + _EVERY > deadline):
                return exit_of(found)
            await asyncio.sleep(_EVERY)
    finally:
        if picture is not None:
            picture.close()


def _over(found: Rollout) -> bool:
    return bool(found.phase) and not found.running


def _line(found: Rollout, form: str) -> str:
    if form == "text":
        return summary(found)
    # Without what moves by itself, so that a line means news.
    return msgspec.json.encode(msgspec.structs.replace(found, judgements=None)).decode()


class _Picture:
    """Lines that are drawn over the ones before, without flicker."""

    def __init__(self) -> None:
        self._height = 0
        sys.stdout.write(_HIDE)

    def draw(self, lines: Sequence[str]) -> None:
        lines = lines[: max(shutil.get_terminal_size().lines - 1, 1)]
        start = _UP.format(self._height) if self._height else ""
        text = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        sys.stdout.write(f"\r{start}{text}{_CLEAR_BELOW}")
        sys.stdout.flush()
        self._height = len(lines)

    def close(self) -> None:
        """Leave the last picture where it is."""
        sys.stdout.write(_SHOW)
        sys.stdout.flush()


def _width() -> int:
    return max(shutil.get_terminal_size((100, 24)).columns, LEAST_WIDTH)
