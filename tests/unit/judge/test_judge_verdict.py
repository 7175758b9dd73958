"""What follows from the evidence of a step."""

from __future__ import annotations

import math

import msgspec
import pytest

from agent.api.judge import Conclusion
from agent.core.judge.evidence import Counts, Histogram, design_effect
from agent.core.judge.looks import EARLY, Looks, holm, spent, step_alpha
from agent.core.judge.rates import difference_bounds, worse
from agent.core.judge.verdict import Latency, Policy, Rate, Verdict, judge

PASS, FAIL, INCONCLUSIVE = Conclusion.PASS, Conclusion.FAIL, Conclusion.INCONCLUSIVE
EDGES = (0.1, 0.25, 0.5, 1.0, 2.5, math.inf)


def guarded(total: float, bad: float, ceiling: float | None = 0.01, **more: float) -> Verdict:
    return judge(
        [Rate(metric="errors", canary=Counts(total, bad), ceiling=ceiling, **more)],
        Policy(),
        Looks(),
        comparative=False,
    )


def compared(ours: tuple[float, float], theirs: tuple[float, float], *, step: int = 1) -> Verdict:
    rate = Rate(metric="errors", canary=Counts(*ours), baseline=Counts(*theirs))
    return judge([rate], Policy(step=step), Looks(), comparative=True)


@pytest.mark.parametrize(
    ("total", "bad", "conclusion"),
    [
        (0, 0, INCONCLUSIVE),  # silence proves nothing
        (20, 1, INCONCLUSIVE),  # 5 %, but of hardly anything
        (199, 0, INCONCLUSIVE),
        (200, 0, PASS),
        (200, 2, PASS),
        (200, 4, INCONCLUSIVE),  # 2 %, which 1 % gives often enough
        (200, 10, FAIL),
        (60, 10, FAIL),  # clear harm does not wait for the minimum
        (40, 40, INCONCLUSIVE),  # but for EARLY
    ],
)
def test_against_a_ceiling(total: float, bad: float, conclusion: Conclusion) -> None:
    assert guarded(total, bad).conclusion is conclusion


def test_a_finding_explains_itself() -> None:
    finding = guarded(200, 10).findings[0]
    assert (finding.test, finding.samples, finding.estimate, finding.bound) == ("ceiling", 200, 0.05, 0.01)
    assert finding.reason == "above its bound, and not by chance"
    assert finding.lower is not None
    assert 0.01 < finding.lower < 0.05
    assert finding.p_value is not None
    assert finding.alpha == 0.025
    assert finding.p_value < finding.alpha
    assert guarded(40, 0).findings[0].reason == "40 of 200 samples so far"
    assert "2.00% is above 1.00%" in guarded(200, 4).findings[0].reason


def test_requests_that_fail_together_count_for_less() -> None:
    assert guarded(300, 10).conclusion is FAIL
    assert guarded(300, 10, effect=5.0).conclusion is INCONCLUSIVE


@pytest.mark.parametrize(
    ("ours", "theirs", "conclusion"),
    [
        ((300, 1), (300, 2), PASS),
        ((150, 0), (3000, 10), INCONCLUSIVE),
        ((500, 25), (500, 3), FAIL),
        ((100, 9), (900, 4), FAIL),
        ((100000, 550), (100000, 400), PASS),  # significant, but a difference that does not matter
        ((5000, 250), (5000, 250), PASS),  # both bad: the rollout is not to blame
        ((400, 8), (400, 4), INCONCLUSIVE),
        ((200, 0), (0, 0), INCONCLUSIVE),  # the primary is silent
    ],
)
def test_against_the_primary(ours: tuple[float, float], theirs: tuple[float, float], conclusion: Conclusion) -> None:
    assert compared(ours, theirs).conclusion is conclusion


def test_a_ceiling_also_counts_in_a_comparison() -> None:
    both_bad = Rate(metric="errors", canary=Counts(5000, 250), baseline=Counts(5000, 250), ceiling=0.01)
    assert judge([both_bad], Policy(), Looks(), comparative=True).conclusion is FAIL


def histogram(*counts: float) -> Histogram:
    return Histogram(EDGES, counts)


@pytest.mark.parametrize(
    ("ours", "theirs", "conclusion"),
    [
        (histogram(100, 100, 50, 10, 0, 0), histogram(100, 100, 50, 10, 0, 0), PASS),
        (histogram(40, 180, 200, 100, 10, 0), histogram(200, 200, 100, 20, 0, 0), FAIL),
        (histogram(200, 200, 40, 0, 80, 0), histogram(200, 200, 100, 20, 0, 0), FAIL),  # only the slow ones got slower
        (histogram(20, 90, 100, 50, 5, 0), histogram(100, 100, 50, 10, 0, 0), INCONCLUSIVE),  # not yet
        (histogram(2, 9, 10, 5, 1, 0), histogram(100, 100, 50, 10, 0, 0), INCONCLUSIVE),
        (histogram(0, 0, 0, 0, 0, 0), histogram(100, 100, 50, 10, 0, 0), INCONCLUSIVE),
    ],
)
def test_latency_against_the_primary(ours: Histogram, theirs: Histogram, conclusion: Conclusion) -> None:
    latency = Latency(metric="latency", canary=ours, baseline=theirs)
    assert judge([latency], Policy(), Looks(), comparative=True).conclusion is conclusion


