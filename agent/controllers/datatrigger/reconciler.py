"""One pass over one DataTrigger: follow the runs, look at the data, decide, write it down, start and clear away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from agent.adapters.kube.errors import NotFound
from agent.api.datatrigger import DataTrigger, DataTriggerStatus, TriggerRun
from agent.controllers.datatrigger.looking import Lookout
from agent.controllers.datatrigger.runs import Problem, Runs, unsettled
from agent.controllers.fresh import Fresh
from agent.controllers.statuses import StaleViewError, StatusWriter
from agent.core import conditions as c
from agent.core.trigger import template
from agent.core.trigger.deciding import Decision, cleared, decide, may_begin, once_more, with_run
from agent.core.trigger.pacing import next_look
from agent.core.trigger.selection import duration_fault, selector_fault
from agent.core.trigger.sighting import TooManyError, looked
from agent.core.trigger.status import blocked, describe, stalled, working
from agent.errors import ConfigurationError
from agent.runtime.controller import Done, RequeueAfter, Result
from agent.telemetry.events import EventRecorder, EventType, reference_to
from agent.telemetry.logging import named
from agent.telemetry.metrics import Metrics

Key = tuple[str, str]
COMPONENT = "weir"
MANAGER = "weir"
RERUN = "weir.dev/rerun"
_EVENTS: dict[str, tuple[EventType, str]] = {
    "Running": ("Normal", "RunStarted"),
    "Succeeded": ("Normal", "RunSucceeded"),
    "Failed": ("Warning", "RunFailed"),
    "Replaced": ("Normal", "RunReplaced"),
    "Lost": ("Warning", "RunLost"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerParts:
    """What a pass works with."""

    objects: Fresh[DataTrigger]
    lookout: Lookout
    runs: Runs
    status: StatusWriter[DataTrigger]
    events: EventRecorder
    metrics: Metrics
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class DataTriggerReconciler:
    """`reconcile` is the pass for `agent.runtime.controller.Controller`."""

    def __init__(self, parts: TriggerParts) -> None:
        self._parts = parts

    async def reconcile(self, key: Key) -> Result:
        """One pass. What is wrong with the trigger is in its status; raises ApiError where the server is silent."""
        trigger = self._parts.objects.get(*key)
        if trigger is None or trigger.is_deleting:
            self._parts.lookout.forget(key)
            return Done()  # its runs belong to it and go with it
        written = False
        try:
            result = await self._pass(trigger)
            written = True
        except NotFound:
            return Done()  # deleted while we looked at it
        except StaleViewError as error:
            return RequeueAfter(error.after)
        finally:
            if not written:
                self._parts.lookout.forget(key)
        return result

    async def _pass(self, trigger: DataTrigger) -> Result:
        now = self._parts.clock()
        if fault := self._fault(trigger):
            await self._write(trigger, stalled(trigger, fault, now))
            return Done()
        status, absent, problem = await self._follow(trigger, now)
        sightings = await self._parts.lookout.look(trigger)
        try:
            status = looked(
                status,
                sightings,
                self._parts.lookout.present(trigger),
                now,
                run_first=trigger.spec.on_first_sight == "Run",
            )
        except TooManyError as error:
            self._parts.lookout.forget((trigger.namespace, trigger.name))
            await self._write(trigger, stalled(trigger, str(error), now, reason="TooManyReferences"))
            return Done()
        if asked := _asked(trigger, status):
            status = once_more(trigger, status, asked)
        decision = decide(trigger, status, now, absent)
        if problem is None and self._is_unproven(trigger) and not unsettled(decision.status.runs):
            problem = await self._parts.runs.rehearse(trigger)
        if _intents(decision.status) != _intents(trigger.status):
            # What is about to happen is written down first, and upon the newest status: see `agent.core.trigger`.
            trigger = await self._write(trigger, decision.status, newest=True)
        status, problem = await self._perform(trigger, decision.status, problem, now)
        return await self._end(trigger, decision._replace(status=status), problem, now)

    def _fault(self, trigger: DataTrigger) -> str:
        try:
            template.check(trigger)
            self._parts.runs.account(trigger)
        except template.TemplateError as error:
            return str(error)
        except ConfigurationError as error:
            return error.message
        return duration_fault(trigger) or selector_fault(trigger)

    async def _follow(
        self, trigger: DataTrigger, now: datetime
    ) -> tuple[DataTriggerStatus, frozenset[str], Problem | None]:
        status, absent, problem = trigger.status, set(), None
        for run in unsettled(status.runs):
            found = await self._parts.runs.follow(trigger, run, now)
            status = with_run(status, found.run)
            problem = problem or found.problem
            if found.absent:
                absent.add(run.name)
        return status, frozenset(absent), problem

    async def _perform(
        self, trigger: DataTrigger, status: DataTriggerStatus, problem: Problem | None, now: datetime
    ) -> tuple[DataTriggerStatus, Problem | None]:
        """Clear away, then create: a run that is replaced is gone before the next one begins."""
        for run in cleared(trigger, status):
            failed = await self._parts.runs.clear(trigger, run)
            problem = problem or failed
            if failed is None:
                status = with_run(status, replace(run, removed=True))
        for run in status.runs:
            if not may_begin(trigger, status, run):
                continue
            made = await self._parts.runs.create(trigger, run, now)
            problem = problem or made.problem
            status = with_run(status, made.run)
        return status, problem

    async def _end(self, trigger: DataTrigger, decision: Decision, problem: Problem | None, now: datetime) -> Result:
        status = decision.status
        if problem is not None:
            status = blocked(trigger, status, problem.reason, problem.message, now)
        else:
            settling = decision.settling is not None
            status = working(trigger, status, now, settling=settling, waiting=decision.waiting)
        await self._write(trigger, status)
        after = next_look(
            status,
            now,
            settling=decision.settling,
            refused=problem is not None,
            asked=bool(_asked(trigger, status)) and not trigger.spec.suspend,
        )
        return Done() if after is None else RequeueAfter(after)

    def _is_unproven(self, trigger: DataTrigger) -> bool:
        """Whether nobody has tried to create a run since the spec was edited."""
        edited = trigger.status.observed_generation != trigger.metadata.generation
        return edited or not c.is_true(trigger.status.conditions, c.READY)

    async def _write(self, trigger: DataTrigger, status: DataTriggerStatus, *, newest: bool = False) -> DataTrigger:
        before = trigger.status
        written = await self._parts.status.write(trigger, status, newest=newest)
        self._tell(trigger, before, status)
        return written

    def _tell(self, trigger: DataTrigger, before: DataTriggerStatus, after: DataTriggerStatus) -> None:
        """What is new, in log, events and metrics."""
        known = {run.name: run.state for run in before.runs}
        for run in after.runs:
            if run.state != known.get(run.name) and run.state in _EVENTS:
                self._tell_of_run(trigger, run)
        ready, was = c.find(after.conditions, c.READY), c.find(before.conditions, c.READY)
        if ready is None or ready.status != "False" or (was is not None and was.message == ready.message):
            return
        named("datatrigger").info(ready.message, reason=ready.reason)
        self._parts.events.event(reference_to(trigger), "Warning", ready.reason, ready.message, component=COMPONENT)

    def _tell_of_run(self, trigger: DataTrigger, run: TriggerRun) -> None:
        kind, reason = _EVENTS[run.state]
        self._parts.metrics.data_runs.labels(run.kind, run.state.lower()).inc()
        line = describe(run)
        named("datatrigger").info(line, run=run.name, state=run.state, data=run.data, revision=run.revision)
        annotations = {"weir.dev/run": run.name, "weir.dev/data": run.data}
        if run.revision:
            annotations[f"{trigger.GROUP}/revision"] = run.revision
        self._parts.events.event(
            reference_to(trigger), kind, reason, line, component=COMPONENT, annotations=annotations
        )


def _intents(status: DataTriggerStatus) -> list[tuple[str, str]]:
    """The runs that are to be created, or taken back."""
    return [(run.name, run.state) for run in status.runs if run.state in {"Pending", "Replaced"}]


def _asked(trigger: DataTrigger, status: DataTriggerStatus) -> str | None:
    """The request to run everything once more that nobody has followed yet."""
    asked = trigger.metadata.annotations.get(RERUN)
    return asked if asked and asked != status.last_handled_rerun else None
