"""Which runs begin, which are taken back, and which objects are cleared away."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from agent.api.datatrigger import DataTrigger, DataTriggerStatus, PendingData, TriggerRun, TriggerSlot
from agent.core.trigger.sighting import data_of, pendings, place_name
from agent.core.trigger.template import TRAIN_JOB

ACTIVE = frozenset({"Pending", "Running"})
LEDGER = 100
"""Finished runs that are remembered; the data of older ones would be run once more if somebody went back to it."""
PLACES = 10
"""Places that a run names; a status has room for no more."""
_HEAD, _MARK = 35, 12
"""Characters of a run's name."""
_TRAINING_HEAD = 20
"""The same of a TrainJob: JobSet refuses one whose Pods' names had more than 63, and those of a dataset initializer are
thirty longer than its own. The TrainJob would be there, and never begin."""


class Decision(NamedTuple):
    """The status with the runs that begin as Pending; the places of those; seconds until the next data has settled."""

    status: DataTriggerStatus
    settling: float | None = None
    waiting: int = 0
    """Slots whose data waits for another run."""


def decide(trigger: DataTrigger, status: DataTriggerStatus, now: datetime, absent: Collection[str] = ()) -> Decision:
    """What begins now. `absent` are the Pending runs whose objects are known not to exist."""
    status = _withdrawn(status, absent)
    if trigger.spec.suspend:
        return Decision(_trimmed(status), waiting=sum(slot.pending is not None for slot in status.slots))
    settle, soonest = trigger.settle_for, None
    ready: dict[str, list[tuple[TriggerSlot, PendingData]]] = {}
    for slot, pending in pendings(status):
        left = settle - (now - pending.since).total_seconds()
        if left > 0:
            soonest = left if soonest is None else min(soonest, left)
            continue
        ready.setdefault(data_of(pending.reference, pending.digest), []).append((slot, pending))
    waiting = 0
    for data, places in ready.items():
        earlier = _run_for(status.runs, data)
        busy = any(run.state in ACTIVE for run in status.runs)
        if earlier is None and busy and trigger.spec.concurrency_policy == "Forbid":
            waiting += len(places)
            continue
        if earlier is None:
            earlier = begun(trigger, status.runs, data, places)
            status = replace(status, runs=(*status.runs, earlier))
        status = _dealt_with(status, places, earlier)
    if trigger.spec.concurrency_policy == "Replace":
        status = _replaced(status, now)
    return Decision(_trimmed(status), soonest, waiting)


def once_more(trigger: DataTrigger, status: DataTriggerStatus, asked: str) -> DataTriggerStatus:
    """A person asks: what every slot refers to is run again, if nothing runs that would be in the way.

    All of these runs are Pending, and `may_begin` says which of them begin. `asked` is remembered, so that it is
    followed once.
    """
    if trigger.spec.suspend or any(run.state in ACTIVE for run in status.runs):
        return status
    groups: dict[str, list[tuple[TriggerSlot, PendingData]]] = {}
    for slot in status.slots:
        if slot.reference is not None and slot.pending is None:
            groups.setdefault(data_of(slot.reference, slot.digest), []).append((slot, _again(slot)))
    for data, places in groups.items():
        before = _run_for(status.runs, data)
        run = begun(trigger, status.runs, data, places)
        if before is not None:
            run = replace(
                run,
                old_reference=before.old_reference,
                old_digest=before.old_digest,
                old_revision=before.old_revision,
                spelling=before.spelling,
            )
        else:
            run = replace(run, old_reference=None, old_digest=None, old_revision=None)
        status = _dealt_with(replace(status, runs=(*status.runs, run)), places, run)
    return replace(status, last_handled_rerun=asked)


def begun(
    trigger: DataTrigger, runs: Sequence[TriggerRun], data: str, places: Sequence[tuple[TriggerSlot, PendingData]]
) -> TriggerRun:
    """The run for some data. Its name is the same whoever asks, and however often."""
    slot, pending = places[0]
    return TriggerRun(
        name=_free_name(trigger, runs, data),
        kind=str(trigger.spec.template.get("kind") or ""),
        data=data,
        state="Pending",
        slots=tuple(place_name(slot) for slot, _ in places[:PLACES]),
        reference=pending.reference,
        spelling=pending.spelling,
        old_reference=slot.reference,
        old_digest=slot.digest,
        revision=pending.revision,
        old_revision=slot.revision,
    )


