"""What a guarded or comparative judge asks for, and the evidence that its answers are.

Counted are the metrics that the Canary lists and those of the server's pack. A metric of the pack that neither side
exports is left out; one that the Canary lists is missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from agent.api.judge import Conclusion, Finding
from agent.core.judge.evidence import Counts, Histogram, design_effect
from agent.core.judge.latency import Pair
from agent.core.judge.packs import COMMON, HTTP, LatencyMetric, NumberMetric, Pack, PackMetric, RateMetric, Series
from agent.core.judge.queries import (
    Block,
    Pods,
    Point,
    blocks,
    by_block,
    counted,
    histograms,
    together,
)
from agent.core.judge.verdict import Latency, Rate
from agent.core.rollout.judgesettings import JudgeMode, JudgeSettings
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.numbers import CANARY, PRIMARY, Number, number_of, number_queries
from agent.core.rollout.plan import SUCCESS_RATE, TOTAL_WEIGHT, Bounds, MetricSpec, Plan, Provider

UNASKED = "unasked"
"""The test of a finding about a query that was not answered."""
_NOTHING = "no requests are counted so far, neither at the canary nor at the primary"
_COUNTED_PROVIDERS = frozenset({Provider.KUBERNETES, Provider.GATEWAY_API, Provider.KSERVE})
"""Under these the built-in metrics are those of the application; under others they are the router's."""
_MILLISECOND = 0.001
_PERCENT = 0.01
_TAIL = 0.95
_PERIODS = 12
_SHORTEST = 30.0
"""A window is looked at in so many periods, each of at least so many seconds."""
FEWEST = 3
"""Periods below which it is not."""
_BLOCKS = 6
"""Pods and periods with requests below which nothing is said of how much requests resemble each other."""


class Answer(msgspec.Struct, frozen=True):
    """All series of one query, or why there are none."""

    points: tuple[Point, ...] = ()
    error: str = ""


Answers = Mapping[str, Answer]
"""By query."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A metric to count. `bounds` are those of the Canary; `required`: the Canary lists it. `strata`: the label that
    tells latencies apart by the length of the prompt, "" where there is none."""

    metric: PackMetric
    bounds: Bounds = Bounds()
    required: bool = False
    strata: str = ""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The last `seconds`, in which `pods` were counted. `timed` are the answers for each `period` of them, in seconds,
    by query; empty where there are no periods. Not `settled`: the canary may still be cold, its latencies blame nobody.
    """

    pods: Pods
    seconds: float
    period: float = 0.0
    timed: Answers = {}
    settled: bool = True


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """What can be tested, the query that counted it, how many of the canary's pods answered, and whether any of the
    other side's did."""

    item: Rate | Latency
    query: str = ""
    pods: int = 0
    compared: bool = True


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted. `missed` are findings about what could not be asked."""

    comparative: bool = False
    tested: tuple[Tested, ...] = ()
    numbers: tuple[Number, ...] = ()
    missed: tuple[Finding, ...] = ()


def wanted(plan: Plan, pack: Pack) -> tuple[Wanted, ...]:
    """The listed metrics that can be counted, and the rest of the pack."""
    known = {metric.name: metric for metric in (*COMMON, *HTTP.metrics, *pack.metrics)}
    listed = {
        spec.name: Wanted(metric=known[spec.name], bounds=spec.bounds if spec.explicit else Bounds(), required=True)
        for spec in plan.metrics
        if spec.name in known and is_counted(plan, spec)
    }
    rest = (metric for metric in pack.metrics if metric.name not in listed)
    unasked = (metric for metric in rest if isinstance(metric, RateMetric) or not metric.if_listed)
    items = (*listed.values(), *(Wanted(metric=metric) for metric in unasked))
    return tuple(msgspec.structs.replace(item, strata=plan.judging.prompt_label) for item in items)


def is_counted(plan: Plan, spec: MetricSpec) -> bool:
    """False for a metric that gives one number only: a template, a query, or a router's built-in one."""
    if spec.template is not None or spec.query:
        return False
    return spec.name not in {metric.name for metric in HTTP.metrics} or plan.provider in _COUNTED_PROVIDERS


def canary_periods(item: Wanted, window: Window) -> list[Histogram]:
    """The latencies of the canary in each period of the window, in their order; none if they were not counted so."""
    if not isinstance(item.metric, LatencyMetric) or not window.period:
        return []
    query = _counts(item, window.pods, window.period)[0]
    parts = histograms(window.timed.get(query, Answer()).points, window.pods, CANARY, item.metric.unit)
    ends = sorted({end for _, end in parts})
    return [together(part for (_, at), part in parts.items() if at == end) for end in ends]


