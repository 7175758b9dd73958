"""What a pass over a DataTrigger found, as conditions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from agent.api.datatrigger import DataTrigger, DataTriggerStatus, TriggerRun
from agent.api.meta import Condition
from agent.core import conditions as c
from agent.core.trigger.deciding import ACTIVE

INVALID = "InvalidSpec"
_NAMED = 3


def stalled(trigger: DataTrigger, message: str, now: datetime, reason: str = INVALID) -> DataTriggerStatus:
    """The spec is wrong: nothing is started until it changes."""
    new = [c.true(c.STALLED, reason, message), c.false(c.READY, reason, message)]
    return _folded(trigger, trigger.status, new, (c.RECONCILING,), now)


def blocked(
    trigger: DataTrigger, status: DataTriggerStatus, reason: str, message: str, now: datetime
) -> DataTriggerStatus:
    """Runs cannot be created for now; `reason` is the API's word for why."""
    new = [
        c.false(c.READY, reason, message),
        c.true(c.RECONCILING, c.PROGRESSING_WITH_RETRY, message),
        *_health(status),
    ]
    return _folded(trigger, status, new, (c.STALLED,), now)


def working(
    trigger: DataTrigger, status: DataTriggerStatus, now: datetime, *, settling: bool, waiting: int
) -> DataTriggerStatus:
    """Runs can be created: how many references are watched, and what goes on."""
    new = [c.true(c.READY, c.SUCCEEDED, _summary(trigger, status, waiting)), *_health(status)]
    if settling:
        new.append(c.true(c.RECONCILING, c.PROGRESSING, f"new data has to stay the same for {trigger.spec.settle_for}"))
    return _folded(trigger, status, new, (c.STALLED,) if settling else (c.STALLED, c.RECONCILING), now)


def _folded(
    trigger: DataTrigger,
    status: DataTriggerStatus,
    new: Sequence[Condition],
    remove: tuple[str, ...],
    now: datetime,
) -> DataTriggerStatus:
    generation = trigger.metadata.generation
    kept = {condition.type for condition in new}
    gone = tuple(kind for kind in (*remove, c.HEALTHY) if kind not in kept)
    merged = c.merged(status.conditions, new, remove=gone, generation=generation, now=now.replace(microsecond=0))
    requested = trigger.requested_at
    return replace(
        status,
        conditions=merged,
        observed_generation=generation,
        last_handled_reconcile_at=requested or status.last_handled_reconcile_at,
    )


def _summary(trigger: DataTrigger, status: DataTriggerStatus, waiting: int) -> str:
    count = len(status.slots)
    parts = [f"watches {count} reference{'' if count == 1 else 's'}"]
    running = [run for run in status.runs if run.state == "Running"]
    if running:
        parts.append(f"running: {', '.join(f'{run.kind} {run.name}' for run in running[:_NAMED])}")
    queued = sum(run.state == "Pending" for run in status.runs)
    if queued:
        parts.append(f"{queued} to be run in turn")
    if waiting:
        parts.append(f"{waiting} with newer data that waits")
    if trigger.spec.suspend:
        parts.append("suspended")
    return "; ".join(parts)


def _health(status: DataTriggerStatus) -> list[Condition]:
    """Whether the last run for what each slot refers to was good; nothing where none has ended."""
    wanted = {slot.run for slot in status.slots}
    ended = [run for run in status.runs if run.name in wanted and run.state not in ACTIVE]
    bad = [run for run in ended if run.state != "Succeeded"]
    if bad:
        return [c.false(c.HEALTHY, "RunFailed", "; ".join(describe(run) for run in bad[:_NAMED]))]
    return [c.true(c.HEALTHY, c.SUCCEEDED, describe(ended[-1]))] if ended else []


def describe(run: TriggerRun) -> str:
    """One line for events and conditions."""
    said = f": {run.message}" if run.message else ""
    return f"{run.kind} {run.name} for {run.data[:100]} {_WORDS[run.state]}{said}"


_WORDS = {
    "Pending": "is about to be created",
    "Running": "is running",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Replaced": "was taken back",
    "Lost": "is gone",
}