def run_name(trigger: DataTrigger, data: str, attempt: int = 0) -> str:
    """A name that every kind of run may have; another trigger of this name, made anew, gives others."""
    mark = hashlib.sha256(f"{trigger.metadata.uid}/{attempt}/{data}".encode()).hexdigest()[:_MARK]
    length = _TRAINING_HEAD if trigger.spec.template.get("kind") == TRAIN_JOB.kind else _HEAD
    head = re.sub(r"[^a-z0-9-]", "-", trigger.name.lower()).strip("-")
    head = head if head[:1].isalpha() else f"run-{head}"
    return f"{head[:length].strip('-')}-{mark}"


def may_begin(trigger: DataTrigger, status: DataTriggerStatus, run: TriggerRun) -> bool:
    """Whether a run is to be created now. Under Forbid those that are Pending take turns, the oldest first."""
    if run.state != "Pending" or trigger.spec.suspend:
        return False
    if trigger.spec.concurrency_policy != "Forbid":
        return True
    turn = min((one for one in status.runs if one.state in ACTIVE), key=lambda one: one.state == "Pending")
    return turn.name == run.name


def cleared(trigger: DataTrigger, status: DataTriggerStatus) -> list[TriggerRun]:
    """Runs whose objects are to be deleted: those taken back, and finished ones beyond the history limits."""
    spec = trigger.spec
    kept = {True: spec.successful_runs_history_limit, False: spec.failed_runs_history_limit}
    gone = [run for run in status.runs if run.state == "Replaced" and not run.removed]
    for good in (True, False):
        states = {"Succeeded"} if good else {"Failed"}
        done = [run for run in status.runs if run.state in states and not run.removed]
        gone += done[: max(len(done) - kept[good], 0)]
    return gone


def with_run(status: DataTriggerStatus, changed: TriggerRun) -> DataTriggerStatus:
    """The status with a run as it is now."""
    return replace(status, runs=tuple(changed if run.name == changed.name else run for run in status.runs))


def _free_name(trigger: DataTrigger, runs: Sequence[TriggerRun], data: str) -> str:
    """A name that no remembered run has: of the runs that the data has had, the ledger may have dropped some."""
    taken = {run.name for run in runs}
    attempts = count(sum(run.data == data for run in runs))
    return next(name for name in (run_name(trigger, data, attempt) for attempt in attempts) if name not in taken)


def _run_for(runs: Iterable[TriggerRun], data: str) -> TriggerRun | None:
    """The last run that the data has had, or has. One that was taken back has not been run."""
    return next((run for run in reversed(tuple(runs)) if run.data == data and run.state != "Replaced"), None)


def _again(slot: TriggerSlot) -> PendingData:
    return PendingData(
        reference=slot.reference or "",
        digest=slot.digest,
        validator=slot.validator,
        revision=slot.revision,
        since=datetime.fromtimestamp(0, UTC),
    )


def _dealt_with(
    status: DataTriggerStatus, places: Sequence[tuple[TriggerSlot, PendingData]], run: TriggerRun
) -> DataTriggerStatus:
    done = {
        id(slot): replace(
            slot,
            reference=pending.reference,
            digest=pending.digest,
            validator=pending.validator,
            revision=pending.revision,
            run=run.name,
            pending=None,
        )
        for slot, pending in places
    }
    return replace(status, slots=tuple(done.get(id(slot), slot) for slot in status.slots))


def _withdrawn(status: DataTriggerStatus, absent: Collection[str]) -> DataTriggerStatus:
    """Without the runs that could not be created and that nothing asks for any more."""
    wanted = {slot.run for slot in status.slots if slot.pending is None}
    gone = {run.name for run in status.runs if run.state == "Pending" and run.name in absent and run.name not in wanted}
    if not gone:
        return status
    slots = tuple(replace(slot, run=None) if slot.run in gone else slot for slot in status.slots)
    return replace(status, slots=slots, runs=tuple(run for run in status.runs if run.name not in gone))


def _replaced(status: DataTriggerStatus, now: datetime) -> DataTriggerStatus:
    wanted = {slot.run for slot in status.slots}
    return replace(
        status,
        runs=tuple(
            replace(
                run,
                state="Replaced",
                finished=now.replace(microsecond=0),
                message="nothing refers to its data any more",
            )
            if run.state in ACTIVE and run.name not in wanted
            else run
            for run in status.runs
        ),
    )


def _trimmed(status: DataTriggerStatus) -> DataTriggerStatus:
    """No more runs than a status should hold; those that go on, exist or are the last of a slot always stay."""
    wanted = {slot.run for slot in status.slots}
    excess = len(status.runs) - LEDGER
    kept = []
    for run in status.runs:
        gone = run.removed or run.state == "Lost"
        if excess > 0 and gone and run.name not in wanted:
            excess -= 1
            continue
        kept.append(run)
    return replace(status, runs=tuple(kept)) if len(kept) != len(status.runs) else status