def _counts(item: Wanted, pods: Pods, seconds: float) -> tuple[str, ...]:
    """Those of the queries that count requests."""
    found = queries_of(item, pods, seconds)
    return found if isinstance(item.metric, RateMetric) else found[:1]


def queries_of(item: Wanted, pods: Pods, seconds: float) -> tuple[str, ...]:
    """The queries of a metric over the last `seconds`."""
    match item.metric:
        case RateMetric(total=total, bad=bad):
            return counted(total, pods, seconds), counted(bad, pods, seconds)
        case LatencyMetric(names=names, sizes=sizes):
            labels = ("le", item.strata) if item.strata and sizes else ("le",)
            latencies = counted(Series(_buckets(names)), pods, seconds, by=labels)
            if item.strata or not sizes:
                return (latencies,)
            return latencies, counted(Series(_buckets(sizes)), pods, seconds, by=("le",))
        case NumberMetric():
            return number_queries(item.metric, pods, seconds)


def _buckets(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}_bucket" for name in names)


def period_of(seconds: float) -> float:
    """How long the periods are in which a window of so many seconds is looked at, too; 0 if it is too short for any."""
    period = max(_SHORTEST, math.ceil(seconds / _PERIODS))
    return period if seconds >= FEWEST * period else 0.0


def timed_queries(items: Sequence[Wanted], window: Window) -> tuple[str, ...]:
    """The queries that are asked for each period as well: how much samples resemble each other is seen from them."""
    if not window.period:
        return ()
    tested = (item for item in items if not isinstance(item.metric, NumberMetric))
    return tuple(dict.fromkeys(query for item in tested for query in _counts(item, window.pods, window.period)))


def evidence_for(
    items: Sequence[Wanted],
    answers: Answers,
    window: Window,
    *,
    state: JudgeState,
    settings: JudgeSettings,
    weight: int,
) -> Evidence:
    """What the answers amount to for the judge of a run, whose canary has `weight` percent of the traffic.

    Where it has all of it, and nobody else answered, there is nothing to compare with: then the ceilings count.
    """
    if state.mode is JudgeMode.COMPARATIVE:
        found = evidence_of(items, answers, window, comparative=True)
        if weight < TOTAL_WEIGHT or any(test.compared for test in found.tested):
            return found
    return evidence_of(items, answers, window, comparative=False, ceiling=settings.max_error_rate)


def evidence_of(
    items: Sequence[Wanted], answers: Answers, window: Window, *, comparative: bool, ceiling: float | None = None
) -> Evidence:
    """What the answers amount to. `ceiling`: the share of failed requests that may be where no other is asked for.

    In a comparison a metric of the pack that the other side does not export is left out, if there is another one.
    """
    tested: list[Tested] = []
    numbers: list[Number] = []
    missed: list[Finding] = []
    silent: list[Wanted] = []
    for item in items:
        queries = queries_of(item, window.pods, window.seconds)
        found = [answers[query] for query in queries]
        fault = next((answer.error for answer in found if answer.error), "")
        points = [answer.points for answer in found]
        if fault:
            missed.append(_missed(item, queries[-1], UNASKED, fault))
        elif not any(points):
            silent.append(item)
        elif isinstance(item.metric, NumberMetric):
            pods, seconds = window.pods, window.seconds
            numbers.append(number_of(item.metric, item.bounds, queries[0], points, pods=pods, seconds=seconds))
        else:
            tested.append(_tested(item, queries, points, window, ceiling))
    if comparative and any(test.compared for test in tested):
        listed = {item.metric.name for item in items if item.required}
        tested = [test for test in tested if test.compared or test.item.metric in listed]
    expected = [item for item in silent if item.required]
    if not (tested or numbers or missed or expected):
        expected = silent[:1]  # a pack of which nothing is exported: there were no requests, or it is the wrong one
    last = (queries_of(item, window.pods, window.seconds)[-1] for item in expected)
    missed += (_missed(item, query, "", _NOTHING) for item, query in zip(expected, last, strict=True))
    return Evidence(comparative=comparative, tested=tuple(tested), numbers=tuple(numbers), missed=tuple(missed))


def _missed(item: Wanted, query: str, test: str, reason: str) -> Finding:
    return Finding(metric=item.metric.name, conclusion=Conclusion.INCONCLUSIVE, test=test, reason=reason, query=query)


