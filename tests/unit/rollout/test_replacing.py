"""A canary that takes the place of pods of the primary."""

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_world import Died, World, make_plan

from agent.api.analysis import HookType
from agent.api.canary import Canary
from agent.core.rollout.actions import HOME, Exchange, ScalePrimary, SendAlert, SetRoutes, Weights
from agent.core.rollout.commands import COMMAND, HANDLED, OUTCOME, Verb, written
from agent.core.rollout.plan import Hook
from agent.core.rollout.reading import plan_of
from agent.core.rollout.status import BLOCKED, Phase
from agent.core.rollout.surge import Surge


class Places(World):
    """Counts pods at every action, and sees that somebody always answers."""

    def perform(self, action, answers):
        answers = super().perform(action, answers)
        if self.full_replicas is not None:
            assert self.primary_replicas + self.target_replicas <= self.full_replicas
        if isinstance(action, SetRoutes | Exchange):
            assert not self.routes.primary or self.primary_replicas
            assert not self.routes.canary or self.target_replicas
        return answers


def places(pods: int = 4, **changes) -> Places:
    """A world whose primary has so many pods, and where revision b has just come."""
    world = Places(make_plan(surge=Surge.IN_PLACE, **changes), target_replicas=pods)
    world.run(2)
    assert (world.primary_replicas, world.target_replicas) == (pods, 0)
    world.revision = "b"
    return world


def pods(world: World) -> tuple[int, int, int]:
    return world.primary_replicas, world.target_replicas, world.routes.canary


def course(world: World, ticks: int) -> list[tuple[int, int, int]]:
    """Pods of the primary, of the canary, and its weight, behind each tick."""
    seen = []
    for _ in range(ticks):
        world.tick()
        seen.append(pods(world))
    return seen


def test_one_pod_changes_places_at_a_time_and_traffic_follows_the_pods():
    world = places(step_weight=25, max_weight=75)
    assert course(world, 6) == [(3, 1, 0), (3, 1, 25), (2, 2, 25), (2, 2, 50), (1, 3, 50), (1, 3, 75)]
    assert course(world, 1) == [(1, 3, 100)], "the last pod of the primary has no traffic while it is replaced"
    assert (world.status.phase, world.promotions) == (Phase.PROMOTING, ["b"])
    assert course(world, 4) == [(2, 2, 66), (3, 1, 33), (3, 1, 0), (4, 0, 0)]
    assert (world.status.phase, world.full_replicas, world.routes) == (Phase.SUCCEEDED, None, HOME)


def test_the_primary_keeps_its_share_while_its_pods_are_replaced():
    world = places(step_weight=50, max_weight=50)
    assert course(world, 5) == [(3, 1, 0), (3, 1, 25), (2, 2, 25), (2, 2, 50), (2, 2, 50)]
    assert world.status.phase is Phase.PROMOTING


@given(pods=st.integers(2, 40), step=st.integers(1, 100), most=st.integers(1, 100))
@settings(max_examples=100)
def test_pods_of_the_primary_carry_the_share_of_one_that_is_on_its_way_and_no_more(pods, step, most):
    world = places(pods, step_weight=step, max_weight=most)
    before = -1
    for _ in range(200):
        world.tick()
        if world.status.phase is not Phase.PROGRESSING:
            break
        assert world.routes.primary * pods <= 100 * (world.primary_replicas + 1)
        assert world.routes.canary <= most
        assert world.routes.canary + world.target_replicas > before, "each look takes it further"
        before = world.routes.canary + world.target_replicas
    assert world.status.phase is Phase.PROMOTING


def test_a_step_of_many_pods_is_taken_pod_by_pod():
    world = places(4, step_weight=100, max_weight=100)
    assert course(world, 7) == [(3, 1, 0), (3, 1, 25), (2, 2, 25), (2, 2, 50), (1, 3, 50), (1, 3, 75), (1, 3, 100)]
    listed = places(4, step_weight=0, step_weights=(5, 50), max_weight=50)
    assert course(listed, 5) == [(3, 1, 0), (3, 1, 5), (3, 1, 25), (2, 2, 25), (2, 2, 50)]


