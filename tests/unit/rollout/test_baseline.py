"""The fresh copy of the primary that a canary may be compared with."""

from __future__ import annotations

import contextlib

import pytest
from rollout_world import Died, World, make_plan

from agent.api.analysis import HookType
from agent.api.canary import Canary
from agent.api.judge import Conclusion
from agent.core.rollout import httproute
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.baselineobjects import BASELINE_OF, baseline_patch, baseline_workload, revision_of
from agent.core.rollout.commands import COMMAND, HANDLED
from agent.core.rollout.judgesettings import Baseline, JudgeMode, JudgeSettings
from agent.core.rollout.objects import Selector
from agent.core.rollout.plan import Hook
from agent.core.rollout.reading import plan_of
from agent.core.rollout.status import BLOCKED, Phase

FRESH = JudgeSettings(mode=JudgeMode.COMPARATIVE, baseline=Baseline.FRESH, warm_up=0.0)


def begun(verdict: Conclusion = Conclusion.PASS, **plan) -> World:
    """A run of revision b, whose canary has been brought up."""
    found = World(make_plan(judging=FRESH, metrics=(), **plan), conclusions={"b": verdict})
    found.run(3)
    found.revision = "b"
    assert found.tick() == "start"
    assert found.status.judge is not None
    assert found.status.judge.fresh
    return found


def test_it_comes_with_the_canary_and_gets_as_much_traffic():
    world = begun(step_weight=20, max_weight=80)
    assert world.baseline == ("v2:b", world.target_replicas)
    seen = []
    while world.status.phase is Phase.PROGRESSING:
        world.tick()
        seen.append((world.routes.primary, world.routes.canary, world.routes.baseline))
    steps = list(dict.fromkeys(seen))
    assert steps == [(60, 20, 20), (20, 40, 40), (0, 60, 40), (0, 80, 20)]
    world.run(4)
    assert (world.status.phase, world.routes, world.baseline) == (Phase.SUCCEEDED, HOME, None)


@pytest.mark.parametrize("step_weight_promotion", [0, 30])
def test_it_keeps_its_traffic_until_the_promoted_primary_can_take_it(step_weight_promotion):
    world = begun(step_weight=20, max_weight=60, step_weight_promotion=step_weight_promotion)
    world.unready = frozenset({"b-primary"})
    while world.status.phase is not Phase.PROMOTING:
        world.tick()
    assert world.run(2) == ["primary not ready"] * 2
    world.tick(due=False)
    assert (world.routes, world.baseline) == (Weights(0, 60, baseline=40), ("v2:b", 2))
    world.unready = frozenset()
    world.tick()
    assert world.routes.baseline == 0
    assert world.routes.canary in {0, 30}
    world.tick(due=False)
    assert world.baseline == ("v2:b", 2), "a gateway may still send somebody to it"
    world.tick()
    assert world.baseline is None
    world.run(3)
    assert (world.status.phase, world.routes) == (Phase.SUCCEEDED, HOME)


def test_it_goes_an_interval_after_a_rollback_has_taken_its_traffic():
    world = begun(Conclusion.FAIL)
    world.run(2)
    world.tick(due=False)
    assert (world.status.phase, world.routes, world.baseline) == (Phase.FAILED, HOME, ("v2:b", 2))
    world.tick()
    assert (world.status.phase, world.routes, world.baseline) == (Phase.FAILED, HOME, None)


def test_it_does_not_wait_where_the_next_run_would_not_know_of_it():
    world = begun(Conclusion.FAIL)
    world.run(2)
    world.plan, world.revision = make_plan(judging=JudgeSettings(mode=JudgeMode.GUARDED), metrics=()), "c"
    assert world.tick(due=False) == "start"
    assert world.baseline is None


