"""`promote`, `abort`, `retry`, `pause`, `resume`: write it on the Canary, wait for the agent's answer.

The annotations are those of `agent.core.rollout.commands`. They are written under a field manager of their own: what
`kubectl` writes on an object that Git applies is taken over by the applier, and goes with its next apply.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.adapters.kube.resource import CANARIES
from agent.console import output
from agent.console.command import EXIT_FAILED, EXIT_OPEN
from agent.console.session import Session, named, status_of
from agent.core.console.table import safe
from agent.core.rollout.commands import COMMAND, DONE, HANDLED, OUTCOME, PAUSED, Verb, held, hold, hold_told, written

FIELD_MANAGER = "weir-cli"
_PAUSE = 0.5
"""Seconds between two looks."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `-o json` prints: `outcome` is done, refused or open."""

    namespace: str
    name: str
    action: str
    outcome: str
    message: str
    phase: str


async def act(session: Session, chosen: argparse.Namespace) -> int:
    """Ask for it and report the answer; returns the exit status."""
    namespace, name = named(session, chosen.name, chosen.namespace)
    stored = await session.canary(namespace, name)
    ask = _hold if chosen.action in {"pause", "resume"} else _command
    outcome, message = await ask(session, chosen, stored)
    phase = str((stored.get("status") or {}).get("phase") or "")
    if outcome != "refused":
        phase = str(((await session.canary(namespace, name)).get("status") or {}).get("phase") or "")
    answer = Answer(namespace=namespace, name=name, action=chosen.action, outcome=outcome, message=message, phase=phase)
    if chosen.output == "json":
        output.document(answer)
    else:
        output.lines([f"{namespace}/{name}: {outcome}: {safe(message)}"])
    return {DONE: 0, "open": EXIT_OPEN}.get(outcome, EXIT_FAILED)


async def _command(session: Session, chosen: argparse.Namespace, stored: dict[str, Any]) -> tuple[str, str]:
    status = status_of(stored)
    if (stored.get("spec") or {}).get("suspend"):
        return "refused", "spec.suspend is true, so nothing is acted upon: take it back where the Canary comes from"
    verb = Verb.PROMOTE_FULL if chosen.action == "promote" and chosen.full else Verb(chosen.action)
    # While a run waits to begin, the status still speaks of the one before it.
    revision = "" if status.awaiting_start else status.last_applied_spec
    text = written(verb, at=_now(), by=await session.user(), revision=revision, reason=chosen.reason)
    await _annotate(session, stored, COMMAND, text)

    async def answered(found: dict[str, Any]) -> tuple[str, str] | None:
        annotations = found["metadata"].get("annotations") or {}
        if annotations.get(HANDLED) == text:
            outcome, _, message = str(annotations.get(OUTCOME, "")).partition(": ")
            return outcome, f"{message}{_still_paused(annotations)}"
        if annotations.get(COMMAND) != text:
            return "refused", "somebody asked for something else meanwhile"
        return None

    return await _answer(session, stored, answered, chosen.timeout)


def _still_paused(annotations: dict[str, str]) -> str:
    held_by = hold(annotations)
    return f" ({held_by.text}; weir rollout resume ends that)" if held_by is not None else ""


async def _hold(session: Session, chosen: argparse.Namespace, stored: dict[str, Any]) -> tuple[str, str]:
    before = hold(stored["metadata"].get("annotations") or {})
    if chosen.action == "resume" and before is None:
        return DONE, "it was not paused"
    if chosen.action == "pause" and before is not None:
        return DONE, f"it was {before.text} already"
    text = held(at=_now(), by=await session.user(), reason=chosen.reason) if chosen.action == "pause" else None
    await _annotate(session, stored, PAUSED, text)
    if not status_of(stored).analysing:
        return DONE, "no run will begin until it is resumed" if text else "resumed"

    async def answered(found: dict[str, Any]) -> tuple[str, str] | None:
        status = status_of(found)
        if not status.analysing or bool(hold_told(status)) == bool(text):
            return DONE, f"held at {status.canary_weight}% of the traffic" if text else "resumed"
        return None

    return await _answer(session, stored, answered, chosen.timeout)


async def _annotate(session: Session, stored: dict[str, Any], annotation: str, value: str | None) -> None:
    metadata = stored["metadata"]
    patch = {"metadata": {"annotations": {annotation: value}}}
    await session.client.merge_patch(
        CANARIES, metadata["namespace"], metadata["name"], patch, field_manager=FIELD_MANAGER
    )


async def _answer(
    session: Session,
    stored: dict[str, Any],
    answered: Callable[[dict[str, Any]], Awaitable[tuple[str, str] | None]],
    timeout: float,
) -> tuple[str, str]:
    metadata, deadline = stored["metadata"], time.monotonic() + timeout
    while timeout:
        found = await session.canary(metadata["namespace"], metadata["name"])
        answer = await answered(found)
        if answer is not None:
            return answer
        if time.monotonic() + _PAUSE > deadline:
            return "open", f"the agent has not acted within {timeout:g}s; it will, when it can"
        await asyncio.sleep(_PAUSE)
    return "open", "asked for"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
