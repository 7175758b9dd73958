"""From a plan to what is counted, and from the answers to evidence."""

from __future__ import annotations

import math
import re

import msgspec
import pytest
from rollout_world import START, make_plan

from agent.api.judge import Conclusion
from agent.core.judge.packs import HTTP, NONE, PACKS, TGI, TRITON, VLLM, LatencyMetric, pack_for
from agent.core.judge.queries import Fleet, Pods, Point, counted
from agent.core.judge.verdict import Latency, Rate
from agent.core.models.extract.servers import SERVERS
from agent.core.models.serving import server_of
from agent.core.rollout.evidence import (
    Answer,
    Window,
    evidence_for,
    is_counted,
    period_of,
    queries_of,
    timed_queries,
    wanted,
)
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.judgesettings import JudgeMode, JudgeSettings
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.plan import DURATION, SUCCESS_RATE, Bounds, MetricSpec
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Status
from agent.core.rollout.weighing import Doubt, explain, interval, judgements_of, weigh

PODS = Pods(namespace="prod", canary=Fleet("chat"), primary=Fleet("chat-primary"))
CANARY, PRIMARY = "chat-5d9c-x1y2z", "chat-primary-77aa-k8s0z"
PASS, FAIL, INCONCLUSIVE = Conclusion.PASS, Conclusion.FAIL, Conclusion.INCONCLUSIVE
GUARDED = JudgeState(mode=JudgeMode.GUARDED, step=1, since=START)
RATE = MetricSpec(name=SUCCESS_RATE, bounds=Bounds(minimum=95.0))


def points(values, **labels):
    """One series a pod; histograms have one a bucket."""
    found = []
    for pod, value in values.items():
        buckets = value.items() if isinstance(value, dict) else [(None, value)]
        for edge, count in buckets:
            found.append(Point({"pod": pod, **labels, **({} if edge is None else {"le": edge})}, float(count)))
    return tuple(found)


def answered(plan, pack, values, seconds=60.0, state=GUARDED, weight=20, timed=None):
    """Evidence from answers by (metric, position of its query); what is not named has no series."""
    items = wanted(plan, pack)
    answers = {}
    for item in items:
        for position, query in enumerate(queries_of(item, PODS, seconds)):
            found = values.get((item.metric.name, position), ())
            answers[query] = (
                found if isinstance(found, Answer) else Answer(found or answers.get(query, Answer()).points)
            )
    window = Window(pods=PODS, seconds=seconds, period=period_of(seconds) if timed else 0.0)
    answers_by_period = {
        query: Answer(timed.get((item.metric.name, position), ()))
        for item in items
        for position, query in enumerate(queries_of(item, PODS, window.period) if timed else ())
    }
    window = msgspec.structs.replace(window, timed=answers_by_period)
    return evidence_for(items, answers, window, state=state, settings=plan.judging, weight=weight)


def verdict(evidence, *checks, state=GUARDED, **settings):
    return weigh(evidence, checks, state, make_plan(judging=JudgeSettings(**settings)), START)


def requests(total, bad, baseline=(1000, 5)):
    return {
        (SUCCESS_RATE, 0): points({CANARY: total, PRIMARY: baseline[0]}),
        (SUCCESS_RATE, 1): points({CANARY: bad, PRIMARY: baseline[1]}),
    }


@pytest.mark.parametrize(
    ("pod", "side"),
    [
        (CANARY, "canary"),
        (PRIMARY, "primary"),
        ("chat-canary-proxy-1-2", ""),
        ("chatter-5d9c-x1y2z", ""),
        ("chat-5d9c", ""),
    ],
)
def test_a_pod_is_of_one_side(pod, side):
    assert PODS.side(pod) == side


@pytest.mark.parametrize(
    ("pod", "side"), [("chat-x1y2z", "canary"), ("chat-primary-k8s0z", "primary"), ("chat-5d9c-x1y2z", "")]
)
def test_pods_of_a_daemon_set_have_shorter_names(pod, side):
    pods = Snapshot(plan=make_plan(target_kind="DaemonSet"), status=Status(), now=START).pods
    assert pods.side(pod) == side
    assert all('=~"chat-[0-9a-zA-Z]+|chat-primary-[0-9a-zA-Z]+"' in matcher for matcher in pods.matchers())


