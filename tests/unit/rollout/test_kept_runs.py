"""Finished runs on the Canary: in brief, within bounds, and read whatever stands there."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_world import START, make_plan

from agent.api.canary import Canary
from agent.api.judge import Conclusion, Finding
from agent.controllers.canary.bookkeeping import missed_run
from agent.controllers.canary.observing import World
from agent.controllers.canary.rollouts import RolloutLog
from agent.controllers.canary.tick import Tick
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.ledger import LEDGER, Outcome, Period, Share, encode_ledger
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.runs import KEPT, LIMIT, RUNS, brief, decode_runs, encode_runs
from agent.core.rollout.snapshot import Stage
from agent.core.rollout.status import Condition, Phase, Status
from agent.core.rollout.view import RolloutView, Told, missed

MINUTE = timedelta(minutes=1)


def judgement(metric: str = "errors", verdict: Verdict = Verdict.PASS, **fields: object) -> Judgement:
    given: dict[str, object] = {"time": START, "query": f"sum({metric})", "value": 0.0, **fields}
    return msgspec.convert({"metric": metric, "verdict": verdict, **given}, Judgement)


def run(number: int = 0, **changes: object) -> RolloutView:
    view = RolloutView(
        namespace="prod",
        name="chat",
        target="Deployment/chat",
        primary="Deployment/chat-primary",
        provider="kubernetes",
        strategy="canary",
        phase=Phase.FAILED,
        applied=f"v2:{number}",
        started=START,
        finished=START + number * MINUTE + timedelta(microseconds=7),
    )
    return msgspec.structs.replace(view, **changes)


FULL = run(
    judge="guarded",
    step=2,
    verdict=Conclusion.FAIL,
    reason="too bad",
    findings=(Finding(metric="errors", conclusion=Conclusion.FAIL, estimate=0.0, baseline_estimate=0.5, query="q"),),
    changes=("model a -> b",),
    withheld=(Withheld(slot="s", kind="model", wanted="b", serving="a"),),
    judgements=(judgement(verdict=Verdict.FAIL, text="Halt"),),
    checks=7,
    checks_not_passed=1,
    warnings=(Told(START, "Halt"),),
    cause="Halt",
    shares=(Share(at=START, percent=None), Share(at=START, percent=30), Share(at=START, percent=0)),
)


def read(text: str, name: str = "chat") -> tuple[RolloutView, ...]:
    return decode_runs({RUNS: text}, "prod", name)


def test_what_is_kept_of_a_short_run_is_all_of_it():
    assert read(encode_runs([FULL])) == (FULL,)
    assert "critical" not in encode_runs([FULL]), "what is as ever takes no room"
    assert read(encode_runs([FULL]), "copy") == (msgspec.structs.replace(FULL, name="copy"),), "whose Canary it is on"


def test_the_last_runs_are_kept_the_oldest_first():
    found = read(encode_runs([run(number) for number in range(KEPT + 3)][::-1]))
    assert [one.applied for one in found] == [f"v2:{number}" for number in range(3, KEPT + 3)]
    assert read(encode_runs([])) == decode_runs({}, "prod", "chat") == ()
    assert read(encode_runs([run(finished=None)])) == (), "a run that is under way has not finished"


def test_of_many_checks_those_are_kept_that_say_why():
    many = [judgement(f"m{number % 3}", value=float(number)) for number in range(100)]
    many[40:60] = [judgement("bad", Verdict.FAIL, value=float(number), text=f"Halt {number}") for number in range(20)]
    kept = brief(run(judgements=tuple(many))).judgements
    assert [one.value for one in kept] == [*map(float, range(10, 20)), 97.0, 98.0, 99.0]
    assert [one.query for one in kept] == ["sum(bad)", *[""] * 9, "sum(m1)", "sum(m2)", "sum(m0)"], "each query once"


def long(text: str) -> RolloutView:
    """A run that is as large as one gets, and larger."""
    everything = text * 3000
    told = tuple(Told(START + number * MINUTE, f"{number} {everything}") for number in range(20))
    return run(
        changes=(everything,) * 20,
        withheld=(Withheld(slot=everything, kind="model", wanted=everything),) * 20,
        judgements=tuple(
            judgement(f"{number}{everything}", Verdict.FAIL, text=everything, query=everything) for number in range(99)
        ),
        findings=(Finding(metric=everything, conclusion=Conclusion.FAIL, reason=everything, query=everything),) * 20,
        warnings=told,
        cause=everything,
        reason=everything,
        message=everything,
        blocked=everything,
    )


@pytest.mark.parametrize("text", ["x", "€", "\x00", '"', "\U0001f47d"])
def test_the_annotation_is_bounded_in_bytes_and_the_newest_run_is_always_in_it(text: str):
    old, new = long(text), msgspec.structs.replace(long(text), applied="v2:new", finished=START + MINUTE)
    written = encode_runs([old, new])
    assert len(written.encode()) <= LIMIT
    assert read(written)[-1].applied == "v2:new"
    assert read(written)[-1].cause.startswith(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[1, null, {}]",
        "[" * 100_000,
        '[{"a": ' + "[" * 100_000,
        "not JSON",
        '[{"namespace": "prod"}]',
        encode_runs([FULL]).replace("+00:00", "").replace("Z", ""),
        encode_runs([FULL]).replace('"Failed"', '"Fallen"'),
    ],
)
def test_what_cannot_be_read_holds_no_run(text: str):
    assert read(text) == ()


def test_one_broken_entry_leaves_the_others():
    entries = json.loads(encode_runs([run(1), run(2), run(3)]))
    entries[1]["finished"] = "yesterday"
    assert [one.applied for one in read(json.dumps(entries))] == ["v2:1", "v2:3"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_nothing_that_stands_there_raises(value: object):
    entry = {**json.loads(encode_runs([FULL]))[0], "judgements": value}
    read(json.dumps(value))
    read(json.dumps([value, entry]))


def test_the_log_takes_in_what_others_kept_and_says_what_is_not_kept():
    log = RolloutLog()
    log.recall("prod", "chat", {RUNS: encode_runs([run(1), run(2)])})
    assert [one.applied for one in log.history("prod", "chat")] == ["v2:2", "v2:1"]
    assert log.unkept("prod", "chat") == ()
    assert not log.lacks("prod", "chat", START + 2 * MINUTE)
    assert log.lacks("prod", "chat", START + 3 * MINUTE)
    log.add(run(3, checks=300))
    assert [one.applied for one in log.unkept("prod", "chat")] == ["v2:1", "v2:2", "v2:3"]
    log.kept("prod", "chat")
    log.recall("prod", "chat", {RUNS: encode_runs([run(2), run(3), run(4)])})  # another has led meanwhile
    assert [one.checks for one in log.history("prod", "chat")] == [0, 300, 0, 0], "in full where that is known"
    assert log.unkept("prod", "chat") == ()
    log.forget("prod", "chat")
    assert log.finished() == ()
    log.recall("prod", "chat", {RUNS: encode_runs([run(1)])})
    assert len(log.finished()) == 1, "a new Canary of that name"


ENDED = datetime(2026, 11, 29, 10, 5, tzinfo=UTC)
TRIAL = Period(role="canary", revision="v2:b", since=START, shares=(Share(at=START, percent=30),))


@pytest.mark.parametrize(
    ("phase", "outcome", "found"),
    [
        (Phase.FAILED, "", (Phase.FAILED, ENDED, "too slow", "said")),
        (Phase.FAILED, "rejected", (Phase.FAILED, START + MINUTE, "too slow", "said")),
        (Phase.SUCCEEDED, "promoted", (Phase.SUCCEEDED, ENDED, "", "said")),
        (Phase.SUCCEEDED, "reverted", (Phase.SUCCEEDED, START + MINUTE, "", "said")),
        (Phase.SUCCEEDED, "rejected", (Phase.FAILED, START + MINUTE, "too slow", "")),
        (Phase.PROMOTING, "promoted", None),
    ],
)
def test_a_run_whose_end_was_the_last_that_a_process_did(phase: Phase, outcome: Outcome, found: object):
    trial = msgspec.structs.replace(TRIAL, outcome=outcome, until=START + MINUTE if outcome else None)
    told = Condition(type="Promoted", status="False", reason=phase.value, message="said")
    status = Status(phase=phase, last_applied_spec="v2:b", last_transition_time=ENDED, conditions=(told,))
    view = missed(make_plan(), status, trial, ("a -> b",), "too slow")
    if view is None:
        assert found is None
        return
    assert (view.phase, view.finished, view.cause, view.message) == found
    assert (view.applied, view.started, view.shares, view.changes) == ("v2:b", START, trial.shares, ("a -> b",))
    assert read(encode_runs([view])) == (view,)


def test_a_missed_run_is_added_once_also_where_the_clock_that_ended_it_was_behind():
    trial = msgspec.structs.replace(TRIAL, since=ENDED + MINUTE, outcome="rejected", until=ENDED)
    metadata = {"namespace": "prod", "name": "chat", "annotations": {LEDGER: encode_ledger([trial])}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    spec = {"targetRef": target, "service": {"port": 80}, "analysis": {"threshold": 1}}
    canary = Canary.from_object({"metadata": metadata, "spec": spec})
    status = Status(phase=Phase.FAILED, last_applied_spec="v2:b", last_transition_time=ENDED)
    tick = Tick(canary=canary, plan=make_plan(), status=status, stored={}, world=World(stage=Stage.ROUTED))
    log = RolloutLog()
    found = missed_run(tick, log)
    assert found is not None
    log.add(found)
    assert missed_run(tick, log) is None
