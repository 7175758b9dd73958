"""A rollout for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from agent.core.console.facts import Judged, Rollout, Side
from agent.core.console.table import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Paint, ago, cut, safe, span, table
from agent.core.rollout.advancing import TRAFFIC_APPROVAL
from agent.core.rollout.gating import RUNNING, UNKNOWN
from agent.core.rollout.judgement import go_float
from agent.core.rollout.status import Phase
from agent.core.rollout.weighing import Doubt

LEAST_WIDTH: Final = 60
_WAITS: Final = frozenset(
    {Doubt.TOO_FEW, Doubt.UNCONFIRMED, RUNNING, UNKNOWN, TRAFFIC_APPROVAL, "InsufficientAccelerators"}
)
"""Reasons of the condition Blocked for which nothing is broken."""
_BAR: Final = 40
_LABEL: Final = 11
_PHASES: Final = {
    Phase.SUCCEEDED: GREEN,
    Phase.INITIALIZED: GREEN,
    Phase.FAILED: RED,
    Phase.WAITING: YELLOW,
    Phase.WAITING_PROMOTION: YELLOW,
}
_MARKS: Final = {"pass": ("✓", GREEN), "fail": ("✗", RED), "error": ("!", RED), "no-data": ("?", YELLOW)}
_UNITS: Final = {"request-success-rate": ("%", 1.0), "request-duration": ("ms", 1000.0)}
"""Unit of a built-in metric's bounds, and how many of them its value is made of."""


class Said(msgspec.Struct, frozen=True):
    """One event about the Canary."""

    at: datetime
    text: str
    warning: bool = False


def screen(rollout: Rollout, said: Sequence[Said], now: datetime, *, paint: Paint, width: int = 100) -> Iterator[str]:
    """The whole view in lines of at most `width` characters."""
    width = max(width, LEAST_WIDTH)
    yield _head(rollout, now, paint)
    yield ""
    sides = [("primary", rollout.primary)] if rollout.primary else []
    sides.append(("canary", rollout.target))
    longest = max(len(side.name) for _, side in sides)
    for label, side in sides:
        yield _side(label, side, paint, width, longest)
    yield ""
    yield from _progress(rollout, now, paint)
    yield from _judged(rollout, paint)
    yield from _remarks(rollout, paint, width)
    if said:
        yield ""
        for event in said:
            moment = paint(event.at.strftime("%H:%M:%S"), DIM)
            text = cut(safe(event.text), width - 12)
            yield f"  {moment}  {paint(text, YELLOW if event.warning else '')}"


def summary(rollout: Rollout) -> str:
    """One line, the same as long as nothing has changed: for logs."""
    parts = [f"{rollout.namespace}/{rollout.name}", rollout.phase or "not seen by an agent yet"]
    if rollout.running:
        parts += [_place(rollout), f"failed checks {rollout.failed_checks} of {rollout.threshold}"]
    if rollout.phase == Phase.FAILED:
        parts.append(rollout.cause)
    if rollout.paused:
        parts.append(rollout.paused)
    if rollout.blocked and not rollout.paused:
        parts.append(f"{rollout.blocked[0]}: {rollout.blocked[1]}")
    return safe("  ".join(filter(None, parts)))


def listing(rollouts: Sequence[Rollout], now: datetime) -> Iterator[str]:
    """All rollouts, one a line."""
    head = ("NAMESPACE", "NAME", "PHASE", "WEIGHT", "CHECKS FAILED", "SINCE", "REMARK")
    yield from table(
        head,
        (
            (
                one.namespace,
                one.name,
                one.phase or "-",
                f"{one.weight}%",
                f"{one.failed_checks}/{one.threshold}",
                ago(one.since, now),
                one.paused or (": ".join(one.blocked) if one.blocked else ""),
            )
            for one in rollouts
        ),
    )


def bounded(judged: Judged) -> str:
    """`99.87% ≥ 99%`: what was measured, and what it had to be."""
    unit, factor = _UNITS.get(judged.metric, ("", 1.0))
    value = "no value" if judged.value is None else f"{judged.value * factor:.4g}{unit}"
    low = f"≥ {go_float(judged.minimum)}{unit}" if judged.minimum is not None else ""
    high = f"≤ {go_float(judged.maximum)}{unit}" if judged.maximum is not None else ""
    wanted = " and ".join(filter(None, (low, high)))
    return f"{value}  ({wanted})" if wanted else value


def mark(verdict: str, paint: Paint) -> str:
    """A sign for a verdict."""
    sign, colour = _MARKS.get(verdict, ("~", YELLOW))
    return paint(sign, colour)


def _head(rollout: Rollout, now: datetime, paint: Paint) -> str:
    phase = rollout.phase or "not seen by an agent yet"
    colour = _PHASES.get(Phase(rollout.phase), CYAN) if rollout.phase else YELLOW
    name = paint(f"{rollout.namespace}/{rollout.name}", BOLD)
    kind = f"{rollout.strategy} over {rollout.provider}"
    since = f", for {ago(rollout.since, now)}" if rollout.since else ""
    held = paint("  ‖ paused", YELLOW, BOLD) if rollout.paused else ""
    return f"{name}  {paint(phase, colour, BOLD)}{held}  {paint(kind + since, DIM)}"


