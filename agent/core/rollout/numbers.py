"""Numbers of the canary that cannot be tested, because they are no counts of requests: means, paces, levels, events.

Each is held against the bounds that the Canary gives it, as Flagger holds a metric against its threshold; without
bounds it is only told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from agent.api.duration import format_duration
from agent.api.judge import Conclusion, Finding
from agent.core.judge.packs import NumberMetric, Per
from agent.core.judge.queries import Pods, Point, averaged, by_pod, counted
from agent.core.rollout.judgement import go_float
from agent.core.rollout.plan import Bounds

SECONDS = "mean"
"""The test of a finding about a number of seconds, which has one bound."""
NUMBER = "number"
"""The test of a finding about any other number, which has two."""
CANARY, PRIMARY = "canary", "primary"
_MILLISECOND = 0.001


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of both sides, and what it may be. `requests` of the canary; None where it is not about any."""

    metric: str
    requests: float | None = None
    value: float | None = None
    baseline: float | None = None
    bounds: Bounds = Bounds()
    seconds: bool = False
    query: str = ""

    @property
    def outside(self) -> str:
        """How it breaks its bounds, in words; empty if it does not."""
        if self.value is None:
            return ""
        if self.bounds.maximum is not None and self.value > self.bounds.maximum:
            return "above its bound"
        return "below its bound" if self.bounds.minimum is not None and self.value < self.bounds.minimum else ""

    @property
    def bounded(self) -> bool:
        return self.bounds.maximum is not None or self.bounds.minimum is not None

    def breach(self) -> str:
        """`value > bound`, for the text of a failed check."""
        high = self.outside.startswith("above")
        bound = self.bounds.maximum if high else self.bounds.minimum
        value, limit = (
            (format_duration(number or 0.0) if self.seconds else go_float(round(number or 0.0, 2)))
            for number in (self.value, bound)
        )
        return f"{self.metric} {value} {'>' if high else '<'} {limit}"


def number_queries(metric: NumberMetric, pods: Pods, seconds: float) -> tuple[str, ...]:
    """The queries of a metric over the last `seconds`: the value, and the requests if it is per request."""
    if metric.per is Per.MOMENT:
        return (averaged(metric.value, pods, seconds),)
    counts = (metric.value,) if metric.requests is None else (metric.value, metric.requests)
    return tuple(counted(series, pods, seconds) for series in counts)


def number_of(
    metric: NumberMetric, bounds: Bounds, query: str, answers: Sequence[Sequence[Point]], *, pods: Pods, seconds: float
) -> Number:
    """From the answers to the queries, in their order. Bounds of durations are in milliseconds, as in the Canary."""
    values, requests = answers[0], answers[1] if len(answers) > 1 else ()
    sides = {
        side: _value(metric, by_pod(values, pods, side), by_pod(requests, pods, side), seconds)
        for side in (CANARY, PRIMARY)
    }
    unit = _MILLISECOND if metric.seconds else 1.0
    low, high = (None if bound is None else bound * unit for bound in (bounds.minimum, bounds.maximum))
    return Number(
        metric=metric.name,
        requests=sum(by_pod(requests, pods, CANARY).values()) if metric.per is Per.REQUEST else None,
        value=sides[CANARY],
        baseline=sides[PRIMARY],
        bounds=Bounds(low, high),
        seconds=metric.seconds,
        query=query,
    )


def _value(
    metric: NumberMetric, values: Mapping[str, float], requests: Mapping[str, float], seconds: float
) -> float | None:
    total = sum(values.values()) * metric.unit
    match metric.per:
        case Per.REQUEST:
            count = sum(requests.values())
            return total / count if values and count else None
        case Per.SECOND:
            return total / len(values) / seconds if values and seconds > 0 else None
        case Per.MOMENT:
            return total / len(values) if values else None
        case Per.WINDOW:
            return total if values else None


def finding_of(number: Number, samples: float, minimum: float) -> Finding:
    """`samples` requests were counted, `minimum` are needed before a number says anything."""
    if samples < minimum:
        conclusion, reason = Conclusion.INCONCLUSIVE, so_far(samples, minimum)
    elif not number.bounded:
        conclusion, reason = Conclusion.PASS, "no bound is set"
    elif number.outside:
        conclusion, reason = Conclusion.FAIL, number.outside
    else:
        conclusion, reason = Conclusion.PASS, "within its bound"
    return Finding(
        metric=number.metric,
        conclusion=conclusion,
        test=SECONDS if number.seconds else NUMBER,
        reason=reason,
        samples=samples,
        estimate=number.value,
        baseline_estimate=number.baseline,
        bound=number.bounds.maximum if number.seconds else None,
        lower=None if number.seconds else number.bounds.minimum,
        upper=None if number.seconds else number.bounds.maximum,
        query=number.query,
    )


def so_far(requests: float, minimum: float) -> str:
    """That more requests have to come."""
    return f"{requests:.0f} of {minimum:.0f} requests so far"
