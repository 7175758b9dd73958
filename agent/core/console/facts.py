"""One rollout as it is now, from the cluster's objects and from what the agent tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from agent.api.canary import Canary
from agent.api.judge import Conclusion, Finding
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context
from agent.core.models.record import meaning
from agent.core.models.rendered import RenderedSet
from agent.core.rollout.commands import COMMAND, OUTCOME, hold, pending
from agent.core.rollout.gates import Result, decode_results
from agent.core.rollout.hashing import revision_checksum
from agent.core.rollout.judgesettings import JudgeMode
from agent.core.rollout.ownership import ANALYSING
from agent.core.rollout.plan import TOTAL_WEIGHT, Plan
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.reading import plan_of
from agent.core.rollout.runs import decode_runs
from agent.core.rollout.status import BLOCKED, PROMOTED, Phase, Status

_SERVED = ("model", "adapter")
Object = Mapping[str, Any]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What an object serves in one of its slots. `pinned`: the text fixes the content."""

    slot: str
    kind: str
    text: str
    canonical: str
    pinned: bool


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Canary or primary: replicas that are wanted and ready (None: not known, or there are none to count), and what
    they serve."""

    kind: str
    name: str
    replicas: int | None = None
    ready: int | None = None
    serves: tuple[str, ...] = ()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One judgement as the agent keeps it; fields that it may have besides are not looked at."""

    metric: str
    verdict: str
    time: datetime
    query: str = ""
    value: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    text: str = ""
    weight: int = 0
    iteration: int = 0


