"""What people see of a rollout: tables of values and lines."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agent.api.canary import Canary
from agent.core.console.explained import explanation, history
from agent.core.console.facts import Judged, Run, rollout, side_of
from agent.core.console.screen import Said, bounded, listing, screen, summary
from agent.core.console.table import RED, YELLOW, Paint, ago, cut, safe, span, table
from agent.core.rollout.commands import COMMAND, HANDLED, OUTCOME, PAUSED
from agent.core.rollout.gates import RESULTS
from agent.core.rollout.hashing import revision_checksum
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.runs import RUNS, encode_runs
from agent.core.rollout.status import Phase, decode_status
from agent.core.rollout.view import RolloutView, Told

NOW = datetime(2026, 11, 29, 10, 0, 5, tzinfo=UTC)
PLAIN = Paint(False)
WEIGHTED = {"interval": "30s", "threshold": 3, "stepWeight": 20, "maxWeight": 60}


def deployment(name: str, model: str, replicas: int = 2, ready: int = 2) -> dict:
    container = {"name": "server", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model", model]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "prod"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": ready},
    }


def make(phase: str = "Progressing", *, analysis=None, annotations=None, run=None, unasked="", **status):
    stored = {
        "metadata": {"name": "chat", "namespace": "prod", "annotations": annotations or {}},
        "spec": {
            "provider": "gatewayapi:v1",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
            "service": {"port": 80},
            "analysis": analysis or WEIGHTED,
        },
    }
    given = {"phase": phase, "canaryWeight": 20, "lastTransitionTime": "2026-11-29T10:00:00Z", **status}
    return rollout(
        Canary.from_object(stored),
        decode_status(given),
        deployment("chat", "org/model-b", ready=1),
        deployment("chat-primary", "org/model-a"),
        run,
        unasked=unasked,
    )


def judged(verdict: str = "pass", **fields) -> Judged:
    values = {"metric": "request-success-rate", "time": NOW, "value": 99.871, "minimum": 99.0, "weight": 20}
    return Judged(verdict=verdict, **{**values, **fields})


def shown(found, said=(), width=100) -> str:
    return "\n".join(screen(found, said, NOW, paint=PLAIN, width=width))


def test_a_run_is_shown_with_sides_traffic_steps_checks_and_metrics():
    run = Run(weight=40, judgements=(judged("fail", value=90.0), judged()))
    text = shown(make(run=run, failedChecks=1), [Said(NOW, "Advance chat.prod canary weight 40")])
    assert "prod/chat  Progressing" in text
    assert "hf://org/model-a" in text
    assert "chat          1/2 ready    hf://org/model-b" in text
    assert "primary 60%  canary 40%" in text, "the router's weight counts, not the status'"
    assert "✓20 ▶40 ·60 → promotion" in text
    assert "1 of 3 failed, next in 25s" in text
    assert "✓ request-success-rate  99.87%  (≥ 99%)" in text
    assert "90%" not in text, "the latest judgement alone"
    assert "10:00:05  Advance chat.prod canary weight 40" in text


def test_iterations_are_counted():
    text = shown(make(analysis={"interval": "1m", "threshold": 1, "iterations": 5}, iterations=2))
    assert "iteration 2 of 5" in text


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"phase": "Waiting"}, "for approval: weir rollout promote, or weir rollout abort"),
        ({"annotations": {PAUSED: "by=jane reason=traces"}}, "by jane: traces; go on with: weir rollout resume"),
        ({"annotations": {COMMAND: "abort by=jane"}}, "abort by=jane"),
        ({"annotations": {COMMAND: "abort", HANDLED: "abort", OUTCOME: "done: rolled back"}}, "done: rolled back"),
        ({"unasked": "Service flux-system/weir:api does not answer"}, "no judgements: Service flux-system/weir"),
        ({"annotations": {"weir.dev/analysing": "model a -> b\nmodel c"}}, "model a -> b"),
        (
            {"conditions": [{"type": "Blocked", "status": "True", "reason": "RoutesUnknown", "message": "no route"}]},
            "RoutesUnknown: no route",
        ),
    ],
)
def test_what_deserves_a_remark_gets_one(changes, wanted):
    assert wanted in shown(make(**changes))


@pytest.mark.parametrize(
    ("reason", "label", "colour"),
    [("TooFewRequests", "waiting", YELLOW), ("GateRunning", "waiting", YELLOW), ("RoutesUnknown", "blocked", RED)],
)
def test_what_only_needs_time_is_not_painted_as_a_fault(reason, label, colour):
    condition = {"type": "Blocked", "status": "True", "reason": reason, "message": "12 of 200"}

    def paint(text, *styles):
        return f"<{','.join(styles)}>{text}" if any(styles) else text

    lines = screen(make(conditions=[condition]), (), NOW, paint=paint)
    told = next(line for line in lines if "12 of 200" in line)
    assert label in told
    assert f"<{colour}>{reason}: 12 of 200" in told


def test_a_reference_that_does_not_serve_is_named_beside_the_one_that_does():
    change = Withheld(slot="container[server].model", kind="model", wanted="hf://org/b", serving="hf://org/a")
    text = shown(make(run=Run(withheld=(change,))))
    assert "withheld   container[server].model: hf://org/b; the primary serves hf://org/a" in text


def test_lines_fit_into_the_terminal_and_do_not_command_it():
    change = "model " + "x" * 300 + "\x1b[2J"
    text = shown(make(annotations={"weir.dev/analysing": change}), [Said(NOW, "y" * 300)], width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert "\\u001b[2J" in text


def test_a_canary_that_nobody_has_looked_at_is_shown_as_such():
    text = shown(make("", canaryWeight=0))
    assert "not seen by an agent yet" in text
    assert summary(make("")).startswith("prod/chat  not seen")


def test_a_daemon_set_is_as_large_as_its_nodes():
    obj = deployment("chat", "org/model-a")
    obj = {**obj, "kind": "DaemonSet", "status": {"desiredNumberScheduled": 3, "numberReady": 2}}
    side = side_of(obj)
    assert (side.kind, side.replicas, side.ready) == ("DaemonSet", 3, 2)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "99.87%  (≥ 99%)"),
        ({"metric": "request-duration", "value": 0.2314, "minimum": None, "maximum": 500.0}, "231.4ms  (≤ 500ms)"),
        ({"metric": "ttft", "value": 1.5, "minimum": 1.0, "maximum": 2.0}, "1.5  (≥ 1 and ≤ 2)"),
        ({"value": None}, "no value  (≥ 99%)"),
        ({"metric": "ttft", "value": 3.0, "minimum": None}, "3"),
    ],
)
def test_a_judgement_in_numbers(fields, text):
    assert bounded(judged(**fields)) == text


def test_an_explanation_has_every_judgement_and_each_query_once():
    query = "sum(rate(errors[1m]))\n  / 2"
    run = Run(judgements=(judged("fail", query=query, text="Halt chat.prod advancement"), judged(query=query)))
    text = "\n".join(explanation(make("Failed", run=run), PLAIN))
    assert "weir rollout retry" in text
    assert "✗ request-success-rate" in text
    assert "Halt chat.prod advancement" in text
    assert text.count("sum(rate(errors[1m])) / 2") == 1
    assert "not known here: no Service" in "\n".join(explanation(make(unasked="no Service"), PLAIN))


FINDING = {
    "metric": "llm-error-rate",
    "conclusion": "fail",
    "test": "ceiling",
    "reason": "above its bound, and not by chance",
    "samples": 60,
    "estimate": 0.15,
    "bound": 0.01,
    "pValue": 0.0004,
    "alpha": 0.025,
    "look": 1,
    "pods": 1,
    "query": "sum by (pod) (increase(failed[60s]))",
    "since": "2026-11-29T09:58:00Z",
    "until": "2026-11-29T09:59:00Z",
}
JUDGE = {"mode": "guarded", "step": 2, "verdict": "fail", "reason": "too bad", "findings": [FINDING]}


def test_the_verdict_of_a_counting_judge_is_explained_also_if_the_agent_cannot_be_asked():
    text = "\n".join(explanation(make("Failed", judge=JUDGE, unasked="no Service"), PLAIN))
    assert "Last verdict of the guarded judge, at step 2: fail" in text
    assert (
        "✗ llm-error-rate 15.00% of 60 requests to one pod are bad, 1.00% may be "
        "(p 0.0004 at look 1, 0.025 may be spent)"
    ) in text
    assert "above its bound, and not by chance" in text
    assert "counted from 2026-11-29 09:58:00 to 09:59:00 UTC" in text
    assert "sum by (pod) (increase(failed[60s]))" in text
    told = msgspec.to_builtins(make("Failed", judge=JUDGE))
    assert (told["judge"], told["verdict"], told["findings"][0]["pValue"]) == ("guarded", "fail", 0.0004)


def test_a_step_that_waits_for_requests_does_not_ask_for_an_approval():
    held = make("Waiting", judge={**JUDGE, "verdict": "inconclusive", "held": True})
    assert "waits for more requests, or: weir rollout promote" in "\n".join(explanation(held, PLAIN))
    assert "for more requests, or: weir rollout promote, weir rollout abort" in shown(held)
    assert "for approval" not in shown(held)


def test_an_explanation_has_what_the_gates_reported_of_this_revision():
    def result(revision: str) -> dict:
        return {
            "gate": "quality",
            "revision": revision,
            "answer": "pass",
            "metrics": {"accuracy": 0.95},
            "at": "2026-11-29T10:00:00Z",
        }

    results = [result(revision_checksum({}, "v2:ab")), result("another")]
    found = make(annotations={RESULTS: json.dumps(results)}, lastAppliedSpec="v2:ab")
    lines = [line for line in explanation(found, PLAIN) if line.startswith("Gate")]
    assert lines == ["Gate quality: ✓ accuracy 0.95"]


KEPT = RolloutView(
    namespace="elsewhere",
    name="other",
    target="Deployment/chat",
    primary="Deployment/chat-primary",
    provider="kubernetes",
    strategy="canary",
    phase=Phase.FAILED,
    applied="v2:ab",
    judgements=(Judgement(metric="errors", verdict=Verdict.FAIL, time=NOW, query="sum(errors)", value=2.0),),
    warnings=(Told(NOW, "Halt chat.prod"), Told(NOW, "Canary failed!")),
    cause="Halt chat.prod",
    finished=NOW,
)


def test_what_the_canary_keeps_counts_where_the_agent_cannot_be_asked():
    annotations = {RUNS: encode_runs([KEPT])}
    found = make("Failed", annotations=annotations, unasked="no Service", lastAppliedSpec="v2:ab")
    text = "\n".join(explanation(found, PLAIN))
    assert "Cause: Halt chat.prod\n" in text
    assert "10:00:05  Canary failed!" in text
    assert "The judgements are those that the Canary keeps: no Service" in text
    assert "sum(errors)" in text
    assert "cause      Halt chat.prod" in shown(found)
    assert "judgements as the Canary keeps them: no Service" in shown(found)
    assert summary(found) == "prod/chat  Failed  Halt chat.prod"
    run = Run(phase="Failed", applied="v2:ab", cause="Halt of the agent")
    assert make("Failed", annotations=annotations, run=run).cause == "Halt of the agent"
    for status in ({"phase": "Progressing"}, {"lastAppliedSpec": "v2:cd"}):
        given = {"phase": "Failed", "lastAppliedSpec": "v2:ab", **status}
        assert make(annotations=annotations, unasked="no Service", **given).judgements is None


def test_history_and_listing_are_tables():
    run = Run(
        phase="Failed",
        applied="v2:ab",
        judgements=(judged("fail"), judged()),
        checks=300,
        changes=("model a -> b",),
        cause="Halt chat.prod",
        started=NOW - timedelta(minutes=3),
        finished=NOW - timedelta(minutes=1),
    )
    head, row = history([run], NOW)
    assert head.split() == ["FINISHED", "RESULT", "TOOK", "JUDGED", "NOT", "PASSED", "REVISION", "CHANGE", "CAUSE"]
    assert row.split()[:7] == ["1m", "ago", "Failed", "2m", "300", "1", "v2:ab"]
    assert row.endswith("   model a -> b   Halt chat.prod")
    _, line = listing([make(failedChecks=1)], NOW)
    assert line.split() == ["prod", "chat", "Progressing", "20%", "1/3", "5s"]


def test_json_has_the_documented_names():
    document = msgspec.json.decode(msgspec.json.encode(make(unasked="not asked")))
    assert document["failedChecks"] == 0
    assert document["wantedIterations"] == 0
    assert document["steps"] == [20, 40, 60]
    assert document["judgements"] is None
    assert document["target"] == {
        "kind": "Deployment", "name": "chat", "replicas": 2, "ready": 1, "serves": ["hf://org/model-b@main"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (59, "59s"), (60, "1m"), (125, "2m5s"), (3599, "59m"), (3600, "1h"), (3900, "1h5m"), (90_000, "1d1h")],
)
def test_spans(seconds, text):
    assert span(seconds) == text
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
    assert ago(None, NOW) == "-"


def test_texts_are_cut_in_the_middle():
    assert cut("abcdefgh", 8) == "abcdefgh"
    assert cut("abcdefgh", 5) == "ab…gh"
    assert safe("a\tb\u202e") == "a\\u0009b\\u202e"
    assert list(table(("A", "B"), [("longer", ""), ("x", "y")])) == ["A        B", "longer", "x        y"]
