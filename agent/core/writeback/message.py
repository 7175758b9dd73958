"""What the commit says that puts a reference back, and how it is known again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.core.rollout.quarantine import Rejected, one_line

_SUBJECT = 72
_NAME = re.compile(r"[^A-Za-z0-9-]+")
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")
CANARY = "Weir-Canary"
REVISION = "Weir-Revision"


def commit_message(canary: str, target: str, entries: Sequence[Rejected], source_revision: str) -> str:
    """Subject, verdict and trailers. `canary` is `namespace/name`, `target` the workload's name."""
    first = entries[0]
    subject = f"Put back {_tail(first.restore)} on {target}"
    if len(entries) > 1:
        subject = f"Put back {len(entries)} references on {target}"
    lines = [_cut(subject, _SUBJECT), "", f"The rollout of {target} rejected what Git asks for:"]
    lines += [f"- {entry.slot}: {one_line(entry.rejected)}" for entry in entries]
    if first.verdict:
        lines += ["", one_line(first.verdict)]
    lines += ["", f"{CANARY}: {canary}", f"{REVISION}: {first.revision}"]
    for entry in entries:
        lines += [
            f"Weir-Slot: {one_line(entry.slot)}",
            f"Weir-Rejected: {one_line(entry.rejected)}",
            f"Weir-Restored: {one_line(entry.restore)}",
        ]
    if first.verdict:
        lines.append(f"Weir-Verdict: {one_line(first.verdict)}")
    if source_revision:
        lines.append(f"Weir-Rejected-Commit: {one_line(source_revision)}")
    return "\n".join(lines) + "\n"


def is_own(message: str, canary: str, revision: str) -> bool:
    """Whether a commit is the one that put this revision back."""
    lines = message.splitlines()
    return f"{CANARY}: {canary}" in lines and f"{REVISION}: {revision}" in lines


def branch_for(namespace: str, name: str, revision: str) -> str:
    """The branch of a pull request: the same for the same rejection, so that it is opened once."""
    plain = [_NAME.sub("-", part).strip("-") for part in (namespace, name, revision)]
    return f"weir/put-back/{'-'.join(plain)}"


def _tail(text: str) -> str:
    """A reference as it fits into a subject: hashes short, as Git shows them. The trailers have all of it."""
    text = _HASH.sub(r"\1", text)
    return text if len(text) <= 48 else "…" + text[-47:]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
