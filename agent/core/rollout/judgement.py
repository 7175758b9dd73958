"""What was measured, against which bounds, and what follows from it; kept to explain a verdict later.

Texts are Flagger's event texts to the letter, because people match them; the query, the bounds and the value beyond
two decimals are in the fields.
"""

from __future__ import annotations

import enum
import math
from datetime import datetime

import msgspec

from agent.api.duration import format_duration
from agent.core.rollout.plan import BUILT_IN, DURATION, SUCCESS_RATE, Bounds, Plan


class Verdict(enum.StrEnum):
    """What one check says. All but PASS halt the advancement and, but for INCONCLUSIVE, count as a failed check."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NO_DATA = "no-data"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a query goes. `secret` is (namespace, name) of the credentials; `interval`, in seconds, is how far the
    metric looks back, for systems that are told so beside the query."""

    kind: str = "prometheus"
    address: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    secret: tuple[str, str] | None = None
    verify_tls: bool = True
    region: str = ""
    interval: float = 60.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One metric ready to be asked for. `error` is set, and nothing is asked, if it could not be prepared.

    `origin` is `<name>.<namespace>` of the MetricTemplate if there is one.
    """

    metric: str
    bounds: Bounds
    query: str = ""
    source: Source = Source()
    template: bool = False
    origin: str = ""
    error: str = ""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check. `value` is in percent for the success rate and in seconds for the duration;
    `text` is the event that a halt is announced with, empty on a pass. `weight` is the canary's at that time."""

    metric: str
    verdict: Verdict
    time: datetime
    query: str = ""
    value: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    text: str = ""
    weight: int = 0
    iteration: int = 0


class Sample(msgspec.Struct, frozen=True):
    """What a metrics server answered: a value, nothing (None), or an error text."""

    value: float | None = None
    error: str = ""


def judge(plan: Plan, check: Check, sample: Sample, now: datetime, *, weight: int = 0, iteration: int = 0) -> Judgement:
    """Hold a sample against the bounds of its check."""
    verdict, text = _verdict(plan, check, sample)
    value = sample.value if sample.value is None or math.isfinite(sample.value) else None
    return Judgement(
        metric=check.metric,
        verdict=verdict,
        time=now,
        query=check.query,
        value=value,
        minimum=check.bounds.minimum,
        maximum=check.bounds.maximum,
        text=text,
        weight=weight,
        iteration=iteration,
    )


def _verdict(plan: Plan, check: Check, sample: Sample) -> tuple[Verdict, str]:
    if check.error:
        return Verdict.ERROR, check.error
    if sample.error:
        return Verdict.ERROR, _query_failed(check, sample.error)
    if sample.value is None or math.isnan(sample.value):
        return Verdict.NO_DATA, _no_values(plan, check)
    outside = _outside(check, sample.value)
    if not outside:
        return Verdict.PASS, ""
    return Verdict.FAIL, f"Halt {plan.full_name} advancement {outside}"


def _outside(check: Check, value: float) -> str:
    low, high = check.bounds.minimum, check.bounds.maximum
    if check.metric == DURATION and not check.template:
        return _outside_duration(value, low, high)
    if check.metric == SUCCESS_RATE and not check.template:
        name, shown, unit = "success rate", f"{_two(value)}%", "%"
    else:
        name, shown, unit = check.metric, _two(value), ""
    if low is not None and value < low:
        return f"{name} {shown} < {go_float(low)}{unit}"
    if high is not None and value > high:
        return f"{name} {shown} > {go_float(high)}{unit}"
    return ""


def _outside_duration(seconds: float, low: float | None, high: float | None) -> str:
    """Durations and their bounds (milliseconds) count in whole milliseconds."""
    infinite = math.isinf(seconds)
    value = seconds if infinite else int(seconds * 1000)
    shown = "+Inf" if infinite else format_duration(value / 1000)
    if low is not None and value < int(low):
        return f"request duration {shown} < {format_duration(int(low) / 1000)}"
    if high is not None and value > int(high):
        return f"request duration {shown} > {format_duration(int(high) / 1000)}"
    return ""


def _query_failed(check: Check, error: str) -> str:
    if check.template:
        return f"Metric query failed for {check.metric}: {error}"
    if check.metric in BUILT_IN:
        return f"Prometheus query failed: {error}"
    return f"Prometheus query failed for {check.metric}: {error}"


def _no_values(plan: Plan, check: Check) -> str:
    if check.template:
        return f"Halt advancement no values found for custom metric: {check.metric}: no values found"
    if check.metric not in BUILT_IN:
        return f"Halt advancement no values found for metric: {check.metric}"
    text = (
        f"Halt advancement no values found for {plan.metrics_provider} metric {check.metric} "
        f"probably {plan.full_target} is not receiving traffic"
    )
    return f"{text}: no values found" if check.metric == SUCCESS_RATE else text


def _two(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.2f}"


def go_float(value: float) -> str:
    """A float the way Go's `%v` prints it: the shortest digits that lead back to it, `99` rather than `99.0`."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == 0:
        return "0"
    exponent = f"{value:e}".partition("e")[2]
    shortest = repr(float(value))
    mantissa, _, shown = shortest.partition("e")
    power = int(exponent)
    if -4 <= power < 21:
        text = shortest if not shown else f"{value:.{max(0, len(mantissa.partition('.')[2]) - power)}f}"
        return text.removesuffix(".0")
    mantissa = mantissa if shown else repr(value / 10.0**power)
    return f"{mantissa.removesuffix('.0')}e{'-' if power < 0 else '+'}{abs(power):02d}"