SHORT, LONG = histogram(200, 160, 40, 0, 0, 0), histogram(0, 0, 40, 200, 160, 0)


def mixed(short: int, long: int) -> tuple[Histogram, Histogram]:
    """Latencies of so many hundred short and long prompts, which take their time whatever the version."""
    return tuple(  # type: ignore[return-value]
        Histogram(kind.edges, tuple(count * share / 4 for count in kind.counts))
        for kind, share in ((SHORT, short), (LONG, long))
    )


def as_one(parts: tuple[Histogram, Histogram]) -> Histogram:
    one, other = parts
    return Histogram(one.edges, tuple(a + b for a, b in zip(one.counts, other.counts, strict=True)))


def tokens(short: int, long: int) -> Histogram:
    return Histogram((256.0, 4096.0, float("inf")), (short * 100.0, long * 100.0, 0.0))


def test_longer_prompts_are_no_slower_version() -> None:
    ours, theirs = mixed(2, 6), mixed(6, 2)
    blind = Latency(metric="llm-ttft", canary=as_one(ours), baseline=as_one(theirs))
    assert judge([blind], Policy(), Looks(), comparative=True).conclusion is FAIL

    told = msgspec.structs.replace(blind, sizes=(tokens(2, 6), tokens(6, 2)))
    verdict = judge([told], Policy(), Looks(), comparative=True)
    assert verdict.conclusion is INCONCLUSIVE
    assert "but its prompts are longer: 1536 tokens in the median, the primary's 171" in verdict.findings[0].reason

    strata = tuple(zip(ours, theirs, strict=True))
    apart = msgspec.structs.replace(blind, strata=strata)
    verdict = judge([apart], Policy(), Looks(), comparative=True)
    assert (verdict.conclusion, verdict.findings[0].reason) == (PASS, "not slower than the primary")
    assert verdict.findings[0].baseline_samples == 800


def test_a_version_that_is_slower_at_each_length_is_found_whatever_the_mix() -> None:
    (short, long), theirs = mixed(6, 2), mixed(2, 6)
    slowed = [Histogram(one.edges, (0.0, *one.counts[:-1])) for one in (short, long)]
    latency = Latency(
        metric="llm-ttft",
        canary=as_one((slowed[0], slowed[1])),
        baseline=as_one(theirs),
        strata=tuple(zip(slowed, theirs, strict=True)),
    )
    assert judge([latency], Policy(), Looks(), comparative=True).conclusion is FAIL


def test_shorter_prompts_are_told_of_where_the_canary_passes() -> None:
    latency = Latency(
        metric="llm-ttft",
        canary=as_one(mixed(6, 2)),
        baseline=as_one(mixed(2, 6)),
        sizes=(tokens(6, 2), tokens(2, 6)),
    )
    verdict = judge([latency], Policy(), Looks(), comparative=True)
    assert verdict.conclusion is PASS
    assert verdict.findings[0].reason.startswith("not slower than the primary, though the primary's prompts are longer")


def test_ten_times_the_traffic_at_equal_latency_is_no_difference() -> None:
    latency = Latency(
        metric="latency", canary=histogram(100, 100, 50, 10, 1, 0), baseline=histogram(1000, 1000, 500, 100, 10, 0)
    )
    assert judge([latency], Policy(), Looks(), comparative=True).conclusion is PASS


@pytest.mark.parametrize(("bound", "conclusion"), [(1.0, PASS), (0.5, FAIL), (0.2, FAIL)])
def test_latency_against_a_bound(bound: float, conclusion: Conclusion) -> None:
    latency = Latency(metric="latency", canary=histogram(100, 100, 50, 20, 1, 0), bound=bound)
    assert judge([latency], Policy(), Looks(), comparative=False).conclusion is conclusion


def test_histograms_that_cannot_be_compared_hold_and_say_why() -> None:
    latency = Latency(metric="latency", canary=histogram(*[50] * 6), baseline=Histogram((7.0,), (400,)))
    verdict = judge([latency], Policy(), Looks(), comparative=True)
    assert verdict.conclusion is INCONCLUSIVE
    assert "no common buckets" in verdict.findings[0].reason