def test_it_begins_anew_with_another_revision():
    world = begun(Conclusion.INCONCLUSIVE)
    world.run(2)
    assert world.routes.baseline == 20
    world.revision = "c"
    assert world.tick(due=False) == "restart"
    assert world.baseline == ("v2:c", 2)
    assert world.routes == HOME


def test_no_traffic_before_it_is_ready_but_for_who_promotes():
    world = begun()
    world.baseline_unready = True
    assert world.run(3) == ["baseline not ready"] * 3
    assert world.routes == HOME
    assert world.status.condition(BLOCKED).reason == "BaselineNotReady"
    assert len([text for text in world.texts() if text.startswith("baseline deployment chat-baseline.prod not")]) == 1
    world.annotations[COMMAND] = "promote-full by=jane"
    world.run(4)
    assert (world.status.phase, world.baseline) == (Phase.SUCCEEDED, None)


def test_it_follows_the_size_of_the_canary():
    world = begun(Conclusion.INCONCLUSIVE)
    world.run(2)
    world.target_replicas = 5
    assert world.tick() == "baseline"
    assert world.baseline == ("v2:b", 5)
    assert world.tick() != "baseline"


def test_one_that_was_left_behind_goes_before_anything_else():
    world = begun()
    world.run(12)
    assert world.status.phase is Phase.SUCCEEDED
    world.baseline, world.routes = ("v2:b", 1), Weights(70, 0, baseline=30)
    world.tick()
    assert (world.baseline, world.routes) == (("v2:b", 1), HOME)
    world.tick()
    assert (world.baseline, world.routes) == (None, HOME)


def canary(annotations: dict | None = None, **spec) -> Canary:
    analysis = {"stepWeight": 20, **spec.pop("analysis", {})}
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1", "annotations": annotations or {}},
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80, "gatewayRefs": [{"name": "edge"}]},
                "analysis": analysis,
                **spec,
            },
        }
    )


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"provider": "istio"}, False),
        ({"provider": "kubernetes"}, False),
        ({"targetRef": {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "chat"}}, False),
        ({"analysis": {"iterations": 3}}, False),
        ({"analysis": {"mirror": True}}, False),
        ({"analysis": {"sessionAffinity": {"cookieName": "a"}}}, False),
    ],
)
def test_where_it_cannot_be_that_is_said(spec, fits):
    found = plan_of(canary({"weir.dev/baseline": "fresh"}, **spec), default_provider="", minimum_interval=1)
    assert (found.fault is None) is fits
    if found.fault is not None:
        reason, text = found.fault
        assert reason == "AnnotationInvalid"
        assert "weir.dev/baseline is 'fresh', which needs provider gatewayapi:v1" in text
    assert plan_of(canary(**spec), default_provider="", minimum_interval=1).fault is None


PRIMARY = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat-primary", "namespace": "prod"},
    "spec": {
        "replicas": 7,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": "chat-primary"}},
        "template": {
            "metadata": {"labels": {"app": "chat-primary", "tier": "ml"}, "annotations": {"flagger-id": "x", "a": "b"}},
            "spec": {"containers": [{"name": "server", "image": "a:1"}]},
        },
    },
}


def test_the_copy_is_the_primary_under_a_label_of_its_own():
    made = baseline_workload(canary(), PRIMARY, Selector("app", "chat"), "chat-baseline", revision="v2:b", replicas=2)
    template = made["spec"]["template"]
    assert template["spec"] == PRIMARY["spec"]["template"]["spec"]
    assert template["metadata"] == {
        "labels": {"app": "chat-baseline", "tier": "ml"},
        "annotations": {"a": "b", BASELINE_OF: "v2:b"},
    }
    assert made["spec"]["selector"] == {"matchLabels": {"app": "chat-baseline"}}
    assert (made["spec"]["replicas"], made["metadata"]["ownerReferences"][0]["kind"]) == (2, "Canary")
    assert revision_of(made) == "v2:b"
    assert baseline_patch(made, revision="v2:b", replicas=2) == {}
    assert baseline_patch(made, revision="v2:c", replicas=3) == {
        "spec": {"replicas": 3, "template": {"metadata": {"annotations": {BASELINE_OF: "v2:c"}}}}
    }