@pytest.mark.parametrize("weight", [20, 40])
def test_a_rollback_gives_the_places_back(weight):
    world = places(step_weight=20, max_weight=60)
    while world.routes.canary < weight:
        world.tick()
    world.bad = frozenset("b")
    while world.status.phase is Phase.PROGRESSING:
        world.tick()
    assert (world.status.phase, world.full_replicas, *pods(world)) == (Phase.FAILED, None, 4, 0, 0)


def test_what_a_dead_process_has_not_given_back_is_given_back_at_rest():
    world = places()
    world.run(2)
    world.bad = frozenset("b")
    while world.status.phase is Phase.PROGRESSING:
        world.tick()
    world.primary_replicas, world.full_replicas = 3, 4
    world.tick()
    assert (world.full_replicas, *pods(world)) == (None, 4, 0, 0)


def test_a_run_that_never_began_because_git_went_back_gives_its_place_back():
    world, cut = places(), 0
    while not world.target_replicas:  # die a moment later each time
        with contextlib.suppress(Died):
            world.tick(crash_after=cut)
        cut += 1
    assert (world.status.phase, *pods(world)) == (Phase.INITIALIZED, 3, 1, 0)
    world.revision = "a"
    world.tick()
    assert (world.full_replicas, *pods(world)) == (None, 4, 0, 0)


def test_a_process_that_died_between_the_two_writes_does_not_take_two_pods_at_once():
    world = places(step_weight=25, max_weight=75)
    course(world, 2)
    world.primary_replicas = 2
    assert course(world, 1) == [(2, 2, 25)]
    course(world, 4)
    assert (world.status.phase, *pods(world)) == (Phase.PROMOTING, 1, 3, 100)
    world.target_replicas = 2
    assert course(world, 1) == [(2, 2, 66)]


def test_another_revision_begins_with_one_pod():
    world = places(step_weight=25, max_weight=75)
    course(world, 4)
    world.revision = "c"
    assert course(world, 4) == [(3, 0, 0), (3, 1, 0), (3, 1, 25), (2, 2, 25)]


def test_an_approved_step_waits_for_the_pod_that_it_needs():
    gate = Hook(type=HookType.CONFIRM_TRAFFIC_INCREASE, name="gate", url="http://gate")
    world = places(step_weight=50, max_weight=50, hooks=(gate,), metrics=())
    world.refusing = {HookType.CONFIRM_TRAFFIC_INCREASE: 1000}
    world.run(2)
    assert pods(world) == (3, 1, 0)
    first, command = (written(Verb.PROMOTE, at=f"2026-11-29T10:0{minute}:00Z", by="jane") for minute in range(2))
    world.annotations[COMMAND] = first
    world.tick()
    assert (*pods(world), world.annotations[HANDLED]) == (3, 1, 25, first)
    world.tick()
    world.annotations[COMMAND] = command
    world.tick()
    assert pods(world) == (2, 2, 25)
    assert world.annotations[HANDLED] == first
    world.tick()
    assert pods(world) == (2, 2, 50)
    assert world.annotations[HANDLED] == command


def test_a_single_pod_is_not_replaced():
    world = places(1)
    world.tick()
    blocked = world.status.condition(BLOCKED)
    assert blocked is not None
    assert blocked.reason == "InsufficientAccelerators"
    assert "chat-primary.prod has one replica" in blocked.message
    assert "one-pod" in blocked.message
    assert pods(world) == (1, 0, 0)


def until(world: World, phase: Phase) -> None:
    while world.status.phase is not phase:
        world.tick()


@pytest.mark.parametrize("ticks", [0, 1, 2])
def test_a_promotion_waits_for_a_pod_that_does_not_come_while_others_answer(ticks):
    world = places(step_weight=50, max_weight=50)
    until(world, Phase.PROMOTING)
    world.run(ticks)
    before = (*pods(world), world.status.phase)
    world.stuck, world.answering = frozenset({"b-primary"}), 1
    world.run(3)
    assert (*pods(world), world.status.phase) == before
    blocked = world.status.condition(BLOCKED)
    assert blocked is not None
    assert blocked.reason == "PrimaryNotReady"
    assert "free room for one pod" in blocked.message
    alerts = [action for action in world.log if isinstance(action, SendAlert) and action.severity == "error"]
    assert len(alerts) == 1, "told once"
    world.stuck = frozenset()
    world.run(4)
    assert (world.status.phase, world.full_replicas, *pods(world)) == (Phase.SUCCEEDED, None, 4, 0, 0)
    assert world.status.condition(BLOCKED) is None