def test_all_metrics_have_to_pass_and_one_is_enough_to_fail() -> None:
    good = Rate(metric="a", canary=Counts(400, 0), ceiling=0.01)
    bad = Rate(metric="b", canary=Counts(400, 40), ceiling=0.01)
    open_ = Rate(metric="c", canary=Counts(100, 0), ceiling=0.01)
    for evidence, conclusion in (([good], PASS), ([good, open_], INCONCLUSIVE), ([good, open_, bad], FAIL)):
        assert judge(evidence, Policy(), Looks(), comparative=False).conclusion is conclusion


def test_no_evidence_is_inconclusive() -> None:
    assert judge([], Policy(), Looks(), comparative=False).conclusion is INCONCLUSIVE


def test_many_metrics_do_not_add_up_to_a_false_alarm_but_a_critical_one_keeps_its_own() -> None:
    def doubtful(name: str, *, critical: bool = False) -> Rate:
        return Rate(metric=name, canary=Counts(200, 7), ceiling=0.01, critical=critical)

    assert judge([doubtful("a")], Policy(), Looks(), comparative=False).conclusion is FAIL
    quiet = [Rate(metric=str(i), canary=Counts(200, 2), ceiling=0.01) for i in range(9)]
    assert judge([doubtful("a"), *quiet], Policy(), Looks(), comparative=False).conclusion is INCONCLUSIVE
    assert judge([doubtful("a", critical=True), *quiet], Policy(), Looks(), comparative=False).conclusion is FAIL


def test_a_look_is_spent_only_when_there_is_news() -> None:
    looks = Looks()
    assert not looks.due(EARLY - 1)
    looks = looks.taken(EARLY)
    assert not looks.due(EARLY * 1.4)
    assert looks.due(EARLY * 1.5)
    rate = Rate(metric="errors", canary=Counts(60, 1), ceiling=0.01)
    first = judge([rate], Policy(), Looks(), comparative=False)
    again = judge([rate], Policy(), first.looks, comparative=False)
    assert (first.looks.count, again.looks) == (1, first.looks)


def test_what_is_spent_adds_up_to_no_more_than_alpha() -> None:
    assert sum(step_alpha(0.05, step) for step in range(1, 1000)) < 0.05
    assert sum(1 / spent(1e-9, look) * 1e-9 for look in range(1, 1000)) < 1


def test_holm() -> None:
    assert holm({0: 0.01, 1: 0.04, 2: 0.03}, 0.05) == {0}
    assert holm({0: 0.01, 1: 0.02, 2: 0.05}, 0.05) == {0, 1, 2}
    assert holm({0: 0.02, 1: 0.02, 2: 0.05}, 0.05) == frozenset()
    assert holm({}, 0.05) == frozenset()


def test_design_effect_is_one_for_independent_and_large_for_clustered_failures() -> None:
    assert design_effect([Counts(100, 5), Counts(100, 6), Counts(100, 4)]) == 1.0
    assert design_effect([Counts(100, 15), Counts(100, 0), Counts(100, 0)]) > 10
    assert design_effect([Counts(100, 5)]) == design_effect([]) == design_effect([Counts(9, 0), Counts(9, 0)]) == 1.0


def test_many_failures_use_the_sequential_test_and_few_the_exact_one() -> None:
    assert worse(Counts(500, 40), Counts(500, 10), look=1)[1] == "sequential"
    assert worse(Counts(500, 12), Counts(500, 3), look=1)[1] == "exact"
    assert worse(Counts(500, 3), Counts(500, 12), look=1)[0] == 1.0


def test_the_bounds_of_a_difference_hold_it() -> None:
    lower, upper = difference_bounds(Counts(1000, 50), Counts(1000, 20), 0.05)
    assert 0.01 < lower < 0.03 < upper < 0.05
    assert difference_bounds(Counts(0, 0), Counts(100, 0), 0.05)[1] == pytest.approx(1.0)


def test_a_metric_without_samples_does_not_keep_others_from_failing() -> None:
    failing = Rate(metric="errors", canary=Counts(60, 60), ceiling=0.01)
    silent = Latency(metric="ttft", canary=Histogram((0.1, math.inf), (0.0, 0.0)), bound=1.0)
    found = judge([failing, silent], Policy(), Looks(), comparative=False)
    assert found.conclusion is FAIL
    assert [finding.conclusion for finding in found.findings] == [FAIL, INCONCLUSIVE]


def test_few_samples_of_one_metric_conclude_nothing_although_another_has_many() -> None:
    many = Rate(metric="errors", canary=Counts(1000, 0), ceiling=0.01)
    few = Rate(metric="aborted", canary=Counts(10, 10), ceiling=0.01)
    found = judge([many, few], Policy(), Looks(), comparative=False)
    assert found.conclusion is INCONCLUSIVE
