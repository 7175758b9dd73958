"""Reports of evaluations, in the forms in which common tools write them."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.rollout.reports import Answer, Report, read_report

COMMIT = "9a20" * 10
STEPS = list(itertools.pairwise("abcdefgh"))
HARNESS = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.74, "acc_stderr,none": 0.01, "acc_norm,none": 0.7},
        "gsm8k": {"exact_match,strict-match": 0.51, "exact_match,flexible-extract": 0.55},
    },
    "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
    "config": {"model": "hf", "model_args": f"pretrained=org/chat,revision={COMMIT},dtype=auto"},
    "git_hash": "abc",
    "versions": {"arc_easy": 1},
    "date": 1796025600.0,
}
AT = datetime(2026, 11, 30, 8, tzinfo=UTC)
DAY = datetime(2026, 11, 30, tzinfo=UTC)
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


INSPECTED = {"match.accuracy": 0.75, "match.stderr": 0.1, "match.accuracy.mode": 0.5}
WORKSPACE = {
    "kind": "Workspace",
    "status": {
        "conditions": [{"type": "BenchmarkCompleted", "status": "True", "lastTransitionTime": "2026-11-30T08:00:00Z"}],
        "performance": {
            "metrics": {
                "peakTokensPerMinute": {"value": "93127.5", "config": {"durationSec": "60"}},
                "other": {"value": "fast"},
                "none": None,
                "endless": {"value": "inf"},
            }
        },
    },
}


def inspect(**changes: Any) -> dict[str, Any]:
    metrics = {name: {"name": name, "value": value} for name, value in (("accuracy", 0.75), ("stderr", 0.1))}
    again = {"accuracy": {"name": "accuracy", "value": 0.5}}
    return {
        "version": 2,
        "status": "success",
        "eval": {"task": "gsm8k", "model": "hf/org/chat", "model_args": {"revision": COMMIT}},
        "results": {
            "total_samples": 50,
            "completed_samples": 50,
            "scores": [
                {"name": "match", "scorer": "match", "scored_samples": 48, "metrics": metrics},
                {"name": "match", "scorer": "match", "reducer": "mode", "metrics": again},
            ],
        },
        "stats": {"started_at": "2026-11-30T07:00:00+00:00", "completed_at": "2026-11-30T08:00:00+00:00"},
        **changes,
    }


GARAK = """{"entry_type": "init", "garak_version": "0.13.1", "start_time": "2026-11-30T07:00:00+00:00"}
{"entry_type": "attempt", "uuid": "a", "status": 2, "probe_classname": "dan.Dan_11_0"}
{"entry_type": "eval", "probe": "dan.Dan_11_0", "detector": "dan.DAN", "passed": 3, "fails": 2, "total_evaluated": 5}