@pytest.mark.parametrize(
    ("workload", "pod", "expected"),
    [
        ("chat-predictor", "chat-predictor-5d9c4f7b8-x1y2z", True),
        ("chat-predictor", "chat-weir-0a1b-predictor-5d9c4f7b8-x1y2z", False),
        ("a" * 47, "a" * 47 + "-5d9c4f7b86x1y2z", True),  # the dash behind the hash is the 59th character
        ("a" * 55, "a" * 55 + "-5dx1y2z", True),
        ("a" * 63, "a" * 58 + "x1y2z", True),
        ("a" * 63, "a" * 57 + "bx1y2z", False),
        ("v1.chat", "v1xchat-5d9c-x1y2z", False),
    ],
)
def test_pods_of_workloads_with_long_names_are_found(workload, pod, expected):
    assert (re.fullmatch(Fleet(workload).pattern, pod) is not None) is expected


def test_a_query_names_window_pods_and_all_names():
    query = counted(HTTP.metrics[0].total, PODS, 61.2, by=("le",))
    assert query.startswith("sum by (pod,kubernetes_pod_name,le) (")
    assert "[62s]" in query
    assert "offset 62s" in query
    assert 'namespace="prod",pod=~"chat-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)|chat-primary-' in query
    assert 'kubernetes_namespace="prod",kubernetes_pod_name=~"' in query


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.name)
def test_packs_know_their_servers(pack):
    names = {server.name for server in SERVERS}
    assert set(pack.servers) <= names
    for server in pack.servers:
        assert pack_for(server) is pack
    assert len({metric.name for metric in pack.metrics}) == len(pack.metrics)
    assert all(not name.endswith("_bucket") for m in pack.metrics if isinstance(m, LatencyMetric) for name in m.names)


@pytest.mark.parametrize(
    ("container", "server"),
    [
        ({"image": "vllm/vllm-openai:v0.9", "args": ["--model", "org/m"]}, "vLLM"),
        ({"image": "mine", "command": ["python", "-m", "sglang.launch_server"]}, "SGLang"),
        ({"image": "nvcr.io/nvidia/tritonserver:24.01-py3"}, "Triton"),
        ({"image": "nginx"}, ""),
        ({"image": "mine", "command": "not a list"}, ""),
    ],
)
def test_which_server_a_pod_runs(container, server):
    assert server_of({"containers": [{"image": "istio/proxyv2"}, container]}) == server
    assert server_of({}) == ""


def test_listed_metrics_come_before_the_rest_of_the_pack():
    plan = make_plan(metrics=(RATE, MetricSpec(name="llm-ttft", bounds=Bounds(maximum=800.0))))
    items = wanted(plan, VLLM)
    assert [item.metric.name for item in items][:2] == [SUCCESS_RATE, "llm-ttft"]
    assert [item.required for item in items] == [True, True, *[False] * 5]
    assert len({item.metric.name for item in items}) == len(items)


def test_end_to_end_latency_of_an_llm_counts_only_where_it_is_listed():
    name = "llm-latency"
    assert name not in {item.metric.name for item in wanted(make_plan(metrics=()), VLLM)}
    listed = make_plan(metrics=(MetricSpec(name=name, bounds=Bounds(maximum=20_000.0)),))
    assert [item.metric.name for item in wanted(listed, VLLM) if item.required] == [name]


@pytest.mark.parametrize(
    ("spec", "provider", "expected"),
    [
        (RATE, "gatewayapi:v1", True),
        (RATE, "istio", False),
        (MetricSpec(name="errors", bounds=Bounds(), query="errors"), "gatewayapi:v1", False),
        (MetricSpec(name=SUCCESS_RATE, bounds=Bounds(), template=("prod", "t")), "gatewayapi:v1", False),
    ],
)
def test_what_can_be_counted(spec, provider, expected):
    assert is_counted(make_plan(provider=provider), spec) is expected


def test_a_rate_and_its_ceiling():
    (test,) = answered(make_plan(metrics=(RATE,)), NONE, requests(300, 3)).tested
    assert isinstance(test.item, Rate)
    assert (test.item.canary.total, test.item.canary.bad, test.pods) == (300, 3, 1)
    assert (test.item.baseline.total, test.item.ceiling) == (1000, pytest.approx(0.05))


def test_a_rate_without_bounds_has_the_general_ceiling():
    bare = MetricSpec(name=SUCCESS_RATE, bounds=Bounds(minimum=0.0), explicit=False)
    (test,) = answered(make_plan(metrics=(bare,)), NONE, requests(300, 3)).tested
    assert test.item.ceiling == 0.01