def test_a_promotion_fails_when_nobody_of_the_primary_answers():
    world = places(step_weight=50, max_weight=50)
    until(world, Phase.PROMOTING)
    world.stuck = frozenset({"b-primary"})
    world.tick()
    assert (world.status.phase, world.routes) == (Phase.FAILED, Weights(0, 100))


@pytest.mark.parametrize("cut", range(12))
def test_a_finished_run_whose_last_status_was_lost_stays_finished(cut):
    world = places()
    until(world, Phase.FINALISING)
    with contextlib.suppress(Died):
        world.tick(crash_after=cut)
    if not world.target_replicas:
        world.stuck = frozenset({"b-primary"})
    world.run(2)
    assert (world.status.phase, world.routes, *pods(world)) == (Phase.SUCCEEDED, HOME, 4, 0, 0)


def test_an_annotation_that_is_taken_away_counts_for_the_next_run():
    world = places(step_weight=25, max_weight=75)
    world.run(1)
    world.plan = msgspec.structs.replace(world.plan, surge=None)
    assert course(world, 5) == [(3, 1, 25), (2, 2, 25), (2, 2, 50), (1, 3, 50), (1, 3, 75)]
    until(world, Phase.SUCCEEDED)
    assert (world.full_replicas, *pods(world)) == (None, 4, 0, 0)


def test_a_canary_that_began_beside_the_primary_takes_one_place_at_a_time():
    world = places(step_weight=25, max_weight=75)
    world.plan = msgspec.structs.replace(world.plan, surge=Surge.ONE_POD)
    assert course(world, 2) == [(4, 1, 0), (4, 1, 25)]
    world.plan = msgspec.structs.replace(world.plan, surge=Surge.IN_PLACE)
    assert course(world, 4) == [(3, 1, 25), (2, 2, 25), (2, 2, 50), (1, 3, 50)]
    until(world, Phase.SUCCEEDED)
    assert (world.full_replicas, *pods(world)) == (None, 4, 0, 0)


@pytest.mark.parametrize("hooks", [(), (Hook(type=HookType.CONFIRM_ROLLOUT, name="gate", url="http://gate"),)])
def test_a_second_replica_in_git_lets_the_run_begin(hooks):
    world = places(1, hooks=hooks)
    world.run(2)
    assert (world.status.phase, *pods(world)) == (Phase.INITIALIZED, 1, 0, 0)
    world.wanted_replicas = 2
    world.tick()
    assert pods(world) == (2, 0, 0)
    world.tick()
    assert (world.status.phase, *pods(world)) == (Phase.PROGRESSING, 1, 1, 0)
    assert world.status.condition(BLOCKED) is None


def single(**changes) -> Places:
    """The primary has one pod, and revision b beside it was asked for before its pods were to change places."""
    world = places(1, **changes)
    world.plan = msgspec.structs.replace(world.plan, surge=Surge.SURGE)
    return world


def asked(world: World, verb: Verb) -> str:
    """What is said to a person who asks for this now, with pods that are to change places."""
    world.plan = msgspec.structs.replace(world.plan, surge=Surge.IN_PLACE)
    world.annotations[COMMAND] = written(verb, at="2026-11-29T10:00:00Z", by="jane")
    world.tick()
    return world.annotations[OUTCOME]


def test_a_single_pod_is_not_replaced_when_a_person_asks_for_another_try():
    world = single()
    world.bad = frozenset("b")
    world.run(8)
    assert (world.status.phase, *pods(world)) == (Phase.FAILED, 1, 0, 0)
    assert "refused: Deployment chat-primary.prod has one replica" in asked(world, Verb.RETRY)
    world.run(3)
    assert (world.status.phase, *pods(world)) == (Phase.FAILED, 1, 0, 0)


def test_a_single_pod_is_not_replaced_when_a_person_approves_the_run():
    world = single(hooks=(Hook(type=HookType.CONFIRM_ROLLOUT, name="gate", url="http://gate"),))
    world.refusing = {HookType.CONFIRM_ROLLOUT: 1000}
    world.run(2)
    assert world.status.awaiting_start
    assert "refused: Deployment chat-primary.prod has one replica" in asked(world, Verb.PROMOTE)
    assert pods(world) == (1, 0, 0)