class Warned(msgspec.Struct, frozen=True):
    """A warning that was told of a run."""

    at: datetime
    text: str


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A run as `/api/v1/rollouts` and `/api/v1/runs` have it, as far as it is shown here."""

    namespace: str = ""
    name: str = ""
    provider: str = ""
    strategy: str = ""
    phase: str = ""
    weight: int = 0
    iterations: int = 0
    failed_checks: int = 0
    changes: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    judgements: tuple[Judged, ...] = ()
    checks: int = 0
    checks_not_passed: int = 0
    warnings: tuple[Warned, ...] = ()
    cause: str = ""
    applied: str = ""
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `weir rollout status -o json` prints.

    Weights in percent, `interval` in seconds. `steps` are the canary's weights on the way, empty where traffic does
    not move in steps; `wanted_iterations` is 0 there. `blocked` is reason and message of what stands in the way.
    `judgements` is null if the agent could not be asked, and `unasked` says why; those of a run that is over are then
    the ones that the Canary keeps. `cause` says why a run was rolled back, `warnings` all that was told. `judge` is
    how the run is judged; `verdict`, `reason` and `findings` are those of the last check of a guarded or comparative
    one, and `undecided` is true where such a step waits for more requests or for a person. `gates` are the evaluations
    that let the revision pass. `withheld` are the references that Git asks for and the primary does not serve, as the
    agent knows them.
    """

    namespace: str
    name: str
    phase: str
    provider: str
    strategy: str
    weight: int
    steps: tuple[int, ...]
    iterations: int
    wanted_iterations: int
    failed_checks: int
    threshold: int
    interval: float
    suspended: bool
    target: Side
    primary: Side | None
    changes: tuple[str, ...] = ()
    message: str = ""
    paused: str = ""
    blocked: tuple[str, str] | None = None
    command: str = ""
    outcome: str = ""
    applied: str = ""
    promoted: str = ""
    since: datetime | None = None
    judge: str = JudgeMode.COMPATIBILITY
    step: int = 0
    verdict: Conclusion | None = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    undecided: bool = False
    gates: tuple[Result, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    judgements: tuple[Judged, ...] | None = None
    cause: str = ""
    warnings: tuple[Warned, ...] = ()
    unasked: str = ""

    @property
    def running(self) -> bool:
        """A revision is on trial, waits, or is being promoted."""
        return bool(self.phase) and not Phase(self.phase).resting


def rollout(
    canary: Canary, status: Status, target: Object | None, primary: Object | None, run: Run | None, *, unasked: str = ""
) -> Rollout:
    """Everything that is known. If the agent could not be asked, for the reason `unasked`, `run` is None, and what the
    Canary keeps of its last run counts."""
    run = run or _rests_after(canary, status)
    plan = plan_of(canary, default_provider=run.provider if run else "kubernetes", minimum_interval=0.0)
    annotations = canary.metadata.annotations
    blocked, told = status.condition(BLOCKED), status.condition(PROMOTED)
    held = hold(annotations)
    revision = revision_checksum(status.tracked, status.last_applied_spec)
    asked = pending(annotations)
    changes = tuple(annotations.get(ANALYSING, "").splitlines())
    side = Side(kind=plan.target_kind, name=plan.target)
    known = Rollout(
        namespace=plan.namespace,
        name=plan.name,
        phase=status.phase.value,
        provider=plan.provider,
        strategy=plan.strategy.value,
        weight=run.weight if run else status.canary_weight,
        steps=() if plan.iterations else tuple(weights(plan)),
        iterations=status.iterations,
        wanted_iterations=plan.iterations,
        failed_checks=status.failed_checks,
        threshold=plan.threshold,
        interval=plan.interval,
        suspended=plan.suspended,
        target=side_of(target) if target else side,
        primary=side_of(primary) if primary else None,
        changes=changes if not status.phase.resting else (),
        message=told.message if told else "",
        paused=held.text if held else "",
        blocked=(blocked.reason, blocked.message) if blocked else None,
        command=asked.text if asked else "",
        outcome=annotations.get(OUTCOME, "") if not asked and COMMAND in annotations else "",
        applied=status.last_applied_spec,
        promoted=status.last_promoted_spec,
        since=status.last_transition_time,
        gates=tuple(one for one in decode_results(annotations) if one.revision == revision),
        withheld=run.withheld if run else (),
        judgements=run.judgements if run else None,
        cause=run.cause if run else "",
        warnings=run.warnings if run else (),
        unasked=unasked,
    )
    return _judged(known, status)


def kept_runs(canary: Canary) -> list[Run]:
    """The finished runs that the Canary keeps, the newest first."""
    found = decode_runs(canary.metadata.annotations, canary.namespace, canary.name)
    return msgspec.convert(msgspec.to_builtins(found[::-1]), list[Run])


def _rests_after(canary: Canary, status: Status) -> Run | None:
    """The run of which the status is the end, if the Canary keeps it."""
    last = next(iter(kept_runs(canary)), None) if status.phase.resting else None
    same = last is not None and (last.phase, last.applied) == (status.phase, status.last_applied_spec)
    return last if same else None


def _judged(found: Rollout, status: Status) -> Rollout:
    judge = status.judge
    if judge is None:
        return found
    return msgspec.structs.replace(
        found,
        judge=judge.mode.value,
        step=judge.step,
        verdict=judge.verdict,
        reason=judge.reason,
        findings=judge.findings,
        undecided=status.held,
    )


def weights(plan: Plan) -> Iterator[int]:
    """The canary's weights from the first step to the last."""
    weight = 0
    while weight < plan.max_weight:
        step = plan.next_step(weight)
        if step <= 0:
            return
        weight = min(weight + step, TOTAL_WEIGHT)
        yield weight


def side_of(workload: Object) -> Side:
    """A Deployment or DaemonSet, as canary or as primary."""
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    daemons = "numberReady" in status
    return Side(
        kind=str(workload["kind"]),
        name=str(workload["metadata"]["name"]),
        replicas=int(status.get("desiredNumberScheduled") or 0) if daemons else int(spec.get("replicas", 1)),
        ready=int(status.get("numberReady" if daemons else "readyReplicas") or 0),
        serves=tuple(found.text for found in references(workload)) or images(workload),
    )


def references(obj: Object) -> Sequence[Reference]:
    """The models and adapters that an object serves, as its own text says."""
    context = Context(str(obj["metadata"].get("namespace") or ""), RenderedSet(()))
    slots = extract(obj, context).slots.values()
    return [
        Reference(
            slot=slot.name,
            kind=slot.kind,
            text=meaning(slot.ref),
            canonical=slot.ref.canonical,
            pinned=slot.ref.pinned is True,
        )
        for slot in sorted(slots, key=lambda slot: (_SERVED.index(slot.kind) if slot.kind in _SERVED else 9, slot.name))
        if slot.kind in _SERVED
    ]


def images(workload: Object) -> tuple[str, ...]:
    """The containers' images: what is served where no model is named."""
    pod = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    return tuple(str(container.get("image", "")) for container in pod.get("containers") or ())