def test_failures_that_are_counted_apart_are_requests_too():
    values = {("predict-error-rate", 0): points({CANARY: 90}), ("predict-error-rate", 1): points({CANARY: 10})}
    found = answered(make_plan(metrics=()), TRITON, values).tested[0].item
    assert (found.canary.total, found.canary.bad) == (100, 10)


def test_latency_in_seconds_by_bucket():
    spec = MetricSpec(name=DURATION, bounds=Bounds(maximum=500.0))
    values = {(DURATION, 0): points({CANARY: {"0.1": 50, "0.5": 90, "+Inf": 100}, PRIMARY: {"0.1": 10, "+Inf": 10}})}
    (test,) = answered(make_plan(metrics=(spec,)), NONE, values).tested
    assert isinstance(test.item, Latency)
    assert (test.item.bound, test.item.canary.edges) == (0.5, (0.1, 0.5, math.inf))
    assert test.item.canary.counts == (50, 40, 10)
    assert test.item.baseline.total == 10


def test_pods_that_differ_make_requests_count_for_less():
    values = {
        (SUCCESS_RATE, 0): points({"chat-1-a": 100, "chat-1-b": 100}),
        (SUCCESS_RATE, 1): points({"chat-1-a": 0, "chat-1-b": 20}),
    }
    (test,) = answered(make_plan(metrics=(RATE,)), NONE, values).tested
    assert test.pods == 2
    assert test.item.effect > 5


def test_a_metric_of_the_pack_that_nobody_exports_is_left_out():
    values = {("llm-ttft", 0): points({CANARY: {"0.1": 300, "+Inf": 300}})}
    evidence = answered(make_plan(metrics=()), VLLM, values)
    assert [test.item.metric for test in evidence.tested] == ["llm-ttft"]
    assert evidence.missed == ()


def test_silence_is_no_evidence():
    for plan, pack in ((make_plan(metrics=(RATE,)), NONE), (make_plan(metrics=()), VLLM)):
        evidence = answered(plan, pack, {})
        assert len(evidence.missed) == 1
        said = verdict(evidence)
        assert (said.conclusion, said.doubt) == (INCONCLUSIVE, Doubt.TOO_FEW)
        assert "no requests are counted" in said.text


def test_a_server_that_does_not_answer_blames_nobody():
    values = {**requests(500, 400), (DURATION, 0): Answer(error="no answer")}
    evidence = answered(make_plan(metrics=(MetricSpec(name=DURATION, bounds=Bounds(maximum=1.0)),)), NONE, values)
    said = verdict(evidence)
    assert (said.conclusion, said.doubt) == (INCONCLUSIVE, Doubt.UNAVAILABLE)
    assert "no answer" in said.text


def test_nothing_to_judge_by_is_not_a_pass():
    said = verdict(answered(make_plan(metrics=()), NONE, {}))
    assert (said.conclusion, said.doubt, said.text) == (
        INCONCLUSIVE,
        Doubt.NO_METRICS,
        "there is no metric to judge by",
    )


def test_requests_that_all_fail_are_caught_although_they_have_no_latency():
    values = {
        ("llm-error-rate", 0): points({CANARY: 60}),
        ("llm-error-rate", 1): points({CANARY: 60}),
        ("llm-ttft", 0): points({PRIMARY: {"0.1": 300, "+Inf": 300}}),
    }
    said = verdict(answered(make_plan(metrics=()), VLLM, values))
    assert said.conclusion is FAIL
    assert said.text.startswith("llm-error-rate 100.00% of 60 requests to one pod are bad, 1.00% may be (p ")


def test_a_verdict_has_query_window_and_looks():
    evidence = answered(make_plan(metrics=(RATE,)), NONE, requests(300, 3))
    said = verdict(evidence)
    assert (said.conclusion, said.looks.count, said.looks.samples) == (PASS, 1, 300)
    (finding,) = said.findings
    assert (finding.since, finding.until, finding.pods) == (START, START, 1)
    assert finding.query == evidence.tested[0].query
    assert not said.ample
    assert verdict(answered(make_plan(metrics=(RATE,)), NONE, requests(500, 3))).ample


