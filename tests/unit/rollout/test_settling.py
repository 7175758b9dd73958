"""The cold start of a canary: what of its first step is left out."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from rollout_world import START, make_plan

from agent.api.judge import Conclusion
from agent.core.judge.packs import HTTP
from agent.core.judge.queries import Fleet, Pods, Point
from agent.core.rollout.evidence import Answer, Window, evidence_for, queries_of, timed_queries, wanted
from agent.core.rollout.judgesettings import JudgeMode, JudgeSettings
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.settling import cold_seconds, is_settled
from agent.core.rollout.weighing import Doubt, weigh

PODS = Pods(namespace="prod", canary=Fleet("chat"), primary=Fleet("chat-primary"))
POD = "chat-5d9c-x1y2z"
STATE = JudgeState(mode=JudgeMode.GUARDED, step=1, started=START, since=START + timedelta(seconds=60))
ITEMS = wanted(make_plan(metrics=()), HTTP)
FAST, SLOW, COLDEST = (0.1, 0.5), (0.5, 1.0), (1.0, 5.0)


def latencies(buckets, requests, at=0.0):
    """So many requests in one bucket, as a histogram has them."""
    edges = (0.1, 0.5, 1.0, 5.0, float("inf"))
    counts = [0.0 if edge < buckets[1] else requests for edge in edges]
    return [Point({"pod": POD, "le": str(edge)}, count, at) for edge, count in zip(edges, counts, strict=True)]


def window(*periods, requests=100, period=30.0):
    """A window of such periods."""
    found = Window(pods=PODS, seconds=period * len(periods), period=period)
    points = [p for number, one in enumerate(periods) for p in latencies(one, requests, at=period * number)]
    timed = {query: Answer() for query in timed_queries(ITEMS, found)}
    duration = next(item for item in ITEMS if item.metric.name == "request-duration")
    timed[queries_of(duration, PODS, period)[0]] = Answer(tuple(points))
    return msgspec.structs.replace(found, timed=timed)


@pytest.mark.parametrize(
    ("periods", "cold"),
    [
        ((FAST, FAST, FAST), 0.0),
        ((SLOW, FAST, FAST), 30.0),
        ((COLDEST, SLOW, FAST, FAST), 60.0),
        ((FAST, SLOW, FAST), 0.0),  # not at the beginning
        ((FAST, FAST, SLOW), 0.0),
        ((SLOW, SLOW, SLOW), 0.0),
        ((SLOW, FAST), 0.0),  # too early to tell
    ],
)
def test_what_is_slow_at_the_beginning_is_left_out(periods, cold):
    assert cold_seconds(ITEMS, window(*periods), STATE, JudgeSettings()) == cold


def test_not_for_ever_not_by_a_few_requests_and_not_against_the_canarys_own_word():
    cold = window(SLOW, FAST, FAST)
    late = msgspec.structs.replace(STATE, since=START + timedelta(seconds=290))
    assert cold_seconds(ITEMS, cold, late, JudgeSettings()) == 10.0
    assert cold_seconds(ITEMS, window(SLOW, FAST, FAST, requests=9), STATE, JudgeSettings()) == 0.0
    assert cold_seconds(ITEMS, cold, STATE, JudgeSettings(warm_up=60.0)) == 0.0
    assert cold_seconds(ITEMS, cold, msgspec.structs.replace(STATE, step=2), JudgeSettings()) == 0.0


def test_how_long_the_warm_up_is():
    usual, told = JudgeSettings(), JudgeSettings(warm_up=5.0)
    assert [usual.warm_up_of(step) for step in (1, 2, 3)] == [60.0, 30.0, 30.0]
    assert [told.warm_up_of(step) for step in (1, 2)] == [5.0, 5.0]


def verdict(found, *, failed=0.0, cold=0.0):
    """A run with a bound of 800 ms that all requests break, and so many failures."""
    settings = JudgeSettings()
    answers = {query: Answer() for item in ITEMS for query in queries_of(item, PODS, found.seconds)}
    rate, duration = ITEMS
    for query, value in zip(queries_of(rate, PODS, found.seconds), (1000.0, failed), strict=True):
        answers[query] = Answer((Point({"pod": POD}, value),))
    answers[queries_of(duration, PODS, found.seconds)[0]] = Answer(tuple(latencies(COLDEST, 1000.0)))
    items = [rate, msgspec.structs.replace(duration, bounds=msgspec.structs.replace(duration.bounds, maximum=800.0))]
    evidence = evidence_for(items, answers, found, state=STATE, settings=settings, weight=20)
    return weigh(evidence, (), STATE, make_plan(judging=settings), START + timedelta(seconds=200), cold=cold)


def test_latencies_blame_nobody_before_a_cold_start_would_show():
    early = Window(pods=PODS, seconds=60.0)
    early = msgspec.structs.replace(early, settled=is_settled(ITEMS, early, STATE, JudgeSettings()))
    assert verdict(early).conclusion is Conclusion.INCONCLUSIVE
    assert verdict(early, failed=200.0).conclusion is Conclusion.FAIL, "errors do not wait"
    assert verdict(window(SLOW, SLOW, SLOW)).conclusion is Conclusion.FAIL


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (window(FAST, FAST, FAST), True),
        (window(FAST, FAST), False),
        (Window(pods=PODS, seconds=120.0, period=30.0), False),  # no period holds two scrapes, or nobody could tell
        (Window(pods=PODS, seconds=239.0, period=30.0), False),
        (Window(pods=PODS, seconds=240.0, period=30.0), True),  # five minutes since the step began
    ],
)
def test_only_counted_periods_tell_of_a_cold_start(found, settled):
    assert is_settled(ITEMS, found, STATE, JudgeSettings()) is settled
    assert is_settled(ITEMS, found, STATE, JudgeSettings(warm_up=60.0)), "the Canary says itself how long it is"
    assert is_settled(ITEMS, found, msgspec.structs.replace(STATE, step=2), JudgeSettings())


def test_what_was_cold_is_not_counted_from_then_on():
    said = verdict(window(SLOW, FAST, FAST), cold=30.0)
    assert (said.conclusion, said.doubt) == (Conclusion.INCONCLUSIVE, Doubt.TOO_FEW)
    assert said.since == START + timedelta(seconds=90)
    assert said.text == "the first 30s were slower than what came after: counted from 12:01:30 on"
    assert verdict(window(SLOW, FAST, FAST), cold=30.0, failed=200.0).conclusion is Conclusion.FAIL
