"""Whether the gate of a rule lets a change pass: the run of its DataTrigger for the very content has succeeded."""

from __future__ import annotations

from agent.api.datatrigger import DataTrigger
from agent.core.models import ChangeRecord
from agent.core.trigger.gate import run_for

_WORDS = {
    "Pending": "is about to start",
    "Running": "is going on",
    "Failed": "has failed",
    "Replaced": "was replaced by one for newer content",
    "Lost": "was deleted by somebody",
}


def unmet(trigger: DataTrigger | None, name: str, record: ChangeRecord) -> str:
    """Why the change does not pass; empty if it does. What leaves, and no content comes in its place, passes.

    A run whose report says anything but ``pass`` has not succeeded.
    """
    if trigger is None:
        return f"DataTrigger {name} is not there"
    if record.new is None:
        return ""
    run = run_for(trigger.status.runs, record.new)
    if run is None:
        return f"DataTrigger {name} has no run for it yet"
    said = f": {run.message}" if run.message else ""
    if run.state != "Succeeded":
        return f"run {run.name} of DataTrigger {name} {_WORDS[run.state]}{said}"
    if run.verdict not in {None, "", "pass"}:
        return f"the report of run {run.name} of DataTrigger {name} says {run.verdict}{said}"
    return ""


def is_same(old: DataTrigger, new: DataTrigger) -> bool:
    """Whether gates stand as they did. What a run tells of its progress opens and shuts none."""
    return _stand(old) == _stand(new)


def _stand(trigger: DataTrigger) -> tuple[object, ...]:
    return tuple((run.name, run.reference, run.data, run.state, run.verdict) for run in trigger.status.runs)