def test_judgements_speak_as_flaggers_metrics_do():
    evidence = answered(make_plan(metrics=(RATE,)), TRITON, {**requests(300, 3), **triton(total=295, failed=5)})
    success, failures, *_ = judgements_of(verdict(evidence), START, weight=20, iteration=0)
    assert (success.metric, success.value, success.minimum, success.maximum) == (
        SUCCESS_RATE,
        pytest.approx(99.0),
        pytest.approx(95.0),
        None,
    )
    assert (failures.metric, failures.maximum) == ("predict-error-rate", pytest.approx(1.0))
    assert failures.value == pytest.approx(100 * 5 / 300)
    assert (failures.verdict, failures.weight) == (Verdict.INCONCLUSIVE, 20)


def test_bounds_of_durations_are_in_milliseconds_as_in_the_canary():
    spec = MetricSpec(name=DURATION, bounds=Bounds(maximum=500.0))
    values = {(DURATION, 0): points({CANARY: {"0.1": 300, "0.5": 300, "+Inf": 300}})}
    (found,) = judgements_of(verdict(answered(make_plan(metrics=(spec,)), NONE, values)), START, weight=0, iteration=0)
    assert found.maximum == 500.0
    assert found.value is not None
    assert found.value < 0.1


def triton(total, failed):
    return {("predict-error-rate", 0): points({CANARY: total}), ("predict-error-rate", 1): points({CANARY: failed})}


def check(outcome, value=None):
    text = "" if outcome is Verdict.PASS else "Halt chat.prod advancement errors 5.00 > 1"
    return Judgement(metric="errors", verdict=outcome, time=START, value=value, text=text)


@pytest.mark.parametrize(
    ("outcome", "total", "conclusion", "failed"),
    [
        (Verdict.PASS, 300, PASS, False),
        (Verdict.FAIL, 300, INCONCLUSIVE, True),
        (Verdict.FAIL, 30, INCONCLUSIVE, False),
        (Verdict.NO_DATA, 300, INCONCLUSIVE, False),
        (Verdict.ERROR, 300, INCONCLUSIVE, False),
    ],
)
def test_numbers_are_held_against_flaggers_threshold(outcome, total, conclusion, failed):
    evidence = answered(make_plan(metrics=(RATE,)), NONE, requests(total, 0))
    said = verdict(evidence, check(outcome))
    assert (said.conclusion, bool(said.failed)) == (conclusion, failed)


@pytest.mark.parametrize(
    ("bound", "total", "conclusion", "failed"),
    [
        (None, 300, PASS, ""),
        (200.0, 300, PASS, ""),
        (50.0, 300, INCONCLUSIVE, "Halt chat.prod advancement predict-latency 100ms > 50ms"),
        (50.0, 30, INCONCLUSIVE, ""),
    ],
)
def test_a_mean_is_a_number_like_any_other(bound, total, conclusion, failed):
    metrics = () if bound is None else (MetricSpec(name="predict-latency", bounds=Bounds(maximum=bound)),)
    values = {
        ("predict-latency", 0): points({CANARY: total * 100_000}),
        ("predict-latency", 1): points({CANARY: total}),
    }
    said = verdict(answered(make_plan(metrics=metrics), TRITON, values))
    assert (said.conclusion, said.failed) == (conclusion, failed)


def test_the_comparison_is_explained_with_both_sides():
    state = JudgeState(mode=JudgeMode.COMPARATIVE, step=1, since=START)
    evidence = answered(make_plan(metrics=(RATE,)), NONE, requests(1000, 45, baseline=(1000, 5)), state=state)
    said = verdict(evidence, state=state)
    assert said.conclusion is FAIL
    assert "4.50% of 1000 requests to one pod are bad, of the primary's 0.50%" in explain(said.findings[0])
    assert interval(said.findings[0]) == "in truth between +2.91% and +5.23% from the primary's"


def test_every_estimate_is_told_with_what_it_may_be_in_truth():
    slow = points({CANARY: {"0.1": 900, "0.5": 960, "1": 1000, "+Inf": 1000}})
    values = {**requests(1000, 5), ("request-duration", 0): slow}
    rate, duration = verdict(answered(make_plan(metrics=(RATE,)), HTTP, values)).findings
    assert interval(rate) == "in truth between 0.14% and 1.27%"
    assert duration.lower < duration.estimate < duration.upper
    assert interval(duration) == "in truth between 810ms and 940ms"
    crowded = msgspec.structs.replace(duration, design_effect=2.5)
    assert interval(crowded).endswith("; 2.5 requests count as one")
    assert interval(msgspec.structs.replace(duration, lower=None)) == ""