@pytest.mark.parametrize("revision", ["b", "c"])
def test_a_run_that_has_begun_beside_a_single_pod_goes_on_like_that(revision):
    world = single()
    world.run(2)
    world.plan = msgspec.structs.replace(world.plan, surge=Surge.IN_PLACE)
    world.revision, world.target_replicas = revision, 0
    world.run(1)
    assert pods(world)[:2] == (1, 1)
    world.revision = "d"
    world.run(12)
    assert (world.status.phase, world.promotions, *pods(world)) == (Phase.SUCCEEDED, ["d"], 1, 0, 0)


def test_other_canaries_have_replicas_of_their_own():
    world = World(make_plan(surge=Surge.SURGE))
    world.run(2)
    world.revision = "b"
    world.run(12)
    assert world.status.phase is Phase.SUCCEEDED
    assert not [action for action in world.log if isinstance(action, Exchange | ScalePrimary)]


def test_promoted_by_hand_before_there_was_any_traffic():
    world = places(2, step_weight=50, max_weight=50)
    world.tick()
    world.annotations[COMMAND] = written(Verb.PROMOTE_FULL, at="2026-11-29T10:00:00Z", by="jane")
    world.tick()
    assert (world.status.phase, world.routes) == (Phase.PROMOTING, Weights(0, 100))
    course(world, 2)
    assert (world.status.phase, *pods(world)) == (Phase.SUCCEEDED, 2, 0, 0)


@given(
    pods=st.integers(2, 6),
    step=st.integers(10, 100),
    most=st.integers(10, 100),
    pushes=st.lists(st.tuples(st.integers(0, 14), st.sampled_from("abc")), max_size=3),
    bad=st.sampled_from([frozenset(), frozenset("b"), frozenset("bc")]),
    crashes=st.lists(st.integers(0, 12), max_size=25),
)
@settings(max_examples=200)
def test_it_ends_with_all_places_taken_wherever_the_process_dies(pods, step, most, pushes, bad, crashes):
    world = places(pods, step_weight=step, max_weight=most)
    world.bad = bad
    planned, deaths = dict(pushes), list(crashes)
    for tick in range(100):
        world.revision = planned.get(tick, world.revision)
        try:
            world.tick(crash_after=deaths.pop() if deaths else None)
        except Died:
            continue
    assert world.status.phase.resting
    assert (world.primary_replicas, world.target_replicas, world.full_replicas) == (pods, 0, None)
    assert world.routes == HOME
    assert world.primary not in bad


DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
SCALER = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "chat"}


@pytest.mark.parametrize(
    ("spec", "analysis", "annotations", "fits"),
    [
        ({}, {}, {}, True),
        ({"targetRef": {**DEPLOYMENT, "kind": "DaemonSet"}}, {}, {}, False),
        ({"provider": "kubernetes"}, {}, {}, False),
        ({"autoscalerRef": SCALER}, {}, {}, False),
        ({"skipAnalysis": True}, {}, {}, False),
        ({}, {"iterations": 3}, {}, False),
        ({}, {"mirror": True}, {}, False),
        ({}, {}, {"weir.dev/judge": "comparative", "weir.dev/baseline": "fresh"}, False),
    ],
)
def test_where_it_cannot_be_had_the_canary_says_so(spec, analysis, annotations, fits):
    canary = Canary.from_object(
        {
            "metadata": {
                "name": "chat",
                "namespace": "prod",
                "annotations": {"weir.dev/surge": "in-place", **annotations},
            },
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": DEPLOYMENT,
                "service": {"port": 80},
                "analysis": {"stepWeight": 10, **analysis},
                **spec,
            },
        }
    )
    plan = plan_of(canary, default_provider="gatewayapi:v1", minimum_interval=10.0)
    assert plan.surge is Surge.IN_PLACE
    assert (plan.fault is None) is fits
    if plan.fault is not None:
        assert plan.fault[0] == "AnnotationInvalid"
        assert "chat.prod: annotation weir.dev/surge is 'in-place'" in plan.fault[1]
