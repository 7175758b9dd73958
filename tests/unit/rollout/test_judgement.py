"""Samples against bounds, in Flagger's words."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_world import make_plan

from agent.core.rollout.judgement import Check, Sample, Verdict, go_float, judge
from agent.core.rollout.plan import Bounds

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAN = make_plan()
RATE, DURATION = "request-success-rate", "request-duration"
PREFIX = "Halt chat.prod advancement "


def judged(metric, value, low=None, high=None, **check):
    sample = value if isinstance(value, Sample) else Sample(value)
    return judge(PLAN, Check(metric=metric, bounds=Bounds(low, high), **check), sample, NOW)


@pytest.mark.parametrize(
    ("metric", "value", "bounds", "text"),
    [
        (RATE, 97.0, (99, None), "success rate 97.00% < 99%"),
        (RATE, 97.126, (99.5, None), "success rate 97.13% < 99.5%"),
        (RATE, 100.0, (None, 50), "success rate 100.00% > 50%"),
        (RATE, 99.0, (99, None), ""),
        (DURATION, 0.5151, (None, 500), "request duration 515ms > 500ms"),
        (DURATION, 1.5, (None, 500), "request duration 1.5s > 500ms"),
        (DURATION, 0.5004, (None, 500), ""),
        (DURATION, float("inf"), (None, 500), "request duration +Inf > 500ms"),
        (DURATION, 0.001, (5, None), "request duration 1ms < 5ms"),
        ("errors", 1.5, (None, 1), "errors 1.50 > 1"),
        ("errors", 0.0, (0.25, None), "errors 0.00 < 0.25"),
        ("errors", 1.0, (None, 1), ""),
        ("errors", 12.0, (None, None), ""),
    ],
)
def test_bounds_and_texts(metric, value, bounds, text):
    judgement = judged(metric, value, *bounds)
    assert judgement.text == (PREFIX + text if text else "")
    assert judgement.verdict is (Verdict.FAIL if text else Verdict.PASS)


@pytest.mark.parametrize(
    ("metric", "template", "text"),
    [
        (
            RATE,
            False,
            (
                "Halt advancement no values found for gatewayapi:v1 metric request-success-rate "
                "probably chat.prod is not receiving traffic: no values found"
            ),
        ),
        (
            DURATION,
            False,
            (
                "Halt advancement no values found for gatewayapi:v1 metric request-duration "
                "probably chat.prod is not receiving traffic"
            ),
        ),
        ("errors", False, "Halt advancement no values found for metric: errors"),
        ("errors", True, "Halt advancement no values found for custom metric: errors: no values found"),
    ],
)
@pytest.mark.parametrize("value", [None, float("nan")])
def test_no_data_is_a_failed_check(metric, template, text, value):
    judgement = judged(metric, Sample(value), 0, 1, template=template)
    assert (judgement.verdict, judgement.text, judgement.value) == (Verdict.NO_DATA, text, None)


@pytest.mark.parametrize(
    ("metric", "template", "text"),
    [
        (RATE, False, "Prometheus query failed: boom"),
        ("errors", False, "Prometheus query failed for errors: boom"),
        ("errors", True, "Metric query failed for errors: boom"),
    ],
)
def test_errors_of_the_server(metric, template, text):
    judgement = judged(metric, Sample(error="boom"), 0, 1, template=template)
    assert (judgement.verdict, judgement.text) == (Verdict.ERROR, text)


def test_a_template_named_like_a_built_in_metric_is_a_number_of_its_own():
    assert judged(RATE, 97.0, 99, None, template=True).text == PREFIX + "request-success-rate 97.00 < 99"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (99.0, "99"),
        (0.1, "0.1"),
        (0.0, "0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (123456789.125, "123456789.125"),
        (1.5e22, "1.5e+22"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (2.5e-7, "2.5e-07"),
        (-3.5, "-3.5"),
        (float("inf"), "+Inf"),
    ],
)
def test_floats_print_as_in_go(value, text):
    assert go_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_leads_back_to_it(value):
    assert float(go_float(value)) == value


@given(value=st.floats(-1e6, 1e6), low=st.none() | st.floats(-1e6, 1e6), high=st.none() | st.floats(-1e6, 1e6))
def test_a_pass_is_within_both_bounds(value, low, high):
    judgement = judged("errors", value, low, high)
    within = (low is None or value >= low) and (high is None or value <= high)
    assert (judgement.verdict is Verdict.PASS) == within