COMPARATIVE = JudgeState(mode=JudgeMode.COMPARATIVE, step=1, since=START)


def alone(total, bad):
    """Requests to the canary; the primary has no series at all."""
    return {(SUCCESS_RATE, 0): points({CANARY: total}), (SUCCESS_RATE, 1): points({CANARY: bad})}


def test_latencies_are_told_apart_by_the_length_of_their_prompts_where_a_label_says_it():
    plan = make_plan(metrics=(), judging=JudgeSettings(prompt_label="prompt_bucket"))
    counts = {"0.5": 90, "+Inf": 100}
    both = {CANARY: counts, PRIMARY: counts}
    values = {("llm-ttft", 0): points(both, prompt_bucket="short") + points(both, prompt_bucket="long")}
    evidence = answered(plan, VLLM, values, state=COMPARATIVE)
    ttft = next(test for test in evidence.tested if test.item.metric == "llm-ttft")
    assert "sum by (pod,kubernetes_pod_name,le,prompt_bucket)" in ttft.query
    assert [(ours.total, theirs.total) for ours, theirs in ttft.item.strata] == [(100, 100), (100, 100)]
    assert (ttft.item.canary.total, ttft.item.sizes) == (200, None)


def test_without_such_a_label_the_lengths_are_compared():
    values = {
        ("llm-ttft", 0): points({CANARY: {"0.5": 90, "+Inf": 100}, PRIMARY: {"0.5": 90, "+Inf": 100}}),
        ("llm-ttft", 1): points({CANARY: {"100": 10, "+Inf": 100}, PRIMARY: {"100": 90, "+Inf": 100}}),
    }
    evidence = answered(make_plan(metrics=()), VLLM, values, state=COMPARATIVE)
    ttft = next(test for test in evidence.tested if test.item.metric == "llm-ttft")
    assert [side.counts for side in ttft.item.sizes] == [(10, 90), (90, 10)]
    assert ttft.item.strata == ()


def by_period(values):
    """One series of the canary's pod: a value at the end of each period."""
    return tuple(Point({"pod": CANARY}, float(value), at=30.0 * number) for number, value in enumerate(values))


@pytest.mark.parametrize(
    ("bad", "resembling"),
    [([1, 2, 1, 2, 2, 1, 1, 2], False), ([12, 0, 0, 0, 0, 0, 0, 0], True)],
)
def test_requests_of_one_pod_that_fail_together_count_for_less(bad, resembling):
    timed = {(SUCCESS_RATE, 0): by_period([50] * 8), (SUCCESS_RATE, 1): by_period(bad)}
    evidence = answered(make_plan(metrics=(RATE,)), NONE, requests(400, 12), seconds=240.0, timed=timed)
    (test,) = evidence.tested
    assert (test.item.effect > 5, test.item.effect == 1.0) == (resembling, not resembling)


def test_slow_requests_that_come_together_count_for_less():
    def histogram(period, slow):
        labels = ({"pod": CANARY, "le": edge} for edge in ("0.1", "1", "+Inf"))
        return (Point(one, value, at=30.0 * period) for one, value in zip(labels, (50 - slow, 50, 50), strict=True))

    whole = {("request-duration", 0): points({CANARY: {"0.1": 340, "1": 400, "+Inf": 400}})}
    effects = []
    for slow in ([7, 8, 7, 8, 7, 8, 7, 8], [50, 10, 0, 0, 0, 0, 0, 0]):
        timed = {("request-duration", 0): tuple(point for n, s in enumerate(slow) for point in histogram(n, s))}
        evidence = answered(make_plan(metrics=()), HTTP, whole, seconds=240.0, timed=timed)
        effects.append(next(test.item.effect for test in evidence.tested))
    assert effects[0] == 1.0
    assert effects[1] > 5


@pytest.mark.parametrize(("seconds", "period"), [(60.0, 0.0), (89.0, 0.0), (90.0, 30.0), (1200.0, 100.0)])
def test_a_window_that_is_long_enough_has_periods(seconds, period):
    assert period_of(seconds) == period
    window = Window(pods=PODS, seconds=seconds, period=period)
    queries = timed_queries(wanted(make_plan(metrics=(RATE,)), VLLM), window)
    assert bool(queries) is bool(period)
    assert all(f"[{period:.0f}s]" in query for query in queries)


