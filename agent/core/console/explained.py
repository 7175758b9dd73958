"""Why a rollout went as it did, and how the earlier ones did: text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from agent.core.console.facts import Judged, Rollout, Run
from agent.core.console.screen import bounded, mark, summary
from agent.core.console.table import BOLD, DIM, Paint, ago, safe, span, table
from agent.core.rollout.status import Phase
from agent.core.rollout.weighing import explain, interval

_REST = {
    Phase.SUCCEEDED: "The revision was promoted.",
    Phase.INITIALIZED: "The rollout is set up, and no revision was tried since.",
    Phase.FAILED: "The revision was rejected and stays so until the target changes, or: weir rollout retry",
    Phase.WAITING: "The run begins once it is approved: weir rollout promote",
    Phase.WAITING_PROMOTION: "The analysis is over; the promotion waits for approval: weir rollout promote",
    Phase.PROGRESSING: "The revision is being judged.",
    Phase.PROMOTING: "The verdict is good: the primary gets the revision.",
    Phase.FINALISING: "The primary serves the revision; the canary's pods go.",
}


_UNDECIDED = (
    "The step is inconclusive and had its longest time: it waits for more requests, or: weir rollout promote, "
    "weir rollout abort"
)


def explanation(rollout: Rollout, paint: Paint) -> Iterator[str]:
    """The state, what stands in the way, and every judgement of the run with its numbers and its query."""
    yield paint(summary(rollout), BOLD)
    yield from _state(rollout)
    for gate in rollout.gates:
        metrics = ", ".join(f"{name} {value:.6g}" for name, value in gate.metrics.items())
        yield f"Gate {safe(gate.gate)}: {mark(gate.answer, paint)} {safe(metrics)}".rstrip()
    yield from _verdict(rollout, paint)
    yield from _told(rollout, paint)
    if rollout.judgements is None:
        yield f"The judgements are not known here: {safe(rollout.unasked)}"
        return
    if rollout.unasked:
        yield f"The judgements are those that the Canary keeps: {safe(rollout.unasked)}"
    yield from _judgements(rollout.judgements, paint)


def _state(rollout: Rollout) -> Iterator[str]:
    if rollout.undecided:
        yield _UNDECIDED
    elif rollout.phase in _REST:
        yield _REST[Phase(rollout.phase)]
    if rollout.cause:
        yield f"Cause: {safe(rollout.cause)}"
    if rollout.message:
        yield f"Status: {safe(rollout.message)}"
    if rollout.blocked:
        yield f"In the way: {safe(': '.join(rollout.blocked))}"
    if rollout.outcome or rollout.command:
        yield f"Asked for: {safe(rollout.command or rollout.outcome)}"
    for text in rollout.changes:
        yield f"Change: {safe(text)}"


def _told(rollout: Rollout, paint: Paint) -> Iterator[str]:
    """The warnings of the run, which outlive their events."""
    if rollout.warnings:
        yield ""
    for one in rollout.warnings:
        yield f"{paint(one.at.strftime('%H:%M:%S'), DIM)}  {safe(one.text)}"


def _judgements(judgements: Sequence[Judged], paint: Paint) -> Iterator[str]:
    yield ""
    if not judgements:
        yield "Nothing was judged in this run, as far as is known."
    queries: dict[str, str] = {}
    for judged in judgements:
        yield from _judgement(judged, paint)
        queries.setdefault(judged.metric, judged.query)
    for metric, query in queries.items():
        if query:
            yield ""
            yield f"{paint(safe(metric), BOLD)} was asked as"
            yield f"    {safe(' '.join(query.split()))}"


def history(runs: Sequence[Run], now: datetime) -> Iterator[str]:
    """Finished runs, the newest first."""
    head = ("FINISHED", "RESULT", "TOOK", "JUDGED", "NOT PASSED", "REVISION", "CHANGE", "CAUSE")
    yield from table(head, (_run(run, now) for run in runs))


def _run(run: Run, now: datetime) -> tuple[str, ...]:
    took = span((run.finished - run.started).total_seconds()) if run.finished and run.started else "-"
    listed = sum(1 for judged in run.judgements if judged.verdict != "pass")
    return (
        f"{ago(run.finished, now)} ago" if run.finished else "-",
        run.phase,
        took,
        str(max(run.checks, len(run.judgements))),
        str(max(run.checks_not_passed, listed)),
        run.applied or "-",
        "; ".join(run.changes) or "-",
        run.cause or "-",
    )


def _judgement(judged: Judged, paint: Paint) -> Iterator[str]:
    moment = paint(judged.time.strftime("%H:%M:%S"), DIM)
    place = f"iteration {judged.iteration}" if judged.iteration else f"at {judged.weight}%"
    yield f"{moment}  {mark(judged.verdict, paint)} {safe(judged.metric)}  {bounded(judged)}  {paint(place, DIM)}"
    if judged.text:
        yield f"          {safe(judged.text)}"


def _verdict(rollout: Rollout, paint: Paint) -> Iterator[str]:
    """The last verdict of a judge that counts, metric by metric: numbers, window, query."""
    if rollout.verdict is None:
        return
    yield ""
    head = f"Last verdict of the {rollout.judge} judge, at step {rollout.step}: {rollout.verdict.value}"
    yield paint(head, BOLD)
    for finding in rollout.findings:
        yield f"  {mark(finding.conclusion.value, paint)} {safe(explain(finding))}"
        yield f"      {safe(finding.reason)}"
        if known := interval(finding):
            yield f"      {known}"
        if finding.since is not None and finding.until is not None:
            window = f"{finding.since:%Y-%m-%d %H:%M:%S} to {finding.until:%H:%M:%S} UTC"
            yield f"      {paint(f'counted from {window}', DIM)}"
        if finding.query:
            yield f"      {paint(safe(' '.join(finding.query.split())), DIM)}"
