"""Flagger's event texts and webhook bodies to the letter: people and programs match them."""

from datetime import UTC, datetime

import pytest
from rollout_world import METRIC, World, make_plan

from agent.api.analysis import HookType
from agent.core.rollout import actions as act
from agent.core.rollout import manualgate
from agent.core.rollout.hooks import announcements, event_payload, payload
from agent.core.rollout.judgement import Check, Sample, judge
from agent.core.rollout.plan import Bounds, Hook
from agent.core.rollout.snapshot import HookResult
from agent.core.rollout.status import Phase, Status

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOOK = Hook(type=HookType.EVENT, name="h", url="http://h/", metadata={"team": "a", "eventType": "mine"})


def told(world: World) -> list[str]:
    """The event texts so far, each run of equal ones once."""
    texts = world.texts()
    return [text for before, text in zip(["", *texts], texts, strict=False) if text != before]


def started(**changes) -> World:
    """A Canary at rest on revision a."""
    world = World(plan=make_plan(**changes))
    while world.status.phase is not Phase.INITIALIZED:
        world.tick()
    world.log.clear()
    return world


def rolled(world: World, ticks: int = 12) -> list[str]:
    world.revision = "b"
    world.run(ticks)
    return told(world)


def test_from_the_first_sight_to_the_end_of_initialization():
    world = World(plan=make_plan())
    while world.status.phase is not Phase.INITIALIZED:
        world.tick()
    assert told(world)[-1] == "Initialization done! chat.prod"


