"""A DataTrigger as a gate: a revision waits for the runs of the data that it names, and goes as they went.

A gate binds to content. So the data is what the target itself names (a data reference of its manifest, or the
annotations `weir.dev/data-digest` and `weir.dev/data-ref.NAME`), and a run counts for the very same digest or canonical
form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.core.models import Ref, RenderedSet
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context
from agent.core.objects import key_of
from agent.core.rollout.gates import Gate, Observed
from agent.core.rollout.reports import Answer, Report
from agent.core.trigger.deciding import ACTIVE
from agent.core.trigger.selection import Place, object_name, selected
from agent.core.trigger.status import describe

_REMEDY = "name it with the annotation weir.dev/data-digest or weir.dev/data-ref.NAME"


def data_places(objects: Sequence[dict[str, Any]]) -> list[Place]:
    """The references of a workload, which comes first, with the configs that it uses."""
    if not objects:
        return []
    rendered, key = RenderedSet(objects), key_of(objects[0])
    found = rendered.get(*key)
    if found is None:
        return []
    shown = object_name(key.kind, key.namespace, key.name)
    slots = extract(found, Context(key.namespace, rendered)).slots.values()
    return [Place(shown, slot.name, slot.kind, slot.ref) for slot in slots if "ignored" not in slot.traits]


def awaited(gate: Gate, trigger: DataTrigger | None, namespace: str, places: Iterable[Place]) -> Observed:
    """How the runs for the data at `places` stand; `trigger` is None where there is none of the gate's name."""
    if trigger is None:
        return Observed(gate=gate.name, note=f"there is no DataTrigger {gate.source} in namespace {namespace}")
    refs = [place.ref for place in selected(trigger, places) if place.ref is not None]
    if not refs:
        note = f"the target names no data that DataTrigger {gate.source} watches: {_REMEDY}"
        return Observed(gate=gate.name, note=note)
    found = [_one(gate, trigger, ref) for ref in refs]
    for holds in (_failed, _unknown, _running):
        if those := [one for one in found if holds(one)]:
            return those[0]
    metrics = {name: value for one in found if one.report is not None for name, value in one.report.metrics.items()}
    verdicts = {one.report.verdict for one in found if one.report is not None}
    # a run that has ended well is a verdict by itself, whatever numbers it leaves
    verdict = Answer.UNKNOWN if Answer.UNKNOWN in verdicts else Answer.PASS
    reasons = [one.report.reason for one in found if one.report is not None and one.report.reason]
    ends = [one.report.at for one in found if one.report is not None and one.report.at is not None]
    report = Report(metrics=metrics, verdict=verdict, reason="; ".join(reasons), at=min(ends, default=None))
    return Observed(gate=gate.name, completed=True, report=report)


def _one(gate: Gate, trigger: DataTrigger, ref: Ref) -> Observed:
    waiting = [slot.pending for slot in trigger.status.slots if slot.pending is not None]
    run = run_for(trigger.status.runs, ref)
    if run is not None and not any(_means(newer.reference, newer.digest, ref) for newer in waiting):
        return _of_run(gate, run)
    if run is None and is_noted(trigger, ref):
        return Observed(gate=gate.name, completed=True)  # it was there before the trigger: nothing has to be run
    note = f"DataTrigger {gate.source} has not run {ref.canonical[:120]} yet"
    return Observed(gate=gate.name, running=True, note=f"{note}: it is suspended" if trigger.spec.suspend else note)


def _of_run(gate: Gate, run: TriggerRun) -> Observed:
    if run.state in ACTIVE:
        return Observed(gate=gate.name, running=True, note=f"{run.kind} {run.name} is running")
    if run.state not in {"Succeeded", "Failed"}:
        return Observed(gate=gate.name, note=describe(run))
    verdict = Answer(run.verdict) if run.verdict else None
    report = Report(metrics=run.metrics or {}, verdict=verdict, reason=run.message or "", at=run.finished)
    if run.state == "Failed":
        return Observed(gate=gate.name, failed=True, report=report, note=f"{run.kind} {run.name} failed")
    return Observed(gate=gate.name, completed=True, report=report)


def run_for(runs: Iterable[TriggerRun], ref: Ref) -> TriggerRun | None:
    """The last run for what a reference means."""
    return next((run for run in reversed(tuple(runs)) if _means(run.reference, run.data, ref)), None)


def is_noted(trigger: DataTrigger, ref: Ref) -> bool:
    """Whether what a reference means is nothing new to the trigger: a slot has been dealt with as having it."""
    return any(_means(slot.reference, slot.digest, ref) for slot in trigger.status.slots)


def _means(reference: str | None, digest: str | None, ref: Ref) -> bool:
    """By digest where the target's text has one; its text counts only where it fixes the content, or nothing else is
    known."""
    if ref.digest is not None and digest == str(ref.digest):
        return True
    return reference == ref.canonical and (ref.digest is None or digest in {None, reference})


def _failed(one: Observed) -> bool:
    return one.failed


def _running(one: Observed) -> bool:
    return one.running


def _unknown(one: Observed) -> bool:
    return not (one.failed or one.running or one.completed)
