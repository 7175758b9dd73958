"""Reports of evaluations, in the forms in which common tools write them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.rollout.reports import Answer, Report, read_report

COMMIT = "9a20" * 10
HARNESS = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.74, "acc_stderr,none": 0.01, "acc_norm,none": 0.7},
        "gsm8k": {"exact_match,strict-match": 0.51, "exact_match,flexible-extract": 0.55},
    },
    "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
    "config": {"model": "hf", "model_args": f"pretrained=org/chat,revision={COMMIT},dtype=auto"},
    "git_hash": "abc",
    "versions": {"arc_easy": 1},
}
EXPECTATIONS = {
    "success": False,
    "statistics": {"evaluated_expectations": 4, "successful_expectations": 3, "success_percent": 75.0},
    "results": [{"success": False, "expectation_config": {}}],
}


def deepchecks(*statuses: str) -> dict[str, Any]:
    conditions = [{"Status": status, "Condition": "c", "More Info": ""} for status in statuses]
    return {"type": "SuiteResult", "name": "s", "results": [{"type": "CheckResult", "conditions_results": conditions}]}


def evidently(*statuses: str) -> dict[str, Any]:
    return {"tests": [{"name": "t", "status": status} for status in statuses], "summary": {"total_tests": 1}}


def mlflow(*tags: tuple[str, str]) -> dict[str, Any]:
    data = {
        "metrics": [{"key": "f1", "value": 0.8, "timestamp": 1, "step": 0}],
        "tags": [{"key": key, "value": value} for key, value in tags],
    }
    return {"run": {"info": {"run_id": "r"}, "data": data}}


@pytest.mark.parametrize(
    ("found", "report"),
    [
        (
            HARNESS,
            Report(
                metrics={
                    "arc_easy.acc": 0.74,
                    "arc_easy.acc_stderr": 0.01,
                    "arc_easy.acc_norm": 0.7,
                    "gsm8k.exact_match.strict-match": 0.51,
                    "gsm8k.exact_match.flexible-extract": 0.55,
                },
                subject=f"hf://org/chat@{COMMIT}",
            ),
        ),
        (
            {**HARNESS, "config": {"model_args": {"pretrained": "org/chat", "revision": "main"}}, "results": {}},
            Report(subject="hf://org/chat@main"),
        ),
        (
            {"results": {"stats": {"successes": 9, "failures": 1, "errors": 0}, "results": []}},
            Report(metrics={"successes": 9.0, "failures": 1.0, "errors": 0.0}, verdict=Answer.FAIL),
        ),
        (
            {"results": {"stats": {"successes": 9, "failures": 0, "errors": 2}}},
            Report(metrics={"successes": 9.0, "failures": 0.0, "errors": 2.0}, verdict=Answer.UNKNOWN),
        ),
        (
            EXPECTATIONS,
            Report(
                metrics={"evaluated_expectations": 4.0, "successful_expectations": 3.0, "success_percent": 75.0},
                verdict=Answer.FAIL,
            ),
        ),
        (
            deepchecks("PASS", "WARN"),
            Report(metrics={"tests": 2.0, "failures": 0.0, "errors": 0.0}, verdict=Answer.PASS),
        ),
        (
            deepchecks("PASS", "FAIL", "ERROR"),
            Report(metrics={"tests": 3.0, "failures": 1.0, "errors": 1.0}, verdict=Answer.FAIL),
        ),
        (
            deepchecks("ERROR"),
            Report(metrics={"tests": 1.0, "failures": 0.0, "errors": 1.0}, verdict=Answer.UNKNOWN),
        ),
        (
            evidently("SUCCESS", "SUCCESS"),
            Report(metrics={"tests": 2.0, "failures": 0.0, "errors": 0.0}, verdict=Answer.PASS),
        ),
        (
            evidently(),
            Report(
                metrics={"tests": 0.0, "failures": 0.0, "errors": 0.0}, verdict=Answer.UNKNOWN, reason="no test was run"
            ),
        ),
        (mlflow(), Report(metrics={"f1": 0.8})),
        (mlflow(("validation_status", "approved")), Report(metrics={"f1": 0.8}, verdict=Answer.PASS)),
        (mlflow(("validation_status", "rejected")), Report(metrics={"f1": 0.8}, verdict=Answer.FAIL)),
        ({"train": {"loss": 0.5, "step": 3, "name": "x", "ok": True}}, Report({"train.loss": 0.5, "train.step": 3.0})),
        ({"metrics": {"a": 1}, "licence": "mit"}, Report(metrics={"a": 1.0}, licence="mit")),
    ],
)
def test_each_tool_is_told_by_its_own_fields(found: dict[str, Any], report: Report) -> None:
    assert read_report(json.dumps(found)) == report


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('<testsuite tests="2" failures="0" errors="0"/>', Answer.PASS),
        ('<testsuites><testsuite tests="2" failures="1"/><testsuite tests="1"/></testsuites>', Answer.FAIL),
        ('<?xml version="1.0"?>\n<testsuites><testsuite tests="2" errors="1"/></testsuites>', Answer.FAIL),
        ('<testsuite tests="0"/>', Answer.UNKNOWN),
    ],
)
def test_junit(text: str, verdict: Answer) -> None:
    assert read_report(text).verdict is verdict


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><testsuite tests="1"/>',
        "<testsuite",
        "<html/>",
        '<testsuite tests="many"/>',
        "1",
        '"text"',
        '{"metrics": {"a": 1' + "0" * 400 + "}}",
        "NaN",
        "{" * 5000,
        json.dumps({"metrics": {f"m{number}": 1 for number in range(1001)}}),
        " " * (1024 * 1024 + 1),
        json.dumps({"run": {"data": {"metrics": []}}, "verdict": "x"})[:-1],
    ],
)
def test_what_is_no_report_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="the report"):
        read_report(text)


NAMES = (
    "results stats success statistics versions config type tests run data metrics tags status conditions_results",
    "model_args verdict subject failures key value",
)
KEYS = st.sampled_from(" ".join(NAMES).split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


SHAPES = st.one_of(
    st.dictionaries(KEYS, JSON, max_size=6),
    st.builds(lambda inner: {"run": {"data": {"metrics": [inner], "tags": [inner, inner]}}}, JSON),
    st.builds(lambda inner: {"type": "SuiteResult", "results": [inner, {"conditions_results": inner}]}, JSON),
    st.builds(lambda inner: {"results": {"stats": {"failures": inner, "errors": inner}}}, JSON),
    st.builds(lambda inner: {"results": {"task": inner}, "config": {"model_args": inner}}, JSON),
)


@given(SHAPES.map(json.dumps) | st.text(max_size=60))
def test_whatever_a_tool_writes_is_a_report_or_a_reason(text: str) -> None:
    try:
        assert isinstance(read_report(text), Report)
    except ValueError as error:
        assert "the report" in str(error)  # noqa: PT017 - either of the two is right
