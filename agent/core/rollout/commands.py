"""What a person asks of a rollout, as annotations on its Canary: who may change the Canary may command its rollout.

    weir.dev/command: abort at=2026-11-29T10:00:00.000000Z by=jane revision=v2:0123456789abcdef reason=errors in chat
    weir.dev/paused:  at=2026-11-29T10:00:00.000000Z by=jane reason=looking at traces

A command is one verb with pairs behind it; all of them may be missing, and `reason`, the last one, goes on to the end.
Each command acts once: the agent copies the whole value to `weir.dev/command-handled` when it is done, so a new one has
to differ, which `at` is for. A pause is a state: it holds for as long as the annotation is there.

`by` is what the writer says of itself. Who it really was is in the audit log of the API server.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.core.rollout.status import BLOCKED, Status

COMMAND = "weir.dev/command"
HANDLED = "weir.dev/command-handled"
OUTCOME = "weir.dev/command-outcome"
"""`done` or `refused`, a colon, and a sentence."""
PAUSED = "weir.dev/paused"
DONE, REFUSED = "done", "refused"

LONGEST = 200
"""Characters of a reason that are repeated in events and statuses."""
HELD = "Paused"
"""Reason of the condition Blocked while a rollout is paused."""
_REASON = "reason="


class Verb(enum.StrEnum):
    """What can be asked for once."""

    PROMOTE = "promote"
    """Approve what the rollout waits for, once."""
    PROMOTE_FULL = "promote-full"
    """Leave out the rest of the analysis."""
    ABORT = "abort"
    RETRY = "retry"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `verb` is None if nobody knows the word; `text` is the annotation's value, which acknowledges it.

    `revision` is the hash that was on trial when it was asked for: a command is not carried over to another one.
    """

    text: str
    verb: Verb | None
    revision: str = ""
    by: str = ""
    reason: str = ""

    @property
    def who(self) -> str:
        return self.by or "Somebody"

    @property
    def because(self) -> str:
        """`: <reason>`, or nothing."""
        return f": {self.reason}" if self.reason else ""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout is not to move on."""

    by: str = ""
    since: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """For people, and the same for the same annotation."""
        since = f" at {self.since}" if self.since else ""
        because = f": {self.reason}" if self.reason else ""
        return f"paused by {self.by or 'somebody'}{since}{because}"


def pending(annotations: Mapping[str, Any]) -> Command | None:
    """The command that waits to be carried out."""
    text = str(annotations.get(COMMAND) or "")
    if not text.strip() or text == annotations.get(HANDLED):
        return None
    word, _, rest = text.strip().partition(" ")
    pairs = _pairs(rest)
    return Command(
        text=text,
        verb=next((verb for verb in Verb if verb == word), None),
        revision=pairs.get("revision", ""),
        by=pairs.get("by", ""),
        reason=pairs.get("reason", ""),
    )


def hold(annotations: Mapping[str, Any]) -> Hold | None:
    """Whether the rollout is held, and by whom. An annotation that is empty or `false` holds nothing."""
    text = str(annotations.get(PAUSED) or "").strip()
    if text in {"", "false"}:
        return None
    pairs = _pairs(text)
    return Hold(by=pairs.get("by", ""), since=pairs.get("at", ""), reason=pairs.get("reason", ""))


def hold_told(status: Status) -> str:
    """How the status says that the rollout is held, "" if it does not."""
    blocked = status.condition(BLOCKED)
    return blocked.message if blocked is not None and blocked.reason == HELD else ""


def written(verb: Verb, *, at: str, by: str = "", revision: str = "", reason: str = "") -> str:
    """The annotation's value for a command."""
    return f"{verb.value} {_written(at=at, by=by, revision=revision, reason=reason)}"


def held(*, at: str, by: str = "", reason: str = "") -> str:
    """The annotation's value for a pause."""
    return _written(at=at, by=by, reason=reason)


def _written(**pairs: str) -> str:
    # A value with a space in it would be cut there; only the last pair may have some.
    plain = {name: value if name == "reason" else "_".join(value.split()) for name, value in pairs.items()}
    return " ".join(f"{name}={' '.join(value.split())}" for name, value in plain.items() if value)


def _pairs(text: str) -> dict[str, str]:
    head, mark, reason = f" {text}".partition(f" {_REASON}")
    pairs = dict(part.split("=", 1) for part in head.split() if "=" in part)
    if mark:
        pairs["reason"] = reason
    return {name: _bounded(value) for name, value in pairs.items()}


def _bounded(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