{"entry_type": "eval", "probe": "encoding.Hex", "detector": "detector.encoding.DecodeMatch", "passed": 8, "total": 8}
{"entry_type": "eval", "probe": "leakreplay.Cloze", "detector": "base.Trigger", "passed": 0, "total_evaluated": 0}
{"entry_type": "completion", "end_time": "2026-11-30T08:00:00", "run": "r"}
"""
COUNTED = {"passed": 3.0, "failures": 2.0, "total": 5.0}
ATTACKED = {"dan.Dan_11_0.dan.DAN": 0.6, "encoding.Hex.encoding.DecodeMatch": 1.0}


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (GARAK, Report({**ATTACKED, "passed": 11.0, "failures": 2.0, "total": 13.0}, samples=0.0, at=AT)),
        (GARAK.splitlines()[2], Report({"dan.Dan_11_0.dan.DAN": 0.6, **COUNTED}, samples=5.0)),
        (GARAK.splitlines()[1], Report(verdict=Answer.UNKNOWN, reason="no probe was evaluated")),
        ("accuracy: 0.9\ntrain:\n  loss: .5\n  name: x\n", Report({"accuracy": 0.9, "train.loss": 0.5})),
        ('accuracy = 0.9\n[train]\nloss = 0.5\nname = "x"\n', Report({"accuracy": 0.9, "train.loss": 0.5})),
        ("[train]\nloss = nan\nstep = 1\n", Report({"train.step": 1.0})),
        ("reason: overloaded\ncode: 503\n", Report(reason="overloaded")),
        ("metrics: {a: 1}\nat: 2026-11-30\nsamples: .nan\n", Report({"a": 1.0}, at=DAY)),
        ('{"entry_type": "eval", "passed": 1, "total": 1, "verdict": "fail"}', Report(verdict=Answer.FAIL)),
        ("metrics: {a: 1}\nverdict: pass\nat: 2026-11-30T08:00:00Z\n",
         Report({"a": 1.0}, verdict=Answer.PASS, at=AT)),
        ('verdict = "fail"\nat = 2026-11-30T08:00:00\n', Report(verdict=Answer.FAIL, at=AT)),
    ],
)  # fmt: skip
def test_lines_yaml_and_toml(text: str, report: Report) -> None:
    assert read_report(text) == report


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
                samples=2376.0,
                at=AT,
            ),
        ),
        (
            {**HARNESS, "config": {"model_args": {"pretrained": "org/chat", "revision": "main"}}, "results": {}},
            Report(subject="hf://org/chat@main", samples=2376.0, at=AT),
        ),
        (
            {"results": {"stats": {"successes": 9, "failures": 1, "errors": 0}, "timestamp": "2026-11-30T08:00:00Z"}},
            Report({"successes": 9.0, "failures": 1.0, "errors": 0.0}, verdict=Answer.FAIL, samples=10.0, at=AT),
        ),
        (
            {"results": {"stats": {"successes": 9, "failures": 0, "errors": 2}}},
            Report(
                {"successes": 9.0, "failures": 0.0, "errors": 2.0},
                verdict=Answer.UNKNOWN,
                reason="2 of the tests could not be run",
                samples=11.0,
            ),
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
            Report(
                metrics={"tests": 1.0, "failures": 0.0, "errors": 1.0},
                verdict=Answer.UNKNOWN,
                reason="1 of the tests could not be run",
            ),
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
        (inspect(), Report(INSPECTED, subject=f"hf://org/chat@{COMMIT}", samples=48.0, at=AT)),
        (
            inspect(status="error", results=None, stats=None),
            Report(
                verdict=Answer.UNKNOWN, reason="the evaluation's status is error", subject=f"hf://org/chat@{COMMIT}"
            ),
        ),
        (inspect(eval={"task": "gsm8k", "model": "openai/chat"}), Report(INSPECTED, samples=48.0, at=AT)),
        (WORKSPACE, Report({"peakTokensPerMinute": 93127.5}, at=AT)),
        (
            {"run": {"info": {"end_time": 1796025600000}, "data": {"metrics": [{"key": "f1", "value": 0.8}]}}},
            Report({"f1": 0.8}, at=AT),
        ),
        (mlflow(), Report(metrics={"f1": 0.8})),
        (mlflow(("validation_status", "approved")), Report(metrics={"f1": 0.8}, verdict=Answer.PASS)),
        (mlflow(("validation_status", "rejected")), Report(metrics={"f1": 0.8}, verdict=Answer.FAIL)),
        ({"train": {"loss": 0.5, "step": 3, "name": "x", "ok": True}}, Report({"train.loss": 0.5, "train.step": 3.0})),
        ({"metrics": {"a": 1}, "licence": "mit"}, Report(metrics={"a": 1.0}, licence="mit")),
        ({"metrics": {}, "samples": 12, "at": "2026-11-30T09:00:00+01:00"}, Report(samples=12.0, at=AT)),
        ({"metrics": {}, "at": "2026-11-30T08:00:00"}, Report(at=AT)),
        ({"samples": 12, "at": 3}, Report({"samples": 12.0, "at": 3.0})),
        ({"metrics": {}, "samples": [{"id": 1}], "at": 1796025600}, Report(at=AT)),
        ({"metrics": {}, "samples": "1200", "at": "2026-11-30"}, Report(at=DAY)),
        ({"metrics": {}, "samples": -1, "at": "yesterday"}, Report()),
        (
            {"status": "success", "eval": {"task": "x"}, "subject": "s", "metrics": {"a": 1}, "verdict": "fail"},
            Report({"a": 1.0}, verdict=Answer.FAIL, subject="s"),
        ),
        ({**WORKSPACE, "verdict": "fail", "reason": "slow"}, Report(verdict=Answer.FAIL, reason="slow")),
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
        ("<testsuite/>", Answer.UNKNOWN),
        ('<testsuite tests="2" skipped="2"/>', Answer.UNKNOWN),
        ('<testsuite tests="2" skipped="1" disabled="1"/>', Answer.UNKNOWN),
        ('<testsuites><testsuite tests="2" skipped="2"/><testsuite tests="1"/></testsuites>', Answer.PASS),
        ('<testsuite tests="2"><testcase/><testcase><failure/></testcase></testsuite>', Answer.FAIL),
        ("<testsuite><testcase/><testcase><error/></testcase></testsuite>", Answer.FAIL),
        ("<testsuite><testcase/><testcase/></testsuite>", Answer.PASS),
        ("<testsuite><testcase><skipped/></testcase></testsuite>", Answer.UNKNOWN),
    ],
)
def test_junit(text: str, verdict: Answer) -> None:
    assert read_report(text).verdict is verdict


NOTHING_EVALUATED = {"success": True, "statistics": {"evaluated_expectations": 0, "success_percent": None}}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"results": {"stats": {"successes": 0, "failures": 0, "errors": 0}}}, Answer.UNKNOWN),
        ({"results": {"stats": {}}}, Answer.UNKNOWN),
        (NOTHING_EVALUATED, Answer.UNKNOWN),
        ({**NOTHING_EVALUATED, "statistics": {}, "results": []}, Answer.UNKNOWN),
        ({**NOTHING_EVALUATED, "statistics": {}, "results": [{"success": True}]}, Answer.PASS),
        ({**EXPECTATIONS, "success": True}, Answer.PASS),
        ({**NOTHING_EVALUATED, "success": False}, Answer.FAIL),
        (deepchecks(), Answer.UNKNOWN),
        (deepchecks("PASS", ""), Answer.UNKNOWN),
        (
            {"type": "SuiteResult", "results": [*deepchecks("PASS")["results"], {"type": "CheckFailure"}]},
            Answer.UNKNOWN,
        ),
        (evidently("SKIPPED", "SKIPPED"), Answer.UNKNOWN),
        (evidently("SKIPPED", "SUCCESS"), Answer.PASS),
        (evidently("PENDING", "SUCCESS"), Answer.UNKNOWN),
        (evidently("PENDING", "FAIL"), Answer.FAIL),
        ({"results": {}, "versions": {}}, None),
        ({}, None),
    ],
)
def test_where_nothing_was_tried_nothing_has_passed(found: dict[str, Any], verdict: Answer | None) -> None:
    assert read_report(json.dumps(found)).verdict is verdict


def test_junit_says_how_many_and_when() -> None:
    one, two = (f'<testsuite tests="2" timestamp="2026-11-30T{hour}:00:00"/>' for hour in ("08", "09"))
    report = read_report(f"<testsuites>{one}{two}</testsuites>")
    assert (report.samples, report.at) == (4.0, AT)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><testsuite tests="1"/>',
        "<testsuite",
        "<html/>",
        "done: see the log",
        "1,200 questions",
        "a: &a [1, 2, 3, 4, 5, 6, 7, 8]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in STEPS),
        "x = " + "[" * 5000,
        '<testsuite tests="many"/>',
        "accuracy: !!bool x",
        "accuracy: !!timestamp x",
        'accuracy: !!int ""',
        '<testsuites><testsuite tests="2" failures="1"/><testsuite tests="2" failures="-1"/></testsuites>',
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
    "eval task stats scores completed_samples performance entry_type probe passed total date at samples n-samples",
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
    st.builds(lambda inner: {"eval": {"task": "t", "model_args": inner}, "status": "x", "results": inner}, JSON),
    st.builds(lambda inner: {"status": {"performance": {"metrics": {"a": inner}}, "conditions": inner}}, JSON),
    st.builds(lambda inner: {"entry_type": "eval", "passed": inner, "total": inner, "end_time": inner}, JSON),
    st.builds(lambda inner: {"results": {"task": inner}, "config": {"model_args": inner}}, JSON),
)


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["tests", "failures", "errors", "skipped", "disabled", "timestamp", "name"]),
    st.sampled_from(["0", "1", "-1", "²", "9" * 5000, "x", "", "2026-11-30T08:00:00", "0001-01-01T00:00:00"]),
    max_size=4,
)


def element(name: str, attributes: dict[str, str], inner: list[str]) -> str:
    written = " ".join(f"{key}='{value}'" for key, value in attributes.items())
    return f"<{name} {written}>{''.join(inner)}</{name}>"


XML = st.recursive(
    st.builds(element, st.sampled_from(["testcase", "failure", "error", "skipped", "x"]), ATTRIBUTES, st.just([])),
    lambda inner: st.builds(
        element, st.sampled_from(["testsuites", "testsuite", "testcase"]), ATTRIBUTES, st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
CUT = st.builds(lambda text, end: text[: len(text) - end], XML | SHAPES.map(json.dumps), st.integers(0, 12))
LINES = st.lists(
    st.builds(
        lambda name, mark, value: f"{name}{mark} {value}",
        KEYS,
        st.sampled_from([":", " =", ""]),
        st.sampled_from(
            [
                "1",
                "pass",
                "[1]",
                "{a: 1}",
                "9" * 5000,
                "2020-99-99",
                "0xff",
                "1:2:3",
                ".inf",
                "&a",
                "*a",
                "!!bool x",
                '!!float ""',
                '"x',
            ]
        ),
    ),
    max_size=4,
).map("\n".join)


@given(XML | CUT | LINES)
def test_whatever_is_written_or_cut_is_a_report_or_a_reason(text: str) -> None:
    try:
        report = read_report(text)
    except ValueError as error:
        assert "the report" in str(error)  # noqa: PT017 - either of the two is right
        return
    if report.verdict is Answer.PASS and text.startswith("<"):
        assert report.metrics["tests"] > 0


@given(SHAPES.map(json.dumps) | st.text(max_size=60))
def test_whatever_a_tool_writes_is_a_report_or_a_reason(text: str) -> None:
    try:
        assert isinstance(read_report(text), Report)
    except ValueError as error:
        assert "the report" in str(error)  # noqa: PT017 - either of the two is right