@pytest.mark.parametrize(
    ("weight", "bad", "conclusion", "reason"),
    [
        (20, 0, INCONCLUSIVE, "0 of 200 samples so far"),
        (20, 100, INCONCLUSIVE, "0 of 200 samples so far"),
        (100, 0, PASS, "within its bound"),
        (100, 100, FAIL, "above its bound, and not by chance"),
    ],
)
def test_without_a_primary_nothing_is_compared_and_nothing_is_passed_for_it(weight, bad, conclusion, reason):
    listed = MetricSpec(name=SUCCESS_RATE, bounds=Bounds(), explicit=False)
    evidence = answered(make_plan(metrics=(listed,)), NONE, alone(1000, bad), state=COMPARATIVE, weight=weight)
    said = verdict(evidence, state=COMPARATIVE)
    assert (said.conclusion, said.findings[0].reason) == (conclusion, reason)


def test_what_only_the_canary_exports_counts_where_it_is_listed():
    slow = points({CANARY: {"0.1": 0, "+Inf": 500}})
    values = {**requests(1000, 5, baseline=(1000, 5)), ("request-duration", 0): slow}
    left_out = answered(make_plan(metrics=(RATE,)), HTTP, values, state=COMPARATIVE)
    assert verdict(left_out, state=COMPARATIVE).conclusion is PASS
    duration = MetricSpec(name="request-duration", bounds=Bounds(), explicit=False)
    asked = answered(make_plan(metrics=(RATE, duration)), HTTP, values, state=COMPARATIVE)
    assert verdict(asked, state=COMPARATIVE).conclusion is INCONCLUSIVE


@pytest.mark.parametrize(
    ("name", "pack", "bounds", "values", "value", "text"),
    [
        (
            "llm-output-tokens",
            VLLM,
            (20.0, None),
            [{CANARY: 900, PRIMARY: 30_000}, {CANARY: 300, PRIMARY: 300}],
            3.0,
            "llm-output-tokens 3 < 20",
        ),
        (
            "tokens-per-second-per-replica",
            VLLM,
            (100.0, None),
            [{"chat-1-a": 600, "chat-1-b": 1200, PRIMARY: 9}],
            15.0,
            "tokens-per-second-per-replica 15 < 100",
        ),
        ("llm-kv-pressure", VLLM, (None, 90.0), [{CANARY: 0.95}], 95.0, "llm-kv-pressure 95 > 90"),
        ("llm-queue-length", TGI, (None, 3.0), [{CANARY: 4.5}], 4.5, "llm-queue-length 4.5 > 3"),
        ("restart-count", NONE, (None, 0.0), [{CANARY: 2, PRIMARY: 7}], 2.0, "restart-count 2 > 0"),
    ],
)
def test_numbers_of_the_pack_count_where_they_are_listed(name, pack, bounds, values, value, text):
    assert name not in {item.metric.name for item in wanted(make_plan(metrics=()), pack)}
    plan = make_plan(metrics=(MetricSpec(name=name, bounds=Bounds(*bounds)), RATE))
    answers = {(name, place): points(each) for place, each in enumerate(values)}
    said = verdict(answered(plan, pack, {**requests(300, 1), **answers}))
    finding = next(finding for finding in said.findings if finding.metric == name)
    assert (finding.conclusion, finding.estimate) == (FAIL, pytest.approx(value))
    assert said.failed == f"Halt chat.prod advancement {text}"
    shown = next(each for each in judgements_of(said, START, weight=0, iteration=0) if each.metric == name)
    assert (shown.minimum, shown.maximum) == bounds
    if len(values) == 1:
        few = verdict(answered(plan, pack, {**requests(50, 0), **answers}))
        assert few.failed == "", "with too few requests a number says nothing"


def test_the_mean_over_time_of_a_gauge_is_asked_for_under_all_its_names():
    (item,) = wanted(make_plan(metrics=(MetricSpec(name="llm-kv-pressure", bounds=Bounds(maximum=90.0)),)), VLLM)[:1]
    (query,) = queries_of(item, PODS, 60.0)
    new, old = query.split(" or avg by ")
    assert new.startswith("avg by (pod,kubernetes_pod_name) (avg_over_time(vllm:kv_cache_usage_perc{namespace=")
    assert "avg_over_time(vllm:gpu_cache_usage_perc{" in old
