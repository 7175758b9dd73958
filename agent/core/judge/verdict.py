"""From the evidence of one step to a verdict: guarded (against ceilings) and comparative (against the primary).

Fail: the canary is worse, at a confidence that holds however often is looked. Pass: enough samples, and what they say
is good. Inconclusive: anything else; more samples are needed, and nobody is blamed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from agent.api.judge import Conclusion, Finding
from agent.core.judge.distributions import binomial_upper_bound
from agent.core.judge.evidence import Counts, Histogram
from agent.core.judge.latency import Pair, alike, quantile_ratio, slower_by_strata, unlike
from agent.core.judge.looks import EARLY, Looks, holm, spent, step_alpha
from agent.core.judge.rates import above_ceiling, difference_bounds, worse

_OF_LATENCIES = frozenset({"ranks", "tail"})
_CONFIRMED = 1.5
_TAIL_SHARE = 50
"""The tail of the latencies may spend a fiftieth of what their ranks may: a few requests decide there."""
_AGAINST_BOUNDS = frozenset({"ceiling", "quantile"})


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as worse, and how sure one has to be. Defaults as documented in docs/judges.md.

    `alpha`: chance of blaming a good canary, over a whole run; `step`: which one this is, from 1. `minimum`: requests
    of each side in a step before it can pass. `margin`: difference of shares that does not matter. `effect`: share of
    pairs in which the canary has to be slower, and `ratio`: factor between the quantiles, before it counts as worse.
    """

    alpha: float = 0.05
    step: int = 1
    minimum: float = 200.0
    margin: float = 0.01
    effect: float = 0.60
    ratio: float = 1.10
    quantile: float = 0.95


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Bad requests. `ceiling` is the share that is allowed, None if only the comparison counts."""

    metric: str
    canary: Counts
    baseline: Counts | None = None
    ceiling: float | None = None
    effect: float = 1.0
    critical: bool = False


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies. `bound` is the most that the `quantile` may take, in seconds. `strata` are those of both sides by the
    length of the prompt; `sizes` the lengths themselves, in tokens, where latencies are not told by them. What is not
    `settled` may still be a cold start, and fails nobody."""

    metric: str
    canary: Histogram
    baseline: Histogram | None = None
    bound: float | None = None
    quantile: float = 0.99
    strata: tuple[Pair, ...] = ()
    sizes: Pair | None = None
    settled: bool = True
    effect: float = 1.0
    critical: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for a step, its findings in the order of the evidence, and the looks after it."""

    conclusion: Conclusion
    findings: tuple[Finding, ...]
    looks: Looks


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """Which look at the step this is, and what all looks at it together may spend."""

    number: int
    alpha: float


class _Test(msgspec.Struct, frozen=True, kw_only=True):
    """A finding before it is known whether it may fail the canary: `harmful` if the difference is large enough to."""

    finding: Finding
    p: float = 1.0
    harmful: bool = False


def judge(evidence: Sequence[Rate | Latency], policy: Policy, looks: Looks, *, comparative: bool) -> Verdict:
    """The verdict over all metrics of a step.

    Without evidence it is inconclusive: silence proves nothing. Metrics that are not critical share one alpha (Holm).
    The metric with the most samples says when the next look is due: one without any (the latency of requests that all
    fail) must not keep the others from being looked at.
    """
    samples = max((_size(item) for item in evidence), default=0.0)
    due = looks.due(samples)
    after = looks.taken(samples) if due else looks
    look = _Look(number=max(after.count, 1), alpha=step_alpha(policy.alpha, policy.step))
    tests = [_tested(item, policy, look, comparative=comparative) for item in evidence]
    rejected = holm({i: test.p for i, test in enumerate(tests) if not test.finding.critical}, look.alpha)
    rejected |= {i for i, test in enumerate(tests) if test.finding.critical and test.p <= look.alpha}
    findings = tuple(
        _decided(test, look, fails=due and i in rejected and _may_fail(item, test, policy))
        for i, (item, test) in enumerate(zip(evidence, tests, strict=True))
    )
    return Verdict(conclusion=_over_all(findings), findings=findings, looks=after)


def _over_all(findings: Sequence[Finding]) -> Conclusion:
    conclusions = {finding.conclusion for finding in findings}
    if Conclusion.FAIL in conclusions:
        return Conclusion.FAIL
    return Conclusion.PASS if conclusions == {Conclusion.PASS} else Conclusion.INCONCLUSIVE


def _decided(test: _Test, look: _Look, *, fails: bool) -> Finding:
    finding = msgspec.structs.replace(test.finding, alpha=look.alpha, look=look.number, p_value=test.p)
    if fails and test.harmful:
        reason = "above its bound" if finding.test in _AGAINST_BOUNDS else "worse than the primary"
        return msgspec.structs.replace(finding, conclusion=Conclusion.FAIL, reason=f"{reason}, and not by chance")
    return finding


def _may_fail(item: Rate | Latency, test: _Test, policy: Policy) -> bool:
    return _size(item) >= _least(test, policy) and (isinstance(item, Rate) or item.settled)


def _least(test: _Test, policy: Policy) -> float:
    """Samples that a failure needs. Errors may end a run early; where latencies are compared the first sight at the
    minimum is not enough: of equal ones it misjudges one in a thousand, half as many requests more hardly any."""
    return max(EARLY, _CONFIRMED * policy.minimum) if test.finding.test in _OF_LATENCIES else EARLY


def _size(item: Rate | Latency) -> float:
    """Samples of the smaller side."""
    total = item.canary.total
    return (
        min(total, item.baseline.total) if item.baseline is not None and item.baseline.total else total
    ) / item.effect


def _tested(item: Rate | Latency, policy: Policy, look: _Look, *, comparative: bool) -> _Test:
    if isinstance(item, Rate):
        if comparative:
            return _compared_rate(item, item.baseline or Counts(), policy, look)
        return _guarded_rate(item, policy, look)
    if comparative:
        return _compared_latency(item, item.baseline or Histogram((), ()), policy, look)
    return _guarded_latency(item, policy, look)


def _guarded_rate(item: Rate, policy: Policy, look: _Look) -> _Test:
    counts = item.canary.deflated(item.effect)
    finding = _finding(item, "ceiling", samples=counts.total, estimate=counts.share, bound=item.ceiling)
    return _against_ceiling(finding, counts, item.ceiling, policy, look)


def _guarded_latency(item: Latency, policy: Policy, look: _Look) -> _Test:
    """The quantile is above the bound if more than its complement of the requests are: a share like any other."""
    measured = item.canary.quantile(item.quantile)
    finding = _finding(item, "quantile", samples=item.canary.total / item.effect, bound=item.bound)
    if item.canary.total:
        lower, upper = item.canary.quantile_bounds(item.quantile, policy.alpha, effect=item.effect)
        finding = msgspec.structs.replace(finding, estimate=measured, lower=lower, upper=upper)
    if item.bound is None:
        return _against_ceiling(finding, item.canary.above(0).deflated(item.effect), None, policy, look)
    counts = item.canary.above(item.bound).deflated(item.effect)
    return _against_ceiling(finding, counts, 1 - item.quantile, policy, look)


def _against_ceiling(finding: Finding, counts: Counts, ceiling: float | None, policy: Policy, look: _Look) -> _Test:
    if ceiling is None:
        enough = counts.total >= policy.minimum
        return _concluded(
            finding, passing=enough, reason="no bound is set" if enough else _too_few(counts.total, policy)
        )
    p, lower = above_ceiling(counts, ceiling, look.alpha, look=look.number)
    if finding.test != "quantile":  # that one is about seconds
        upper = binomial_upper_bound(counts.bad, counts.total, look.alpha / (look.number * (look.number + 1)))
        finding = msgspec.structs.replace(finding, lower=lower, upper=upper)
    if counts.total >= policy.minimum and counts.share <= ceiling:
        return _concluded(finding, passing=True, reason="within its bound")
    few = _too_few(counts.total, policy)
    reason = few or f"{counts.share:.2%} is above {ceiling:.2%}, which more samples have to confirm"
    harmful = counts.share > ceiling
    return _concluded(finding, passing=False, reason=reason, p=p, harmful=harmful)


def _compared_rate(item: Rate, baseline: Counts, policy: Policy, look: _Look) -> _Test:
    ours, theirs = item.canary.deflated(item.effect), baseline.deflated(item.effect)
    p, test = worse(ours, theirs, look=look.number)
    lower, upper = difference_bounds(ours, theirs, policy.alpha)
    finding = _finding(
        item,
        test,
        samples=ours.total,
        baseline_samples=theirs.total,
        estimate=ours.share,
        baseline_estimate=theirs.share,
        lower=lower,
        upper=upper,
        bound=policy.margin,
    )
    beyond = item.ceiling is not None and ours.share > item.ceiling
    few = _too_few(min(ours.total, theirs.total), policy)
    if not few and upper < policy.margin and not beyond:
        return _concluded(finding, passing=True, reason="not worse than the primary")
    if beyond and above_ceiling(ours, item.ceiling or 0.0, look.alpha, look=look.number)[0] <= p:
        finding = msgspec.structs.replace(finding, test="ceiling", bound=item.ceiling)
        return _against_ceiling(finding, ours, item.ceiling, policy, look)
    harmful = ours.share - theirs.share >= policy.margin
    reason = few or f"the share may be up to {upper:.2%} higher than the primary's, {policy.margin:.2%} is allowed"
    return _concluded(finding, passing=False, reason=reason, p=p, harmful=harmful)


def _compared_latency(item: Latency, baseline: Histogram, policy: Policy, look: _Look) -> _Test:
    finding = _finding(item, "ranks", samples=item.canary.total / item.effect)
    if not (item.canary.total and baseline.total):
        return _concluded(finding, passing=False, reason=_too_few(0.0, policy))
    try:
        strata, (ours, theirs) = alike(item.strata or ((item.canary, baseline),))
    except ValueError as error:
        return _concluded(finding, passing=False, reason=str(error))
    p, share = slower_by_strata(strata, effect=item.effect)
    p = spent(p, look.number)
    ratio = quantile_ratio(ours, theirs, policy.quantile)
    finding = msgspec.structs.replace(
        finding,
        baseline_samples=sum(baseline.total for _, baseline in strata) / item.effect,
        estimate=ours.quantile(policy.quantile) if ours.total else None,
        baseline_estimate=theirs.quantile(policy.quantile) if theirs.total else None,
        bound=policy.ratio,
    )
    if ours.total:
        lower, upper = ours.quantile_bounds(policy.quantile, policy.alpha, effect=item.effect)
        finding = msgspec.structs.replace(finding, lower=lower, upper=upper)
    few = _too_few(min(ours.total / item.effect, finding.baseline_samples or 0.0), policy)
    harmful = ratio >= policy.ratio and share >= policy.effect
    tail_p, tail = _tail(ours, theirs, policy, item.effect, look)
    tail_p = min(tail_p * _TAIL_SHARE, 1.0)
    if tail and tail_p < p:
        finding, p, harmful = msgspec.structs.replace(finding, test="tail"), tail_p, True
    longer = unlike(*item.sizes) if item.sizes is not None and not item.strata else None
    if few or harmful:
        beyond = f"p{policy.quantile * 100:g} is {ratio:.2f} times the primary's"
        if longer is not None and longer > 0.5 and not few:
            return _concluded(finding, passing=False, reason=f"{beyond}, but {_longer(item)}")
        doubt = "which more samples have to confirm" if item.settled else "which may be a cold start"
        reason = few or f"{beyond}, {doubt}"
        return _concluded(finding, passing=False, reason=reason, p=p, harmful=harmful)
    note = f", though {_longer(item)}" if longer is not None and longer < 0.5 else ""
    return _concluded(finding, passing=True, reason=f"not slower than the primary{note}", p=p)


def _longer(item: Latency) -> str:
    """Which side got the longer prompts."""
    assert item.sizes is not None
    ours, theirs = (side.quantile(0.5) for side in item.sizes)
    more, less = ("its", "the primary's") if ours > theirs else ("the primary's", "its")
    high, low = max(ours, theirs), min(ours, theirs)
    return f"{more} prompts are longer: {high:.0f} tokens in the median, {less} {low:.0f}"


def _tail(ours: Histogram, theirs: Histogram, policy: Policy, effect: float, look: _Look) -> tuple[float, bool]:
    """(p, harmful) for slow requests alone: most requests may be as fast as before while the slow ones got slower.

    Counts what lies above the edge that is nearest to the quantile of both sides together (that of one side alone would
    make the other look slower); twice the usual share is what counts.
    """
    both = Histogram(ours.edges, tuple(a + b for a, b in zip(ours.counts, theirs.counts, strict=True)))
    allowed = 1 - policy.quantile
    above = {edge: both.above(edge).share for edge in both.edges}
    edge = min(both.edges, key=lambda edge: abs(math.log(above[edge] / allowed)) if above[edge] else math.inf)
    slow, usual = ours.above(edge).deflated(effect), theirs.above(edge).deflated(effect)
    p, _ = worse(slow, usual, look=look.number)
    return p, slow.share >= 2 * max(allowed / 2, usual.share)


def _finding(
    item: Rate | Latency,
    test: str,
    *,
    samples: float,
    baseline_samples: float | None = None,
    estimate: float | None = None,
    baseline_estimate: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    bound: float | None = None,
) -> Finding:
    return Finding(
        metric=item.metric,
        conclusion=Conclusion.INCONCLUSIVE,
        test=test,
        reason="",
        samples=samples,
        baseline_samples=baseline_samples,
        estimate=estimate,
        baseline_estimate=baseline_estimate,
        lower=lower,
        upper=upper,
        bound=bound,
        design_effect=item.effect,
        critical=item.critical,
    )


def _concluded(finding: Finding, *, passing: bool, reason: str, p: float = 1.0, harmful: bool = False) -> _Test:
    conclusion = Conclusion.PASS if passing else Conclusion.INCONCLUSIVE
    return _Test(finding=msgspec.structs.replace(finding, conclusion=conclusion, reason=reason), p=p, harmful=harmful)


def _too_few(samples: float, policy: Policy) -> str:
    return "" if samples >= policy.minimum else f"{samples:.0f} of {policy.minimum:.0f} samples so far"
