"""The verdict of a guarded or comparative judge over one step, and the words it is told in."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from agent.api.duration import format_duration
from agent.api.judge import Conclusion, Finding
from agent.core.judge.looks import Looks
from agent.core.judge.rates import EXACT, SEQUENTIAL
from agent.core.judge.verdict import Policy
from agent.core.judge.verdict import judge as tested
from agent.core.rollout.evidence import UNASKED, Evidence
from agent.core.rollout.judgement import Judgement, Verdict, go_float
from agent.core.rollout.judgesettings import JudgeSettings
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.numbers import NUMBER, SECONDS, finding_of, so_far
from agent.core.rollout.plan import DURATION, SUCCESS_RATE, Plan

_CHECK = "check"
_NUMBERS = frozenset({_CHECK, SECONDS, NUMBER})
"""Findings about single numbers, which cannot be tested: above a bound they are failed checks."""


_LATENCIES = frozenset({"quantile", SECONDS})
"""Findings about seconds that have a bound."""
_SHARES = frozenset({"ceiling", EXACT, SEQUENTIAL})
"""Findings about shares of bad requests."""


class Doubt(enum.StrEnum):
    """Why a step is inconclusive; also the reason of the condition that says so."""

    TOO_FEW = "TooFewRequests"
    UNCONFIRMED = "DifferenceUnconfirmed"
    UNAVAILABLE = "MetricsUnavailable"
    NO_METRICS = "NoMetrics"


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of a step says. `text` sums up what decided; `doubt` is set if nothing did. `failed` is the text of
    a failed check by a number's threshold, as Flagger counts them."""

    conclusion: Conclusion
    findings: tuple[Finding, ...]
    looks: Looks
    text: str
    doubt: Doubt | None = None
    failed: str = ""
    since: datetime | None = None
    """From when on the step is counted, where that has changed."""
    ample: bool = False
    """Every metric passed with at least twice the requests that it needs."""


def policy_of(settings: JudgeSettings, step: int) -> Policy:
    """The statistics' part of the settings."""
    return Policy(
        alpha=settings.alpha,
        step=max(step, 1),
        minimum=settings.minimum,
        margin=settings.margin,
        ratio=settings.ratio,
    )


def weigh(
    evidence: Evidence,
    checks: Sequence[Judgement],
    state: JudgeState,
    plan: Plan,
    now: datetime,
    *,
    cold: float = 0.0,
) -> Weighed:
    """The verdict over what was counted, the means, and the `checks` of single numbers. `cold`: seconds at the start of
    the window in which the canary was still warming up."""
    settings = plan.judging
    items = [test.item for test in evidence.tested]
    verdict = tested(items, policy_of(settings, state.step), state.taken, comparative=evidence.comparative)
    counted = [
        msgspec.structs.replace(finding, query=test.query, pods=test.pods)
        for finding, test in zip(verdict.findings, evidence.tested, strict=True)
    ]
    requests = [item.canary.total for item in items] + [item.requests or 0.0 for item in evidence.numbers]
    enough = not requests or max(requests) >= settings.minimum
    most = max(requests, default=0.0)
    told = [
        (number, finding_of(number, most if number.requests is None else number.requests, settings.minimum))
        for number in evidence.numbers
    ]
    held = [_of_check(check, most, settings, enough=enough) for check in checks]
    findings = tuple(
        msgspec.structs.replace(finding, since=state.since, until=now)
        for finding in (*counted, *(finding for _, finding in told), *held, *evidence.missed)
    )
    failed = next((check.text for check in checks if check.verdict is Verdict.FAIL and enough), "")
    breaches = (number.breach() for number, finding in told if finding.conclusion is Conclusion.FAIL)
    failed = failed or next((f"Halt {plan.full_name} advancement {breach}" for breach in breaches), "")
    weighed = _weighed(findings, verdict.looks, settings, failed)
    return _without_cold(weighed, state, cold) if cold and state.since is not None else weighed


def _without_cold(weighed: Weighed, state: JudgeState, cold: float) -> Weighed:
    """The same verdict only if requests failed; anything else is said once what was cold is no longer counted."""
    assert state.since is not None
    if any(item.conclusion is Conclusion.FAIL and item.test in _SHARES for item in weighed.findings):
        return weighed
    since = state.since + timedelta(seconds=cold)
    text = f"the first {cold:.0f}s were slower than what came after: counted from {since:%H:%M:%S} on"
    return Weighed(
        conclusion=Conclusion.INCONCLUSIVE,
        findings=weighed.findings,
        looks=weighed.looks,
        text=text,
        doubt=Doubt.TOO_FEW,
        since=since,
    )


def _weighed(findings: tuple[Finding, ...], looks: Looks, settings: JudgeSettings, failed: str) -> Weighed:
    worse = [finding for finding in findings if finding.conclusion is Conclusion.FAIL and finding.test not in _NUMBERS]
    if worse:
        text = "; ".join(explain(finding) for finding in worse)
        return Weighed(conclusion=Conclusion.FAIL, findings=findings, looks=looks, text=text)
    open_ = [finding for finding in findings if finding.conclusion is Conclusion.INCONCLUSIVE]
    if not findings or open_ or failed:
        text = "; ".join(f"{finding.metric}: {finding.reason}" for finding in open_)
        return Weighed(
            conclusion=Conclusion.INCONCLUSIVE,
            findings=findings,
            looks=looks,
            text=text or failed or "there is no metric to judge by",
            doubt=_doubt(open_, settings),
            failed=failed,
        )
    ample = all(finding.samples >= 2 * settings.minimum for finding in findings)
    text = "; ".join(f"{finding.metric}: {finding.reason}" for finding in findings)
    return Weighed(conclusion=Conclusion.PASS, findings=findings, looks=looks, text=text, ample=ample)


