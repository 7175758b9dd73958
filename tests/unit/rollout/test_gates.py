"""Offline gates: what they say of a report, and what a rollout does about it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_world import World, make_plan

from agent.api.canary import Canary
from agent.core.rollout.actions import HOME
from agent.core.rollout.commands import COMMAND
from agent.core.rollout.gatejobs import job_name, job_of, observed, owned_by_job, report_name
from agent.core.rollout.gatereading import gate_of, is_gate
from agent.core.rollout.gates import (
    RESULTS,
    Gate,
    Limits,
    Observed,
    OnUnknown,
    Result,
    about,
    answered,
    decode_results,
    encode_results,
    opinion,
    with_results,
)
from agent.core.rollout.reading import plan_of
from agent.core.rollout.reports import Answer, Report, read_report
from agent.core.rollout.status import Phase
from agent.core.rollout.subjects import subjects_of

AT = datetime(2026, 11, 29, 10, tzinfo=UTC)
FIELDS = (
    "licence, signature, minSamples, maxAge, secretRef, report, min.METRIC, max.METRIC, maxDrop.METRIC, maxRise.METRIC"
)
FORM = "job://NAME-OF-A-CRONJOB, report://NAME-OF-A-CONFIGMAP/KEY, trigger://NAME-OF-A-DATATRIGGER or gate+https://HOST/PATH"
ACCURATE = {"accuracy": Limits(minimum=0.9, drop=0.02), "toxicity": Limits(maximum=0.01, rise=0.005)}


def gate(**changes) -> Gate:
    return Gate(**{"name": "evaluation", "source": "evaluation", "limits": ACCURATE, **changes})


def reported(accuracy: float = 0.95, toxicity: float = 0.001, **changes) -> Observed:
    report = Report(metrics={"accuracy": accuracy, "toxicity": toxicity})
    return Observed(**{"gate": "evaluation", "completed": True, "report": report, **changes})


@pytest.mark.parametrize(
    ("found", "incumbent", "answer", "text"),
    [
        (reported(), None, Answer.PASS, "accuracy 0.95; toxicity 0.001"),
        (reported(), {"accuracy": 0.96}, Answer.PASS, "accuracy 0.95, incumbent 0.96; toxicity 0.001"),
        (reported(0.89), None, Answer.FAIL, "accuracy 0.89 < 0.9"),
        (reported(toxicity=0.02), None, Answer.FAIL, "toxicity 0.02 > 0.01"),
        (reported(0.93), {"accuracy": 0.96}, Answer.FAIL, "accuracy 0.93 is more than 0.02 below the incumbent's 0.96"),
        (
            reported(toxicity=0.009),
            {"toxicity": 0.001},
            Answer.FAIL,
            "toxicity 0.009 is more than 0.005 above the incumbent's 0.001",
        ),
        (
            reported(report=Report(metrics={"accuracy": 0.95})),
            None,
            Answer.UNKNOWN,
            "there is no toxicity in the report",
        ),
        (reported(report=None), None, Answer.UNKNOWN, "there is no accuracy, toxicity in the report"),
        (reported(completed=False, note="deadline"), None, Answer.UNKNOWN, "deadline"),
        (reported(completed=False, failed=True, note="Job x failed"), None, Answer.FAIL, "Job x failed"),
        (Observed(gate="evaluation", running=True, note="Job x is running"), None, Answer.RUNNING, "Job x is running"),
        (
            reported(report=Report(verdict=Answer.FAIL, reason="worse answers")),
            None,
            Answer.FAIL,
            "worse answers",
        ),
        (reported(report=Report(verdict=Answer.UNKNOWN, reason="no data")), None, Answer.UNKNOWN, "no data"),
    ],
)
def test_what_a_gate_says(found, incumbent, answer, text):
    said = opinion(gate(), found, incumbent)
    assert (said.answer, said.text) == (answer, text)


def test_without_limits_the_end_of_the_job_decides():
    plain = gate(limits={})
    assert opinion(plain, reported(report=None), None).answer is Answer.PASS
    assert opinion(plain, reported(report=None, completed=False, failed=True), None).answer is Answer.FAIL


@pytest.mark.parametrize(
    ("on_unknown", "effect"),
    [(OnUnknown.HOLD, Answer.UNKNOWN), (OnUnknown.PASS, Answer.PASS), (OnUnknown.FAIL, Answer.FAIL)],
)
def test_what_is_unknown_is_held_let_pass_or_failed(on_unknown, effect):
    said = opinion(gate(on_unknown=on_unknown), reported(report=None), None)
    assert (said.answer, said.effect) == (Answer.UNKNOWN, effect)
    broken = opinion(gate(on_unknown=on_unknown, error="no such thing"), reported(), None)
    assert (broken.effect, broken.text) == (Answer.UNKNOWN, "no such thing")


@pytest.mark.parametrize(
    ("url", "metadata", "error"),
    [
        ("job://evaluation", {"min.accuracy": "0.9", "onUnknown": "fail"}, ""),
        ("job://evaluation/more", {}, "job://evaluation/more is not of the form " + FORM),
        ("report://scores/chat.json", {"min.accuracy": "0.9"}, ""),
        ("report://scores", {}, "report://scores is not of the form " + FORM),
        ("job://", {}, "job:// is not of the form " + FORM),
        ("job://me:word@evaluation", {}, "job://evaluation is not of the form " + FORM),
        ("report://Scores_1/chat.json", {}, "report://Scores_1/chat.json is not of the form " + FORM),
        ("gate+https://judge.example.org/score?model=chat", {"max.toxicity": "1", "licence": "mit"}, ""),
        ("gate+https://", {}, "gate+https:// is not of the form " + FORM),
        ("report://user:word@", {}, "report:// is not of the form " + FORM),
        ("job://[", {}, "the address of the gate cannot be read: Invalid IPv6 URL"),
        ("job://e", {"licence": " , "}, "'licence' is ' , ': it has to be licences that are allowed"),
        ("job://e", {"signature": "yes"}, "metadata 'signature' is 'yes': it has to be required"),
        ("job://e", {"report": "log"}, "metadata 'report' is 'log': it has to be message or configmap"),
        ("gate+https://judge.example.org", {"secretRef": "judge"}, ""),
        ("job://e", {"secretRef": "judge"}, "metadata 'secretRef' is for gate+https: no other gate sends credentials"),
        ("gate+https://e", {"secretRef": "a/b"}, "metadata 'secretRef' is 'a/b': it has to be the name of a Secret"),
        ("gate+https://me:word@e", {"secretRef": "judge"}, "in the address and in metadata 'secretRef': leave out"),
        ("report://e/k", {"minSamples": "500", "maxAge": "72h"}, ""),
        ("report://e/k", {"minSamples": "0"}, "metadata 'minSamples' is '0': it has to be a number above 0"),
        ("report://e/k", {"maxAge": "3 days"}, "metadata 'maxAge' is '3 days': it has to be a duration above 0"),
        ("report://e/k", {"maxAge": "-1h"}, "metadata 'maxAge' is '-1h': it has to be a duration above 0"),
        ("job://e", {"maxAge": "1h"}, "metadata 'maxAge' is not for job: a Job runs anew for each revision"),
        ("trigger://e", {"minSamples": "5"}, "metadata 'minSamples' is not for trigger: a DataTrigger keeps"),
        ("job://e", {"min.accuracy": "high"}, "metadata 'min.accuracy' is 'high': it has to be a number"),
        ("job://e", {"min.accuracy": "nan"}, "metadata 'min.accuracy' is 'nan': it has to be a number"),
        ("job://e", {"onUnknown": "maybe"}, "metadata 'onUnknown' is 'maybe': it has to be hold, pass or fail"),
        (
            "job://e",
            {"min_accuracy": "0.9"},
            "metadata 'min_accuracy' is unknown: use onUnknown, " + FIELDS,
        ),
        ("job://e", {"min.": "1"}, "metadata 'min.' is unknown: use onUnknown, " + FIELDS),
    ],
)
def test_a_gate_is_read_from_its_webhook(url, metadata, error):
    assert is_gate(url)
    found = gate_of("evaluation", url, None, metadata).error
    assert error in found
    assert bool(found) is bool(error)


ADDRESSES = st.sampled_from(["job", "report", "trigger", "gate+http", "gate+https", "http", ""])
METADATA = st.dictionaries(
    st.sampled_from([*FIELDS.split(", "), "min.a", "onUnknown", "min.", "x"]) | st.text(max_size=8),
    st.sampled_from(["1", "²", "9" * 5000, "1e999", "-1", "72h", "9" * 400 + "h", "hold", "required", "configmap", ""])
    | st.text(max_size=8),
    max_size=4,
)


@given(ADDRESSES, st.text("abc/@:?#[]%. \n", max_size=20) | st.text(max_size=20), METADATA)
def test_whatever_a_webhook_says_is_a_gate_or_an_error_that_names_it(scheme, rest, metadata):
    found = gate_of("evaluation", f"{scheme}://{rest}", None, metadata)
    said = opinion(found, reported(), None)
    assert said.answer in Answer
    assert (said.answer is Answer.UNKNOWN) or not found.error
    if found.kind.startswith("gate+") and not found.error:
        assert "@" not in answered(found, 200, "{}", frozenset()).where
    assert decode_results({RESULTS: rest}) == ()


def test_a_gate_has_what_its_webhook_says():
    metadata = {"min.accuracy": "0.9", "maxDrop.accuracy": "0.02", "max.toxicity": "0.01", "onUnknown": "fail"}
    limits = {"accuracy": Limits(minimum=0.9, drop=0.02), "toxicity": Limits(maximum=0.01)}
    wanted = Gate(name="quality", source="evaluation", limits=limits, timeout=9.0, on_unknown=OnUnknown.FAIL)
    assert gate_of("quality", "job://evaluation", 9.0, metadata) == wanted
    from_git = gate_of("quality", "report://scores/chat.json", None, metadata)
    assert (from_git.source, from_git.key, from_git.limits) == ("scores", "chat.json", limits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"metrics": {"a": "b"}}',
        '{"metrics": []}',
        '{"verdict": "running"}',
        '{"verdict": "x"}',
        '{"metrics": {"a": 1e999}}',
    ],
)
def test_a_report_that_cannot_be_read_says_so(text):
    with pytest.raises(ValueError, match="report"):
        read_report(text)


REPORT = gate(kind="report", key="chat.json", source="scores")


@pytest.mark.parametrize(
    ("text", "answer", "why"),
    [
        ('{"metrics": {"accuracy": 0.95, "toxicity": 0}, "subject": "hf://org/b@2"}', Answer.PASS, "accuracy 0.95"),
        ('{"metrics": {"accuracy": 0.5, "toxicity": 0}, "subject": "hf://org/b@2"}', Answer.FAIL, "accuracy 0.5 < 0.9"),
        (
            '{"metrics": {"accuracy": 0.95}, "subject": "hf://org/a@1"}',
            Answer.UNKNOWN,
            "ConfigMap scores, key chat.json: the report is about hf://org/a@1, not about hf://org/b@2, org/b",
        ),
        ('{"metrics": {"accuracy": 0.95}}', Answer.UNKNOWN, "the report names no subject"),
        ("accuracy is 0.95", Answer.UNKNOWN, "ConfigMap scores, key chat.json: the report cannot be read"),
        (None, Answer.UNKNOWN, "there is no ConfigMap scores, key chat.json"),
    ],
)
def test_a_report_counts_for_its_own_subject_alone(text, answer, why):
    data = {"other.json": "{}"} if text is None else {"chat.json": text}
    said = opinion(REPORT, about(REPORT, data, {"org/b", "hf://org/b@2"}), None)
    assert said.answer is answer
    assert why in said.text


def workload(*args: str) -> dict:
    container = {"name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", "org/b", *args]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "prod"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def test_only_what_is_pinned_can_be_the_subject_of_a_report():
    commit = "9a20" * 10
    assert subjects_of([workload()]) == frozenset()
    assert f"hf://org/b@{commit}" in subjects_of([workload("--revision", commit)])
    said = about(REPORT, {"chat.json": '{"subject": "hf://org/b@main"}'}, subjects_of([workload()]))
    assert said.note == "the target names no pinned model that a report could be about"


def test_a_report_may_be_named_after_what_it_is_about():
    one, other = "9a20" * 10, "1b31" * 10
    subjects = subjects_of([workload("--revision", one)])
    keyed = gate(kind="report", source="scores", key="{digest}.json")
    text = '{"metrics": {"accuracy": 0.95, "toxicity": 0}}'
    assert opinion(keyed, about(keyed, {f"{one}.json": text}, subjects), None).answer is Answer.PASS
    stale = about(keyed, {f"{other}.json": text}, subjects)
    assert stale.note == "there is no ConfigMap scores, key {digest}.json"
    lying = about(keyed, {f"{one}.json": '{"subject": "hf://org/a@1"}'}, subjects)
    assert "the report is about hf://org/a@1" in lying.note


@pytest.mark.parametrize(
    ("report", "answer", "text"),
    [
        (Report(licence="Apache-2.0", signature="model.sig"), Answer.PASS, "licence Apache-2.0; signature model.sig"),
        (Report(licence="cc-by-nc-4.0", signature="model.sig"), Answer.FAIL, "licence cc-by-nc-4.0 is not allowed"),
        (Report(signature="model.sig"), Answer.UNKNOWN, "there is no licence in the report"),
        (Report(licence="mit"), Answer.UNKNOWN, "there is no signature in the report"),
        (None, Answer.UNKNOWN, "there is no licence, signature in the report"),
    ],
)
def test_a_licence_and_a_signature_can_be_asked_for(report, answer, text):
    asked = gate_of("papers", "job://papers", None, {"licence": "apache-2.0, MIT", "signature": "required"})
    said = opinion(asked, Observed(gate="papers", completed=True, report=report), None)
    assert (said.answer, said.text) == (answer, text)


@pytest.mark.parametrize(
    ("report", "answer", "text"),
    [
        (Report(verdict=Answer.PASS, samples=500, at=AT - timedelta(hours=1)), Answer.PASS, ""),
        (Report({"accuracy": 0.9}, samples=500, at=AT - timedelta(hours=1)), Answer.UNKNOWN, "states no verdict"),
        (
            Report(verdict=Answer.PASS, samples=499, at=AT),
            Answer.UNKNOWN,
            "the report is of 499 samples, fewer than 500",
        ),
        (Report(verdict=Answer.PASS, at=AT), Answer.UNKNOWN, "how many samples it is: add 'samples'"),
        (Report(verdict=Answer.PASS, samples=500), Answer.UNKNOWN, "when it was made: add 'at'"),
        (
            Report(verdict=Answer.PASS, samples=500, at=AT - timedelta(hours=2)),
            Answer.UNKNOWN,
            "7200 s ago, more than 3600 s",
        ),
        (Report(verdict=Answer.PASS, samples=500, at=AT + timedelta(minutes=4)), Answer.PASS, ""),
        (
            Report(verdict=Answer.PASS, samples=500, at=AT + timedelta(minutes=6)),
            Answer.UNKNOWN,
            "which is in the future",
        ),
        (Report(samples=1, verdict=Answer.FAIL), Answer.FAIL, ""),
    ],
)
def test_a_report_has_to_be_of_enough_samples_and_new_enough(report, answer, text):
    asked = gate_of("scores", "report://scores/k", None, {"minSamples": "500", "maxAge": "1h"})
    said = opinion(asked, Observed(gate="scores", completed=True, report=report), None, AT)
    assert said.answer is answer
    assert text in said.text


def test_a_rollout_knows_how_old_a_report_is():
    world = World(make_plan(gates=(gate(limits={}, age=3600.0),)))
    world.run(2)
    world.revision = "b"
    world.tick()
    world.gates = {"evaluation": reported(report=Report(verdict=Answer.PASS, at=world.now - timedelta(hours=2)))}
    assert world.tick() == "waiting for gates"
    assert world.status.condition("Blocked").reason == "GateUnknown"
    world.gates = {"evaluation": reported(report=Report(verdict=Answer.PASS, at=world.now))}
    assert world.tick() == "advance"


@pytest.mark.parametrize(
    ("status", "body", "answer", "text"),
    [
        (200, '{"metrics": {"accuracy": 0.95, "toxicity": 0}}', Answer.PASS, "accuracy 0.95"),
        (200, '{"metrics": {"accuracy": 0.1, "toxicity": 0}}', Answer.FAIL, "accuracy 0.1 < 0.9"),
        (200, '{"subject": "hf://org/a@1"}', Answer.UNKNOWN, "the report is about hf://org/a@1"),
        (200, "", Answer.UNKNOWN, "there is no accuracy, toxicity in the report"),
        (200, "fine", Answer.UNKNOWN, "https://judge.example.org/score: the report cannot be read"),
        (202, "", Answer.RUNNING, "https://judge.example.org/score is still evaluating"),
        (503, "busy\n", Answer.UNKNOWN, "https://judge.example.org/score answered 503: busy"),
        (0, "refused", Answer.UNKNOWN, "https://judge.example.org/score cannot be asked: refused"),
    ],
)
def test_what_a_server_says(status, body, answer, text):
    asked = gate(kind="gate+https", source="https://key:word@judge.example.org/score?token=x")
    said = opinion(asked, answered(asked, status, body, {"hf://org/b@2"}), None)
    assert said.answer is answer
    assert text in said.text
    assert "word" not in said.text
    assert "token" not in said.text


REMEDY = "for which the gate has no limit: add 'verdict' to it, or min.METRIC or max.METRIC to the gate's metadata"
NUMBERS = [
    "Error: 500",
    "upstream connect error: 111",
    "code: 503\nmessage: x",
    "reason: busy\ncode: 503",
    "code = 503",
    '{"accuracy": 0.95}',
    '{"code": 500, "message": "x"}',
    "metrics: {accuracy: 0.95}",
    '{"results": {"arc": {"acc,none": 0.93}}, "config": {}}',
    '{"entry_type": "eval", "probe": "a", "detector": "b", "passed": 0, "total": 9}',
    "{}",
    '{"reason": "busy"}',
]


@pytest.mark.parametrize(
    ("text", "limits", "answer"),
    [
        *((text, {}, Answer.UNKNOWN) for text in NUMBERS),
        ("accuracy: 0.95", {"accuracy": Limits(minimum=0.9)}, Answer.PASS),
        ("accuracy: 0.85", {"accuracy": Limits(minimum=0.9)}, Answer.FAIL),
        ("code: 503", {"accuracy": Limits(minimum=0.9)}, Answer.UNKNOWN),
        ("verdict: pass\ncode: 200", {}, Answer.PASS),
        ('{"accuracy": 0.99}', {"accuracy": Limits(minimum=0.9)}, Answer.PASS),
        ('<testsuite tests="1"/>', {}, Answer.PASS),
    ],
)
def test_numbers_that_nobody_asked_for_are_no_verdict(text, limits, answer):
    server = gate(kind="gate+https", source="https://judge.example.org/score", limits=limits)
    of_server = opinion(server, answered(server, 200, text, frozenset()), None)
    assert of_server.answer is answer
    plain = gate(limits=limits)
    of_job = opinion(plain, observed(plain, ended("Complete"), [pod(text)]), None)
    assert (of_job.answer, of_job.metrics) == (answer, of_server.metrics)
    assert (REMEDY in of_server.text) is (REMEDY in of_job.text) is (text in NUMBERS)


def test_a_report_that_decides_nothing_is_named_with_the_remedy():
    metrics = '{"metrics": {"a": 1, "b": 2, "c": 3, "d": 4}, "subject": "hf://org/b@2"}'
    plain = msgspec.structs.replace(REPORT, limits={})
    said = opinion(plain, about(plain, {"chat.json": metrics}, {"hf://org/b@2"}), None)
    has = "the report of ConfigMap scores, key chat.json states no verdict and has a, b, c, …"
    assert (said.answer, said.text) == (Answer.UNKNOWN, f"{has}, {REMEDY}")
    server = gate(kind="gate+https", source="https://key:word@judge.example.org/score", limits={})
    said = opinion(server, answered(server, 200, "", frozenset()), None)
    has = "the report of https://judge.example.org/score states no verdict and has no metrics"
    assert (said.answer, said.text) == (Answer.UNKNOWN, f"{has}, {REMEDY}")
    world = World(make_plan(gates=(gate(limits={}),)))
    world.run(2)
    world.revision = "b"
    world.tick()
    world.gates = {"evaluation": reported(where="Job j")}
    assert world.tick() == "waiting for gates"
    assert "gate evaluation: the report of Job j states no verdict" in world.status.condition("Blocked").message


def canary(*webhooks: dict) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80},
                "analysis": {"interval": "1m", "threshold": 1, "stepWeight": 10, "webhooks": list(webhooks)},
            },
        }
    )


def test_gates_are_no_hooks():
    plan = plan_of(
        canary(
            {"name": "evaluation", "type": "pre-rollout", "url": "job://eval", "timeout": "30m"},
            {"name": "smoke", "type": "pre-rollout", "url": "http://smoke"},
            {"name": "late", "type": "rollout", "url": "job://eval"},
            {"name": "twin", "type": "pre-rollout", "url": "job://a"},
            {"name": "twin", "type": "pre-rollout", "url": "job://b"},
        ),
        default_provider="kubernetes",
        minimum_interval=0.0,
    )
    assert [hook.name for hook in plan.hooks] == ["smoke"]
    assert plan.gates[0] == Gate(name="evaluation", source="eval", timeout=1800.0)
    assert plan.gates[1].error == "a gate is of type pre-rollout, not rollout"
    assert [gate.error for gate in plan.gates[2:]] == ["there are 2 gates named twin"] * 2


TEMPLATE = {
    "metadata": {"name": "eval"},
    "spec": {
        "jobTemplate": {
            "metadata": {"labels": {"team": "ml"}},
            "spec": {
                "template": {"spec": {"containers": [{"name": "e", "env": [{"name": "WEIR_CANARY", "value": "x"}]}]}}
            },
        }
    },
}


def test_the_job_has_one_name_a_revision_and_belongs_to_the_canary():
    plan, one = make_plan(name="chat." + "long" * 20), gate(timeout=90.0)
    job = job_of(TEMPLATE, plan, one, "abc", {"WEIR_CANARY": "chat", "WEIR_REVISION": "abc"})
    assert job["metadata"]["name"] == job_name(plan, one, "abc") != job_name(plan, one, "abd")
    assert len(job["metadata"]["name"]) <= 63
    assert job["metadata"]["labels"] == {
        "team": "ml", "weir.dev/canary": plan.name[:63], "weir.dev/gate": "evaluation"
    }  # fmt: skip
    assert job["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert job["spec"]["activeDeadlineSeconds"] == 90
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [entry["name"] for entry in container["env"]] == [
        "WEIR_JOB_UID", "WEIR_REPORT", "WEIR_REVISION", "WEIR_CANARY"
    ]  # fmt: skip
    assert container["env"][2:] == [{"name": "WEIR_REVISION", "value": "abc"}, {"name": "WEIR_CANARY", "value": "x"}]
    assert TEMPLATE["spec"]["jobTemplate"]["spec"] == {
        "template": {"spec": {"containers": [{"name": "e", "env": [{"name": "WEIR_CANARY", "value": "x"}]}]}}
    }


def ended(kind: str, reason: str = "") -> dict:
    condition = {"type": kind, "status": "True", "reason": reason, "message": "because"}
    return {"metadata": {"name": "j"}, "status": {"conditions": [condition]}}


def pod(message: str, at: str = "2026-11-29T10:00:00Z") -> dict:
    return {"status": {"containerStatuses": [{"state": {"terminated": {"message": message, "finishedAt": at}}}]}}


def test_a_job_is_read_back():
    assert observed(gate(), {"metadata": {"name": "j"}}, []).running
    assert observed(gate(), {"metadata": {"name": "j", "deletionTimestamp": "x"}}, []).running
    done = observed(gate(), ended("Complete"), [pod("old", "2026-11-29T09:00:00Z"), pod('{"metrics": {"a": 1}}')])
    assert (done.completed, done.report) == (True, Report(metrics={"a": 1.0}))
    odd = observed(gate(), ended("Complete"), [pod("accuracy is fine")])
    assert (odd.completed, odd.report) == (False, None)
    assert "the report cannot be read" in odd.note
    assert observed(gate(), ended("Failed", "BackoffLimitExceeded"), []).failed
    late = observed(gate(), ended("Failed", "DeadlineExceeded"), [])
    assert (late.failed, late.completed, late.note) == (False, False, "Job j failed: because")


def test_a_large_report_comes_in_a_config_map_of_this_very_job():
    large = gate(in_config_map=True, limits={})
    job = ended("Complete")
    job["metadata"] |= {"uid": "u7"}
    nothing = observed(large, job, [pod('{"metrics": {"a": 1}}')])
    assert (nothing.completed, nothing.note) == (
        False,
        "Job j left no report in the ConfigMap that WEIR_REPORT names",
    )
    left = {"metadata": {"name": report_name(job)}, "data": {"report.json": '{"metrics": {"a": 2}}'}}
    assert report_name(job) == "report-u7"
    assert observed(large, job, [], left).report == Report(metrics={"a": 2.0})
    assert owned_by_job(left, job)["metadata"]["ownerReferences"][0]["uid"] == "u7"
    odd = observed(large, job, [], {**left, "data": {"report.json": "fine"}})
    assert odd.note.startswith("ConfigMap report-u7: the report cannot be read")


def test_results_are_bounded_and_those_of_the_incumbent_stay():
    results: tuple[Result, ...] = ()
    for number in range(15):
        fresh = Result(gate="evaluation", revision=f"r{number}", answer=Answer.PASS, at=AT)
        results = with_results(results, [fresh], "r0")
    assert len(results) == 10
    assert [one.revision for one in results][:2] == ["r0", "r6"]
    again = with_results(results, [Result(gate="evaluation", revision="r0", answer=Answer.FAIL, at=AT)], "r0")
    assert [one.answer for one in again if one.revision == "r0"] == [Answer.FAIL]
    for text in ("{", "[" * 100_000, encode_results(again).replace("Z", "")):
        assert decode_results({RESULTS: text}) == ()


def gated(**changes) -> World:
    world = World(make_plan(gates=(gate(),)), **changes)
    world.run(2)
    world.revision = "b"
    world.tick()
    assert world.status.phase is Phase.PROGRESSING
    return world


def test_no_traffic_before_the_gate_has_let_it_pass():
    world = gated()
    world.gates = {"evaluation": Observed(gate="evaluation", running=True, note="Job j is running")}
    assert world.run(3) == ["waiting for gates"] * 3
    assert (world.routes, world.status.failed_checks) == (HOME, 0)
    assert world.status.condition("Blocked").reason == "GateRunning"
    world.gates = {"evaluation": reported()}
    assert world.tick() == "advance"
    assert world.status.condition("Blocked") is None
    assert "Gate evaluation of chat.prod passed: accuracy 0.95; toxicity 0.001" in world.texts()
    world.run(7)
    assert world.status.phase is Phase.SUCCEEDED
    world.revision, world.gates = "c", {"evaluation": reported(0.92)}
    world.run(2)
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.FAILED, "v2:c")
    assert all(weights == HOME for phase, _, weights in world.moves[-1:])
    told = "Gate evaluation of chat.prod failed: accuracy 0.92 is more than 0.02 below the incumbent's 0.95"
    assert told in world.texts()


def test_what_is_unknown_waits_for_a_person():
    world = gated()
    world.gates = {"evaluation": reported(report=None)}
    assert world.run(3) == ["waiting for gates"] * 3
    assert world.status.condition("Blocked").reason == "GateUnknown"
    assert len([text for text in world.texts() if "Halt chat.prod advancement gate evaluation" in text]) == 1
    world.annotations[COMMAND] = "promote by=jane"
    world.tick()
    assert (world.status.phase, world.routes.canary) == (Phase.PROGRESSING, 20), "the analysis begins"
    world.run(7)
    assert (world.status.phase, world.primary) == (Phase.SUCCEEDED, "b")


def test_a_second_try_is_evaluated_anew():
    world = gated()
    world.gates = {"evaluation": reported(0.5)}
    world.tick()
    assert world.status.phase is Phase.FAILED
    world.annotations[COMMAND] = "retry by=jane"
    world.tick()
    assert world.cleared == 2, "at the start of each run"
    world.gates = {"evaluation": reported()}
    assert world.tick() == "advance"


@pytest.mark.parametrize("back", [False, True])
def test_the_incumbent_in_other_words_is_still_what_the_next_revision_is_compared_with(back):
    world = gated()
    world.gates = {"evaluation": reported()}
    world.run(9)
    assert (world.status.phase, world.primary) == (Phase.SUCCEEDED, "b")
    world.means = {"words": "b"}
    for world.revision in ("words", "b") if back else ("words",):
        assert world.tick() == "reverted"
    world.revision, world.gates = "c", {"evaluation": reported(0.92)}
    world.run(2)
    assert (world.status.phase, world.status.last_applied_spec) == (Phase.FAILED, "v2:c")
    told = "Gate evaluation of chat.prod failed: accuracy 0.92 is more than 0.02 below the incumbent's 0.95"
    assert told in world.texts()