RUNS = {
    "weights": (
        {"step_weight": 30, "max_weight": 60},
        [
            "New revision detected! Scaling up chat.prod",
            "Starting canary analysis for chat.prod",
            "Advance chat.prod canary weight 30",
            "Advance chat.prod canary weight 60",
            "Copying chat.prod template spec to chat-primary.prod",
            "Routing all traffic to primary",
            "Promotion completed! Scaling down chat.prod",
        ],
    ),
    "back in steps": (
        {"step_weight": 60, "max_weight": 60, "step_weight_promotion": 30},
        [
            "New revision detected! Scaling up chat.prod",
            "Starting canary analysis for chat.prod",
            "Advance chat.prod canary weight 60",
            "Copying chat.prod template spec to chat-primary.prod",
            "Advance chat.prod primary weight 70",
            "Advance chat.prod primary weight 100",
            "Promotion completed! Scaling down chat.prod",
        ],
    ),
    "blue/green": (
        {"step_weight": 0, "iterations": 2},
        [
            "New revision detected! Scaling up chat.prod",
            "Starting canary analysis for chat.prod",
            "Advance chat.prod canary iteration 1/2",
            "Advance chat.prod canary iteration 2/2",
            "Routing all traffic to canary",
            "Copying chat.prod template spec to chat-primary.prod",
            "Routing all traffic to primary",
            "Promotion completed! Scaling down chat.prod",
        ],
    ),
    "blue/green with mirroring": (
        {"step_weight": 0, "iterations": 1, "mirror": True},
        [
            "New revision detected! Scaling up chat.prod",
            "Starting canary analysis for chat.prod",
            "Advance chat.prod canary iteration 1/1",
            "Stop traffic mirroring and route all traffic to canary",
            "Copying chat.prod template spec to chat-primary.prod",
            "Routing all traffic to primary",
            "Promotion completed! Scaling down chat.prod",
        ],
    ),
    "A/B": (
        {"step_weight": 0, "iterations": 1, "matched": True},
        [
            "New revision detected! Scaling up chat.prod",
            "Starting canary analysis for chat.prod",
            "Advance chat.prod canary iteration 1/1",
            "Copying chat.prod template spec to chat-primary.prod",
            "Routing all traffic to primary",
            "Promotion completed! Scaling down chat.prod",
        ],
    ),
    "skipped": (
        {"skip_analysis": True},
        [
            "New revision detected! Scaling up chat.prod",
            "Copying chat.prod template spec to chat-primary.prod",
            "Promotion completed! Canary analysis was skipped for chat.prod",
        ],
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_ends_well(name):
    changes, texts = RUNS[name]
    assert rolled(started(**changes)) == texts


def test_a_run_that_is_rolled_back():
    world = started(metrics=(METRIC,), threshold=2)
    world.bad = frozenset({"b"})
    texts = rolled(world, 8)
    assert texts[-2:] == [
        "Rolling back chat.prod failed checks threshold reached 2",
        "Canary failed! Scaling down chat.prod",
    ]


def test_another_revision_in_mid_run():
    world = started()
    world.revision = "b"
    world.run(3)
    world.revision = "c"
    world.tick()
    assert told(world)[-1] == "New revision detected! Restarting analysis for chat.prod"


def test_a_suspended_canary():
    world = World(plan=make_plan(suspended=True))
    world.tick()
    assert told(world) == ["skipping canary run as object is suspended"]


def test_a_canary_that_goes_gives_its_target_back():
    world = started(revert_on_deletion=True)
    world.tick()
    world.deleting, world.target_replicas = True, 0
    world.log.clear()
    world.run(3)
    assert told(world) == ["Terminating canary chat.prod", "Terminated canary chat.prod"]


@pytest.mark.parametrize("changes", [{}, {"skip_analysis": True}])
def test_a_canary_that_misses_its_deadline(changes):
    world = started(**changes)
    world.stuck = frozenset({"b"})
    assert rolled(world, 3) == [
        "New revision detected! Scaling up chat.prod",
        "canary deployment chat.prod not ready: exceeded its progress deadline",
        "Canary failed! Scaling down chat.prod",
    ]


def test_a_primary_that_misses_its_deadline_in_its_promotion():
    world = started(step_weight=60, max_weight=60)
    world.stuck = frozenset({"b-primary"})
    why = "chat-primary.prod not ready: exceeded its progress deadline"
    assert rolled(world, 6)[-2:] == [why, f"Promotion of chat.prod failed, primary not ready: {why}"]


REFUSED = {
    HookType.CONFIRM_ROLLOUT: "Halt chat.prod advancement waiting for approval h",
    HookType.PRE_ROLLOUT: "Halt chat.prod advancement pre-rollout check h failed ",
    HookType.ROLLOUT: "Halt chat.prod advancement external check h failed ",
    HookType.CONFIRM_TRAFFIC_INCREASE: "Halt chat.prod advancement waiting for traffic increase approval h",
    HookType.CONFIRM_PROMOTION: "Halt chat.prod advancement waiting for promotion approval h",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hook_that_refuses(kind):
    world = started(hooks=(Hook(type=kind, name="h", url="http://h/"),), threshold=99)
    world.refusing = {kind: 99}
    assert any(text.startswith(REFUSED[kind]) for text in rolled(world))


ANNOUNCED = [
    (HookType.CONFIRM_ROLLOUT, True, "Confirm-rollout check h passed"),
    (HookType.PRE_ROLLOUT, True, "Pre-rollout check h passed"),
    (HookType.CONFIRM_TRAFFIC_INCREASE, True, "Confirm-traffic-increase check h passed"),
    (HookType.CONFIRM_PROMOTION, True, "Confirm-promotion check h passed"),
    (HookType.POST_ROLLOUT, True, "Post-rollout check h passed"),
    (HookType.POST_ROLLOUT, False, "Post-rollout hook h failed no"),
    (HookType.ROLLBACK, True, "Rollback check h passed"),
    (HookType.ROLLBACK, False, "Rollback hook h not signaling a rollback"),
]


@pytest.mark.parametrize(("kind", "passed", "text"), ANNOUNCED)
def test_an_answer_is_announced(kind, passed, text):
    (event,) = announcements(kind, [HookResult(kind=kind, name="h", passed=passed, error="no")])
    assert event.text == text


def test_the_body_of_a_webhook():
    status = Status(phase=Phase.PROGRESSING, last_applied_spec="v2:a")
    body = payload(make_plan(), status, Phase.PROGRESSING, {"cmd": "hey"})
    assert {name: body[name] for name in ("name", "namespace", "phase", "metadata")} == {
        "name": "chat",
        "namespace": "prod",
        "phase": "Progressing",
        "metadata": {"cmd": "hey"},
    }
    assert body["checksum"]
    assert "metadata" not in payload(make_plan(), status, Phase.PROGRESSING, {})


def test_the_body_that_tells_of_an_event():
    body = event_payload(make_plan(), Status(phase=Phase.FAILED), HOOK, act.Emit("text", "Warning"), NOW)
    assert body["phase"] == "Failed"
    assert body["metadata"] == {
        "team": "a",
        "eventMessage": "text",
        "eventType": "Warning",
        "timestamp": str(int(NOW.timestamp() * 1000)),
    }


HALTS = [
    ("request-success-rate", False, Bounds(99, None), Sample(97.0), "success rate 97.00% < 99%"),
    ("request-duration", False, Bounds(None, 500), Sample(0.515), "request duration 515ms > 500ms"),
    ("errors", True, Bounds(None, 1), Sample(2.5), "errors 2.50 > 1"),
    ("errors", True, Bounds(2, None), Sample(1.0), "errors 1.00 < 2"),
]


@pytest.mark.parametrize(("metric", "template", "bounds", "sample", "text"), HALTS)
def test_a_metric_out_of_its_range(metric, template, bounds, sample, text):
    found = judge(make_plan(), Check(metric=metric, bounds=bounds, template=template), sample, NOW)
    assert found.text == f"Halt chat.prod advancement {text}"


SILENT = [
    (
        "request-success-rate",
        False,
        Sample(),
        "Halt advancement no values found for gatewayapi:v1 metric request-success-rate probably chat.prod is not re",
    ),
    ("errors", True, Sample(), "Halt advancement no values found for custom metric: errors: "),
    ("errors", True, Sample(error="down"), "Metric query failed for errors: down"),
]


@pytest.mark.parametrize(("metric", "template", "sample", "text"), SILENT)
def test_a_metric_without_a_value(metric, template, sample, text):
    found = judge(make_plan(), Check(metric=metric, bounds=Bounds(), template=template), sample, NOW)
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("name", "key"),
    [("acceptance test", "weir.dev/gate.acceptance-test"), ("a/b", "weir.dev/gate.a-b"), ("x" * 99, None)],
)
def test_the_annotation_of_a_gate_is_a_valid_one(name, key):
    found = manualgate.annotation(name)
    assert len(found.partition("/")[2]) <= 63
    assert key is None or found == key