def test_its_share_is_read_off_the_route_as_it_was_written():
    one = canary()
    route = httproute.new_route(one)
    spec = httproute.with_weights(one, route, Weights(60, 20, baseline=20))
    (rule,) = spec["rules"]
    assert [(ref["name"], ref["weight"]) for ref in rule["backendRefs"]] == [
        ("chat-primary", 60), ("chat-canary", 20), ("chat-baseline", 20)
    ]  # fmt: skip
    live = {**route, "spec": spec}
    assert httproute.weights_of(one, live) == Weights(60, 20, baseline=20)
    assert httproute.with_weights(one, live, HOME)["rules"] == route["spec"]["rules"]


NO_COPY = JudgeSettings(mode=JudgeMode.COMPARATIVE, warm_up=0.0)


def test_it_goes_before_a_run_begins_again_that_does_not_ask_for_it():
    world = begun(Conclusion.INCONCLUSIVE)
    world.run(2)
    assert world.routes.baseline == 20
    world.plan, world.revision = make_plan(judging=NO_COPY, metrics=()), "c"
    assert world.tick(due=False) == "baseline left over"
    assert (world.routes, world.baseline) == (HOME, ("v2:b", 2))
    assert world.tick(due=False) == "not due", "a gateway may still send somebody to it"
    assert world.baseline is not None
    assert world.tick() == "restart"
    assert (world.baseline, world.status.judge.fresh) == (None, False)


def test_it_goes_before_a_run_begins_again_wherever_the_process_dies():
    for cut in range(6):
        world = begun(Conclusion.INCONCLUSIVE)
        world.run(2)
        world.plan, world.revision = make_plan(judging=NO_COPY, metrics=()), "c"
        for _ in range(2):
            with contextlib.suppress(Died):
                world.tick(crash_after=cut)
        while world.status.phase is not Phase.SUCCEEDED:
            world.tick()
        assert (world.baseline, world.routes, world.primary) == (None, HOME, "c")


def test_a_suspended_canary_keeps_no_copy_of_a_run_that_is_over():
    world = begun(Conclusion.FAIL)
    world.run(2)
    assert (world.status.phase, world.baseline) == (Phase.FAILED, ("v2:b", 2))
    world.plan = make_plan(judging=FRESH, metrics=(), suspended=True)
    assert world.tick(due=False) == "suspended"
    assert world.baseline is not None, "a gateway may still send somebody to it"
    assert world.tick() == "suspended"
    assert world.baseline is None
    assert world.tick() == "suspended"


def test_a_suspended_canary_keeps_the_copy_of_a_run_that_goes_on():
    world = begun(Conclusion.INCONCLUSIVE)
    world.run(2)
    world.plan = make_plan(judging=FRESH, metrics=(), suspended=True)
    assert world.tick() == "suspended"
    assert (world.routes.baseline, world.baseline) == (20, ("v2:b", 2))


def test_who_approves_a_step_does_not_leave_out_the_comparison():
    gate = Hook(type=HookType.CONFIRM_TRAFFIC_INCREASE, name="gate", url="http://gate")
    world = begun(hooks=(gate,))
    world.refusing = {HookType.CONFIRM_TRAFFIC_INCREASE: 1000}
    world.run(2)
    assert world.status.condition(BLOCKED).reason == "TrafficApprovalMissing"
    world.baseline_unready = True
    world.annotations[COMMAND] = "promote by=jane"
    world.run(3)
    assert world.routes == HOME
    assert HANDLED not in world.annotations
    world.baseline_unready = False
    world.tick()
    assert (world.routes.canary, world.routes.baseline) == (20, 20)
    assert world.annotations[HANDLED] == world.annotations[COMMAND]