def _side(label: str, side: Side, paint: Paint, width: int, longest: int) -> str:
    name = safe(side.name).ljust(longest)
    wanted, ready = side.replicas, side.ready or 0
    count = (f"{ready}/{wanted} ready" if wanted else "" if wanted is None else "scaled down").ljust(11)
    colour = DIM if not wanted else GREEN if ready >= wanted else YELLOW
    start = f"  {label.ljust(_LABEL)}{name}  "
    served = cut(safe(", ".join(side.serves)), max(width - len(start) - len(count) - 2, 20))
    return f"  {paint(label.ljust(_LABEL), DIM)}{name}  {paint(count, colour)}  {served}"


def _progress(rollout: Rollout, now: datetime, paint: Paint) -> Iterator[str]:
    filled = round(_BAR * rollout.weight / 100)
    bar = paint("█" * (_BAR - filled), GREEN) + paint("▒" * filled, CYAN)
    yield (
        f"  {paint('traffic'.ljust(_LABEL), DIM)}{bar}  primary {100 - rollout.weight}%  "
        f"{paint(f'canary {rollout.weight}%', CYAN)}"
    )
    if not rollout.running:
        return
    if rollout.wanted_iterations:
        yield f"  {paint('steps'.ljust(_LABEL), DIM)}{_place(rollout)}"
    elif rollout.steps:
        steps = " ".join(_step(weight, rollout, paint) for weight in rollout.steps)
        yield f"  {paint('steps'.ljust(_LABEL), DIM)}{steps} {paint('→ promotion', DIM)}"
    failed = f"{rollout.failed_checks} of {rollout.threshold} failed"
    colour = RED if rollout.failed_checks else ""
    yield f"  {paint('checks'.ljust(_LABEL), DIM)}{paint(failed, colour)}{paint(_next(rollout, now), DIM)}"


def _step(weight: int, rollout: Rollout, paint: Paint) -> str:
    if rollout.phase in {Phase.PROMOTING, Phase.FINALISING} or weight < rollout.weight:
        return paint(f"✓{weight}", GREEN)
    return paint(f"▶{weight}", CYAN, BOLD) if weight == rollout.weight else paint(f"·{weight}", DIM)


def _next(rollout: Rollout, now: datetime) -> str:
    if rollout.since is None or rollout.paused or rollout.phase != Phase.PROGRESSING:
        return ""
    left = rollout.interval - (now - rollout.since).total_seconds() % max(rollout.interval, 1.0)
    return f", next in {span(left + 0.999)}"


def _place(rollout: Rollout) -> str:
    if rollout.wanted_iterations:
        return f"iteration {rollout.iterations} of {rollout.wanted_iterations}"
    return f"canary weight {rollout.weight}% of {max(rollout.steps, default=100)}%"


def _judged(rollout: Rollout, paint: Paint) -> Iterator[str]:
    """The latest judgement of each metric."""
    latest = {judged.metric: judged for judged in rollout.judgements or ()}
    if not latest or not (rollout.running or rollout.phase == Phase.FAILED):
        return
    longest = max(len(safe(name)) for name in latest)
    label = "metrics"
    for name, judged in latest.items():
        metric = f"{mark(judged.verdict, paint)} {safe(name).ljust(longest)}"
        yield f"  {paint(label.ljust(_LABEL), DIM)}{metric}  {bounded(judged)}"
        label = ""


def _remarks(rollout: Rollout, paint: Paint, width: int) -> Iterator[str]:
    told: list[tuple[str, str, str]] = [("change", text, "") for text in rollout.changes]
    told += [
        ("withheld", f"{one.slot}: {one.wanted}; the primary serves {one.serving or 'none'}", YELLOW)
        for one in rollout.withheld
    ]
    told += [("cause", rollout.cause, RED)] * bool(rollout.cause)
    if rollout.suspended:
        told.append(("suspended", "spec.suspend is true: nothing moves until it is taken back", YELLOW))
    if rollout.paused:
        told.append(("paused", f"{rollout.paused.removeprefix('paused ')}; go on with: weir rollout resume", YELLOW))
    if rollout.blocked and rollout.blocked[0] != "Paused":
        waits = rollout.blocked[0] in _WAITS
        told.append(("waiting" if waits else "blocked", ": ".join(rollout.blocked), YELLOW if waits else RED))
        if rollout.blocked[0] == TRAFFIC_APPROVAL:
            told.append(("", "one step is approved by: weir rollout promote", YELLOW))
    if rollout.undecided:
        told.append(("waiting", "for more requests, or: weir rollout promote, weir rollout abort", YELLOW))
    elif rollout.phase in {Phase.WAITING, Phase.WAITING_PROMOTION}:
        told.append(("waiting", "for approval: weir rollout promote, or weir rollout abort", YELLOW))
    if rollout.command:
        told.append(("asked", rollout.command, ""))
    if rollout.outcome:
        told.append(("answer", rollout.outcome, ""))
    if rollout.unasked:
        missing = "no judgements" if rollout.judgements is None else "judgements as the Canary keeps them"
        told.append(("note", f"{missing}: {rollout.unasked}", DIM))
    if told:
        yield ""
    for label, text, colour in told:
        yield f"  {paint(label.ljust(_LABEL), DIM)}{paint(cut(safe(text), width - _LABEL - 2), colour)}"