def _ceiling(metric: RateMetric, bounds: Bounds, ceiling: float | None) -> float | None:
    """A success rate has a least value, all other shares have a greatest one; both in percent."""
    if metric.name == SUCCESS_RATE and bounds.minimum is not None:
        return min(max(1 - bounds.minimum * _PERCENT, 0.0), 1.0)
    if metric.name != SUCCESS_RATE and bounds.maximum is not None:
        return min(max(bounds.maximum * _PERCENT, 0.0), 1.0)
    return ceiling if metric.limited else None


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """The answers about one metric: of the whole window and of its periods, by the position of their query."""

    query: str
    pods: Pods
    whole: Sequence[tuple[Point, ...]]
    timed: Sequence[tuple[Point, ...]]


def _tested(
    item: Wanted, queries: Sequence[str], points: list[tuple[Point, ...]], window: Window, ceiling: float | None
) -> Tested:
    timed = [window.timed.get(query, Answer()).points for query in _counts(item, window.pods, window.period)]
    if isinstance(item.metric, RateMetric):
        found = _Found(query=queries[-1], pods=window.pods, whole=points, timed=timed)
        return _rate(item.metric, _ceiling(item.metric, item.bounds, ceiling), found)
    assert isinstance(item.metric, LatencyMetric)
    found = _Found(query=queries[0], pods=window.pods, whole=points, timed=timed)
    latency, pods, compared = _latency(item.metric, item.bounds, found)
    latency = msgspec.structs.replace(_by_length(item, found, latency), settled=window.settled)
    return Tested(item=latency, query=found.query, pods=pods, compared=compared)


def _by_length(item: Wanted, found: _Found, latency: Latency) -> Latency:
    """The latencies by the length of their prompts, or with these lengths beside them, as far as either is known."""
    assert isinstance(item.metric, LatencyMetric)
    metric, pods = item.metric, found.pods

    def sides(points: Sequence[Point], unit: float) -> Pair:
        ours, theirs = (together(histograms(points, pods, side, unit).values()) for side in (CANARY, PRIMARY))
        return ours, theirs

    if not metric.sizes:
        return latency
    if not item.strata:
        return msgspec.structs.replace(latency, sizes=sides(found.whole[1], 1.0))
    groups: dict[str, list[Point]] = {}
    for point in found.whole[0]:
        groups.setdefault(point.labels.get(item.strata, ""), []).append(point)
    strata = tuple(sides(points, metric.unit) for label, points in sorted(groups.items()) if label)
    return msgspec.structs.replace(latency, strata=strata)


def _rate(metric: RateMetric, ceiling: float | None, found: _Found) -> Tested:
    def counts(points: Sequence[tuple[Point, ...]], side: str) -> tuple[Counts, ...]:
        total, bad = (by_block(part, found.pods, side) for part in points)
        return blocks(total, bad, apart=metric.counts_apart)

    ours, theirs = counts(found.whole, CANARY), counts(found.whole, PRIMARY)
    rate = Rate(
        metric=metric.name,
        canary=sum(ours, Counts()),
        baseline=sum(theirs, Counts()),
        ceiling=ceiling,
        effect=max(_effect(ours, counts(found.timed, CANARY)), _effect(theirs, counts(found.timed, PRIMARY))),
    )
    return Tested(item=rate, query=found.query, pods=len(ours), compared=bool(theirs))


def _latency(metric: LatencyMetric, bounds: Bounds, found: _Found) -> tuple[Latency, int, bool]:
    """The latencies, how many of the canary's pods answered, and whether any of the other side's did."""
    ours, theirs = (histograms(found.whole[0], found.pods, side, metric.unit) for side in (CANARY, PRIMARY))
    canary, baseline = together(ours.values()), together(theirs.values())
    bound = None if bounds.maximum is None else bounds.maximum * _MILLISECOND
    slow = together((canary, baseline)).edge_below(_TAIL) if bound is None else bound

    def effect(side: str, whole: Mapping[Block, Histogram]) -> float:
        timed = histograms(found.timed[0], found.pods, side, metric.unit)
        return _effect(*([part.above(slow) for part in parts.values()] for parts in (whole, timed)))

    latency = Latency(
        metric=metric.name,
        canary=canary,
        baseline=baseline,
        bound=bound,
        effect=max(effect(CANARY, ours), effect(PRIMARY, theirs)),
    )
    return latency, len(ours), bool(theirs)


def _effect(by_pod: Sequence[Counts], by_period: Sequence[Counts]) -> float:
    """From pods and periods where there are enough of them, else from pods alone."""
    used = sum(block.total > 0 for block in by_period)
    return design_effect(by_period if used >= _BLOCKS else by_pod)
