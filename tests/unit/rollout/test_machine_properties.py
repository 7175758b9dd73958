"""What holds for every rollout, whatever is pushed when and wherever the process dies."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_world import Died, World, make_plan

from agent.api.analysis import HookType
from agent.core.rollout.actions import HOME
from agent.core.rollout.judgesettings import Baseline, JudgeMode, JudgeSettings, OnInconclusive
from agent.core.rollout.plan import Hook
from agent.core.rollout.status import Phase

P = Phase
EDGES = {
    (P.NONE, P.INITIALIZING),
    (P.INITIALIZING, P.INITIALIZED),
    *((rest, P.PROGRESSING) for rest in (P.INITIALIZED, P.SUCCEEDED, P.FAILED, P.WAITING)),
    *((rest, P.WAITING) for rest in (P.INITIALIZED, P.SUCCEEDED, P.FAILED)),
    (P.WAITING, P.SUCCEEDED),
    (P.WAITING, P.FAILED),
    (P.FAILED, P.SUCCEEDED),
    (P.PROGRESSING, P.WAITING_PROMOTION),
    (P.PROGRESSING, P.PROMOTING),
    (P.PROGRESSING, P.SUCCEEDED),
    (P.PROGRESSING, P.FAILED),
    (P.WAITING_PROMOTION, P.PROGRESSING),
    (P.WAITING_PROMOTION, P.PROMOTING),
    (P.WAITING_PROMOTION, P.SUCCEEDED),
    (P.WAITING_PROMOTION, P.FAILED),
    (P.PROMOTING, P.FINALISING),
    (P.PROMOTING, P.FAILED),
    (P.FINALISING, P.SUCCEEDED),
    (P.FINALISING, P.FAILED),
    *((phase, P.TERMINATING) for phase in P if phase not in {P.TERMINATING, P.TERMINATED}),
}
ENOUGH = 60

GATES = st.lists(
    st.sampled_from([HookType.CONFIRM_ROLLOUT, HookType.CONFIRM_PROMOTION, HookType.CONFIRM_TRAFFIC_INCREASE]),
    unique=True,
)


@st.composite
def plans(draw):
    hooks = tuple(Hook(type=kind, name=kind.value, url="http://gate") for kind in draw(GATES))
    common = {"hooks": hooks, "threshold": draw(st.integers(1, 3))}
    match draw(st.sampled_from(["weights", "list", "fresh", "blue-green", "plain", "skip"])):
        case "fresh":
            return make_plan(
                step_weight=draw(st.integers(10, 70)),
                max_weight=draw(st.integers(1, 100)),
                step_weight_promotion=draw(st.sampled_from([0, 30])),
                judging=JudgeSettings(
                    mode=JudgeMode.COMPARATIVE, baseline=Baseline.FRESH, warm_up=0, on_inconclusive=OnInconclusive.FAIL
                ),
                metrics=(),
                **common,
            )
        case "weights":
            return make_plan(
                step_weight=draw(st.integers(10, 70)),
                max_weight=draw(st.integers(1, 100)),
                step_weight_promotion=draw(st.sampled_from([0, 30])),
                mirror=draw(st.booleans()),
                **common,
            )
        case "list":
            steps = tuple(sorted(draw(st.sets(st.integers(1, 100), min_size=1, max_size=4))))
            return make_plan(step_weight=0, step_weights=steps, max_weight=min(100, steps[-1]), **common)
        case "blue-green":
            return make_plan(iterations=draw(st.integers(1, 4)), mirror=draw(st.booleans()), **common)
        case "plain":
            return make_plan(provider="kubernetes", iterations=draw(st.integers(1, 4)), **common)
        case _:
            return make_plan(skip_analysis=True, **common)


PUSHES = st.lists(st.tuples(st.integers(0, 14), st.sampled_from("abcd")), max_size=4)
CONFIGS = st.lists(st.tuples(st.integers(0, 14), st.sampled_from(["1", "2"])), max_size=2)
CRASHES = st.lists(st.integers(0, 12), max_size=25)


def live(world, pushes, configs, crashes, wakes=(), ticks=ENOUGH):
    """Let the world go by: pushes happen after so many ticks each; a crash cuts a tick short after so many actions."""
    crashes = list(crashes)
    for tick in range(ticks):
        for _, revision in [push for push in pushes if push[0] == tick]:
            world.revision = revision
        for _, checksum in [push for push in configs if push[0] == tick]:
            world.configs = {"configmap/c": checksum}
        if tick in wakes:
            world.tick(due=False)
        if crashes and tick % 2:
            try:
                world.tick(crash_after=crashes.pop())
            except Died:
                continue
        else:
            world.tick()


def final(world):
    status = world.status
    return (
        status.phase,
        status.canary_weight,
        status.last_applied_spec,
        status.last_promoted_spec,
        dict(status.tracked),
        world.primary,
        world.primary_configs,
        world.target_replicas,
        world.routes,
        world.baseline,
    )


def check_always(world):
    for before, after in world.phases:
        assert (before, after) in EDGES
    for phase, before, after in world.moves:
        assert after.primary + after.canary + after.baseline == 100
        downward = after.canary < before.canary and after != HOME
        assert not downward or phase is Phase.PROMOTING
    assert not set(world.promotions) & world.bad or world.plan.skip_analysis


@settings(max_examples=150, deadline=None)
@given(plan=plans(), pushes=PUSHES, configs=CONFIGS, bad=st.frozensets(st.sampled_from("bcd")))
def test_weights_phases_and_promotions(plan, pushes, configs, bad):
    world = World(plan, bad=bad, configs={"configmap/c": "1"} if configs else {})
    live(world, pushes, configs, [], wakes=range(0, ENOUGH, 3))
    check_always(world)
    assert world.status.phase in {Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED}
    assert (world.target_replicas, world.routes, world.baseline) == (0, HOME, None)
    if world.status.phase is Phase.FAILED:
        assert world.primary != world.revision or world.primary_configs != world.configs
    else:
        assert (world.primary, world.primary_configs) == (world.revision, world.configs)


@settings(max_examples=150, deadline=None)
@given(plan=plans(), target=st.sampled_from("abc"), bad=st.frozensets(st.sampled_from("bc")), crashes=CRASHES)
def test_a_process_that_dies_anywhere_reaches_the_same_end(plan, target, bad, crashes):
    calm, hit = World(plan, bad=bad), World(plan, bad=bad)
    live(calm, [(3, target)], [], [])
    live(hit, [(3, target)], [], crashes)
    check_always(hit)
    assert final(hit) == final(calm)
    assert len(set(hit.promotions)) == len(set(calm.promotions))


@settings(max_examples=150, deadline=None)
@given(
    plan=plans(), pushes=PUSHES, bad=st.frozensets(st.sampled_from("bcd")), lived=st.integers(1, 20), crashes=CRASHES
)
def test_a_deleted_canary_gives_back_what_it_took_wherever_the_process_dies(plan, pushes, bad, lived, crashes):
    world = World(msgspec.structs.replace(plan, revert_on_deletion=True), bad=bad)
    live(world, pushes, [], crashes, ticks=lived)
    run, moved, promoted = world.status.phase, len(world.moves), len(world.promotions)
    promised = world.finalizer
    world.deleting = True
    live(world, [], [], crashes)
    check_always(world)
    assert len(world.promotions) == promoted
    assert world.gone == promised, "what never promised anything goes without the agent"
    if promised:
        assert (world.phases[-1], world.apex) == ((run, P.TERMINATING), False)
        assert world.target_replicas == max(world.primary_replicas, 1)
        assert len(world.moves) == moved, "clients go to the target by the route that is left, which moves no weights"


@settings(max_examples=100, deadline=None)
@given(plan=plans(), pushes=PUSHES, bad=st.frozensets(st.sampled_from("bcd")), crashes=CRASHES)
def test_the_end_is_at_rest_and_writes_nothing(plan, pushes, bad, crashes):
    world = World(plan, bad=bad)
    live(world, pushes, [], crashes)
    before, status = len(world.log), world.status
    world.run(3)
    changes = {type(action).__name__ for action in world.log[before:]}
    assert changes <= {"EnsureServices", "EnsurePrimary", "EnsureApex", "EnsureRoutes"}
    assert world.status is status


@settings(max_examples=100, deadline=None)
@given(plan=plans(), outcomes=st.lists(st.booleans(), min_size=5, max_size=30))
def test_failed_checks_only_grow_within_a_run_and_end_it_at_the_threshold(plan, outcomes):
    world = World(plan)
    world.run(2)
    world.revision = "b"
    seen = 0
    for good in outcomes:
        world.bad = frozenset() if good else frozenset({"b"})
        before = world.status
        world.tick()
        if before.phase.analysing and world.status.phase.analysing:
            assert world.status.failed_checks - before.failed_checks in {0, 1}
            assert before.failed_checks < plan.threshold
        if before.failed_checks >= plan.threshold:
            assert world.status.phase == Phase.FAILED
        seen = max(seen, world.status.failed_checks)
    assert seen <= plan.threshold