def _doubt(findings: Sequence[Finding], settings: JudgeSettings) -> Doubt:
    if not findings:
        return Doubt.NO_METRICS
    if any(finding.test == UNASKED for finding in findings):
        return Doubt.UNAVAILABLE
    return Doubt.TOO_FEW if any(_few(finding, settings) for finding in findings) else Doubt.UNCONFIRMED


def _few(finding: Finding, settings: JudgeSettings) -> bool:
    least = finding.samples if finding.baseline_samples is None else min(finding.samples, finding.baseline_samples)
    return least < settings.minimum


def _of_check(check: Judgement, requests: float, settings: JudgeSettings, *, enough: bool) -> Finding:
    """A number against Flagger's threshold; without data or with too few requests it says nothing."""
    test, reason = _CHECK, check.text
    if check.verdict is Verdict.PASS:
        conclusion, reason = Conclusion.PASS, "within its threshold"
    elif check.verdict is Verdict.FAIL and enough:
        conclusion = Conclusion.FAIL
    else:
        conclusion = Conclusion.INCONCLUSIVE
        test = UNASKED if check.verdict is Verdict.ERROR else _CHECK
        reason = so_far(requests, settings.minimum) if check.verdict is Verdict.FAIL else check.text
    return Finding(
        metric=check.metric,
        conclusion=conclusion,
        test=test,
        reason=reason,
        samples=requests,
        estimate=check.value,
        lower=check.minimum,
        upper=check.maximum,
        query=check.query,
    )


def explain(finding: Finding) -> str:
    """One finding with its numbers, for people."""
    samples = f"{finding.samples:.0f} requests" + (" to one pod" if finding.pods == 1 else "")
    if finding.test in {"", UNASKED}:
        return f"{finding.metric} was not counted"
    if finding.test in {_CHECK, NUMBER}:
        value = "no value" if finding.estimate is None else go_float(finding.estimate)
        return f"{finding.metric} {value} over {samples}"
    text = f"{finding.metric} {_numbers(finding, samples)}"
    if finding.p_value is None or finding.alpha is None:
        return text
    return f"{text} (p {finding.p_value:.2g} at look {finding.look}, {finding.alpha:.2g} may be spent)"


def interval(finding: Finding) -> str:
    """What the estimate may be in truth, and what requests count for, for people; empty where it is not known."""
    if finding.lower is None or finding.upper is None or finding.test in {_CHECK, NUMBER, SECONDS}:
        return ""
    if finding.test == "ceiling":
        text = f"in truth between {_percent(finding.lower)} and {_percent(finding.upper)}"
    elif finding.test in _SHARES:
        text = f"in truth between {finding.lower:+.2%} and {finding.upper:+.2%} from the primary's"
    else:
        text = f"in truth between {_seconds(finding.lower)} and {_seconds(finding.upper)}"
    return text if finding.design_effect <= 1 else f"{text}; {finding.design_effect:.1f} requests count as one"


def _numbers(finding: Finding, samples: str) -> str:
    if finding.test == "ceiling":
        allowed = f", {_percent(finding.bound)} may be" if finding.bound is not None else ""
        return f"{_percent(finding.estimate)} of {samples} are bad{allowed}"
    if finding.test in _LATENCIES:
        allowed = f", {_seconds(finding.bound)} is allowed" if finding.bound is not None else ""
        return f"{_seconds(finding.estimate)} over {samples}{allowed}"
    if finding.test in {"ranks", "tail"}:
        return f"{_seconds(finding.estimate)} over {samples}, the primary's is {_seconds(finding.baseline_estimate)}"
    usual = _percent(finding.baseline_estimate)
    return f"{_percent(finding.estimate)} of {samples} are bad, of the primary's {usual}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.2%}"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else format_duration(round(value, 3))


def judgements_of(weighed: Weighed, now: datetime, *, weight: int, iteration: int) -> tuple[Judgement, ...]:
    """The findings as judgements of the run, for those who follow it."""
    return tuple(
        Judgement(
            metric=finding.metric,
            verdict=Verdict(finding.conclusion.value),
            time=now,
            query=finding.query,
            value=_as_flagger(finding, finding.estimate),
            minimum=low,
            maximum=high,
            text=finding.reason,
            weight=weight,
            iteration=iteration,
        )
        for finding in weighed.findings
        for low, high in (_bounds(finding),)
    )


def _bounds(finding: Finding) -> tuple[float | None, float | None]:
    """The least and the greatest value, in the unit of a Canary's threshold."""
    if finding.test in {_CHECK, NUMBER}:
        return finding.lower, finding.upper
    return (_bound(finding), None) if finding.metric == SUCCESS_RATE else (None, _bound(finding))


def _as_flagger(finding: Finding, value: float | None) -> float | None:
    """A share in percent, and of the good requests for the success rate; seconds and numbers as they are."""
    if value is None or finding.test not in _SHARES:
        return value
    return 100 * (1 - value) if finding.metric == SUCCESS_RATE else 100 * value


def _bound(finding: Finding) -> float | None:
    """In the unit of a Canary's threshold. A comparison's bound is about the difference to the primary."""
    if finding.test in _LATENCIES and finding.metric == DURATION and finding.bound is not None:
        return finding.bound * 1000
    if finding.test == "ceiling":
        return _as_flagger(finding, finding.bound)
    return finding.bound if finding.test in _LATENCIES else None
