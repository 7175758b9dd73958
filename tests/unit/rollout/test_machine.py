"""The machine's scenarios: each reads as the story of one rollout, tick by tick."""

import contextlib

import msgspec
import pytest
from rollout_world import Died, World, make_plan

from agent.api.analysis import HookType
from agent.core.rollout.actions import HOME, EnsureRoutes, Promote, Scale, Weights
from agent.core.rollout.ending import in_other_words
from agent.core.rollout.machine import step
from agent.core.rollout.plan import Hook
from agent.core.rollout.snapshot import Answers, Stage
from agent.core.rollout.status import Phase


def initialized(**changes) -> World:
    world = World(make_plan(**changes))
    world.run(2)
    assert world.status.phase is Phase.INITIALIZED
    return world


def hook(kind: HookType, name: str = "gate") -> Hook:
    return Hook(type=kind, name=name, url="http://gate")


def test_first_contact_makes_a_primary_and_scales_the_target_down():
    world = World(make_plan())
    world.tick()
    assert world.status.phase is Phase.INITIALIZED
    assert (world.primary, world.primary_replicas, world.target_replicas) == ("a", 2, 0)
    assert world.status.last_applied_spec == world.status.last_promoted_spec == "v2:a"
    assert world.apex
    assert "Initialization done! chat.prod" in world.texts()
    assert world.status.condition("Promoted").status == "True"


def test_initialization_waits_for_the_primary():
    world = World(make_plan(), unready=frozenset({"a-primary"}))
    world.run(3)
    assert world.status.phase is Phase.INITIALIZING
    assert not world.apex
    assert world.target_replicas == 2
    world.unready = frozenset()
    world.tick(due=False)
    assert world.status.phase is Phase.INITIALIZED


def test_a_good_revision_climbs_and_is_promoted():
    world = initialized()
    world.revision = "b"
    assert world.tick(due=False) == "start"
    assert world.status.phase is Phase.PROGRESSING
    assert world.target_replicas == 2
    assert world.run(7) == [
        "advance",
        "advance",
        "advance",
        "promote",
        "promoted",
        "finished",
        "unchanged",
    ]
    assert [after.canary for _, _, after in world.moves] == [20, 40, 60, 0]
    assert world.status.phase is Phase.SUCCEEDED
    assert (world.primary, world.target_replicas) == ("b", 0)
    assert world.status.last_promoted_spec == "v2:b"
    assert world.counts == [True]
    assert [text for text in world.texts() if "Init" not in text] == [
        "New revision detected! Scaling up chat.prod",
        "Starting canary analysis for chat.prod",
        "Advance chat.prod canary weight 20",
        "Advance chat.prod canary weight 40",
        "Advance chat.prod canary weight 60",
        "Copying chat.prod template spec to chat-primary.prod",
        "Routing all traffic to primary",
        "Promotion completed! Scaling down chat.prod",
    ]


def test_a_bad_revision_is_rolled_back_and_stays_rejected():
    world = initialized()
    world.revision, world.bad = "b", frozenset({"b"})
    rules = [world.tick() for _ in range(5)]
    assert rules == ["start", "advance", "failed check", "failed check", "threshold reached"]
    assert world.status.phase is Phase.FAILED
    assert (world.primary, world.target_replicas, world.routes) == ("a", 0, HOME)
    assert (world.status.last_applied_spec, world.status.last_promoted_spec) == ("v2:b", "v2:a")
    assert world.texts()[-2:] == [
        "Rolling back chat.prod failed checks threshold reached 2",
        "Canary failed! Scaling down chat.prod",
    ]
    before = len(world.log)
    assert set(world.run(5)) == {"unchanged"}
    writes = [item for item in world.log[before:] if type(item).__name__ in {"Scale", "SetRoutes", "WriteStatus"}]
    assert writes == []


def test_returning_to_the_promoted_revision_after_a_failure_starts_no_run():
    world = initialized()
    world.revision, world.bad = "b", frozenset({"b"})
    world.run(5)
    world.revision = "a"
    assert world.tick(due=False) == "reverted"
    assert world.status.phase is Phase.SUCCEEDED
    assert world.target_replicas == 0
    world.revision = "b"
    assert world.tick(due=False) == "start", "asked for again, the rejected revision gets another try"


def test_a_revert_in_mid_run_cancels_it():
    world = initialized()
    world.revision = "b"
    world.run(3)
    assert world.routes.canary == 40
    world.revision = "a"
    assert world.tick(due=False) == "reverted"
    assert (world.status.phase, world.routes, world.target_replicas) == (Phase.SUCCEEDED, HOME, 0)
    assert "reverted" in world.status.condition("Promoted").message
    assert (world.status.last_applied_spec, world.status.last_promoted_spec) == ("v2:a", "v2:a")
    assert world.promotions == []
    assert set(world.run(3)) == {"unchanged"}


def test_the_promoted_revision_in_other_words_starts_no_run():
    world = initialized()
    world.means = {"b": "a", "d": "c"}
    world.revision = "b"
    before = len(world.log)
    assert world.tick(due=False) == "reverted"
    assert world.texts()[-1] == (
        "Target chat.prod is the promoted revision in other words, no analysis is needed: container[server].model"
    )
    assert (world.status.last_applied_spec, world.status.last_promoted_spec) == ("v2:b", "v2:b")
    assert (world.status.phase, world.primary, world.target_replicas) == (Phase.SUCCEEDED, "a", 0)
    assert set(world.run(3)) == {"unchanged"}
    assert in_other_words(world.status)
    moved = [item for item in world.log[before:] if type(item).__name__ in {"Scale", "SetRoutes", "Promote"}]
    assert moved == []
    world.revision = "a"
    assert world.tick(due=False) == "reverted", "the first words again: what the primary runs, to the letter"
    assert world.status.last_promoted_spec == "v2:a"
    assert not in_other_words(world.status)
    world.revision = "c"
    assert world.tick(due=False) == "start", "other content is tried"
    world.run(8)
    assert (world.primary, world.status.phase) == ("c", Phase.SUCCEEDED)


@pytest.mark.parametrize("ticks", [3, 8])
def test_the_promoted_revision_in_other_words_ends_a_run_and_heals_a_failure(ticks):
    world = initialized()
    world.means = {"b": "a"}
    world.revision, world.bad = "c", frozenset({"c"})
    world.run(ticks)
    assert world.status.phase is (Phase.PROGRESSING if ticks == 3 else Phase.FAILED)
    world.revision = "b"
    assert world.tick(due=False) == "reverted"
    assert (world.status.phase, world.routes, world.target_replicas) == (Phase.SUCCEEDED, HOME, 0)
    assert world.promotions == []
    assert set(world.run(3)) == {"unchanged"}


def test_another_revision_in_mid_run_restarts_the_analysis():
    world = initialized()
    world.revision = "b"
    world.run(3)
    world.revision = "c"
    assert world.tick(due=False) == "restart"
    assert (world.routes, world.status.canary_weight, world.status.failed_checks) == (HOME, 0, 0)
    assert "New revision detected! Restarting analysis for chat.prod" in world.texts()
    world.run(7)
    assert (world.primary, world.status.phase) == ("c", Phase.SUCCEEDED)


def test_configs_are_part_of_the_revision():
    world = World(make_plan(), configs={"configmap/settings": "1"})
    world.run(2)
    world.configs = {"configmap/settings": "2"}
    assert world.tick(due=False) == "start"
    world.run(2)
    world.configs = {"configmap/settings": "1"}
    assert world.tick(due=False) == "reverted"
    world.configs = {"configmap/settings": "3"}
    world.run(8)
    assert world.primary_configs == {"configmap/settings": "3"}
    assert world.status.tracked == {"configmap/settings": "3"}


def test_step_weights_lead_through_the_listed_weights():
    world = initialized(step_weight=0, step_weights=(1, 10, 50), max_weight=50)
    world.revision = "b"
    world.run(8)
    assert [after.canary for _, _, after in world.moves] == [1, 10, 50, 0]
    assert world.primary == "b"


def test_step_weight_promotion_moves_back_in_steps():
    world = initialized(step_weight=50, max_weight=100, step_weight_promotion=40)
    world.revision = "b"
    world.run(8)
    assert [after.canary for _, _, after in world.moves] == [50, 100, 60, 20, 0]
    assert "Advance chat.prod primary weight 40" in world.texts()
    assert world.status.phase is Phase.SUCCEEDED


def test_blue_green_iterates_and_switches():
    world = initialized(step_weight=0, iterations=2)
    world.revision = "b"
    assert world.run(7) == ["start", "iterate", "iterate", "all to canary", "promote", "promoted", "finished"]
    assert [after for _, _, after in world.moves] == [Weights(0, 100), HOME]
    assert "Advance chat.prod canary iteration 2/2" in world.texts()


def test_blue_green_behind_plain_services_moves_no_traffic():
    world = initialized(provider="kubernetes", step_weight=0, iterations=2)
    world.revision = "b"
    assert world.run(7)[-1] == "finished"
    assert [type(item).__name__ for item in world.log].count("SetRoutes") == 0
    assert world.primary == "b"


def test_a_bad_revision_behind_plain_services_is_rolled_back():
    world = initialized(provider="kubernetes", step_weight=0, iterations=5)
    world.revision, world.bad = "b", frozenset({"b"})
    world.run(8)
    assert (world.status.phase, world.primary, world.target_replicas) == (Phase.FAILED, "a", 0)


def test_mirroring_comes_before_the_first_weight():
    world = initialized(mirror=True)
    world.revision = "b"
    world.run(3)
    assert [after for _, _, after in world.moves] == [Weights(100, 0, mirrored=True), Weights(80, 20)]


def test_skip_analysis_promotes_once_ready():
    world = initialized(skip_analysis=True)
    world.revision, world.unready = "b", frozenset({"b"})
    assert world.run(3) == ["start", "canary not ready", "canary not ready"]
    world.unready = frozenset()
    assert world.tick() == "analysis skipped"
    assert (world.primary, world.status.phase, world.target_replicas) == ("b", Phase.SUCCEEDED, 0)


@pytest.mark.parametrize("skip", [False, True])
def test_a_canary_past_its_deadline_is_rolled_back(skip):
    world = initialized(skip_analysis=skip)
    world.revision, world.stuck = "b", frozenset({"b"})
    assert world.run(2) == ["start", "canary broken"]
    assert (world.status.phase, world.primary) == (Phase.FAILED, "a")
    assert "canary deployment chat.prod not ready: exceeded its progress deadline" in world.texts()


def test_a_primary_that_breaks_in_its_promotion_leaves_the_traffic_on_the_canary():
    world = initialized()
    world.revision, world.stuck = "b", frozenset({"b-primary"})
    world.run(6)
    assert world.status.phase is Phase.FAILED
    assert (world.routes, world.status.canary_weight, world.target_replicas) == (Weights(0, 100), 100, 2)
    world.revision = "c"
    world.run(6)
    assert (world.primary, world.routes, world.status.phase) == ("c", HOME, Phase.SUCCEEDED)


def test_an_approval_is_waited_for_before_the_run():
    world = initialized(hooks=(hook(HookType.CONFIRM_ROLLOUT),))
    world.refusing = {HookType.CONFIRM_ROLLOUT: 2}
    world.revision = "b"
    assert world.tick() == "waiting for approval"
    assert (world.status.phase, world.target_replicas) == (Phase.WAITING, 0)
    assert world.tick(due=False) == "waiting for approval", "not asked again before the interval has passed"
    assert world.asked.count(HookType.CONFIRM_ROLLOUT) == 1
    assert world.run(2) == ["still waiting for approval", "start"]


def test_a_revert_while_waiting_for_approval_ends_the_waiting():
    world = initialized(hooks=(hook(HookType.CONFIRM_ROLLOUT),))
    world.refusing = {HookType.CONFIRM_ROLLOUT: 9}
    world.revision = "b"
    world.tick()
    world.revision = "a"
    assert world.tick(due=False) == "reverted"
    assert world.status.phase is Phase.SUCCEEDED


def test_a_failing_pre_rollout_hook_counts_as_a_failed_check():
    world = initialized(hooks=(hook(HookType.PRE_ROLLOUT, "load"),))
    world.refusing = {HookType.PRE_ROLLOUT: 1}
    world.revision = "b"
    assert world.run(3) == ["start", "failed check", "advance"]
    assert "Halt chat.prod advancement pre-rollout check load failed no" in world.texts()
    assert world.status.failed_checks == 1


def test_a_traffic_increase_can_be_refused_without_a_failed_check():
    world = initialized(hooks=(hook(HookType.CONFIRM_TRAFFIC_INCREASE),))
    world.refusing = {HookType.CONFIRM_TRAFFIC_INCREASE: 2}
    world.revision = "b"
    assert world.run(4) == ["start", "traffic increase refused", "traffic increase refused", "advance"]
    assert world.status.failed_checks == 0


def test_a_promotion_waits_for_its_approval_and_can_still_fail():
    world = initialized(hooks=(hook(HookType.CONFIRM_PROMOTION),))
    world.refusing = {HookType.CONFIRM_PROMOTION: 99}
    world.revision = "b"
    world.run(6)
    assert (world.status.phase, world.routes.canary) == (Phase.WAITING_PROMOTION, 60)
    world.bad = frozenset({"b"})
    world.run(3)
    assert (world.status.phase, world.primary) == (Phase.FAILED, "a")


def test_a_rollback_hook_ends_the_run():
    world = initialized(hooks=(hook(HookType.ROLLBACK),))
    world.refusing = {HookType.ROLLBACK: 2}
    world.revision = "b"
    assert world.run(4) == ["start", "advance", "advance", "rollback asked"]
    assert "Rolling back chat.prod manual webhook invoked" in world.texts()
    assert world.status.phase is Phase.FAILED


@pytest.mark.parametrize(("suspended", "due"), [(False, False), (True, False), (True, True)])
def test_pods_that_lack_what_requests_are_sent_to_get_it_at_every_look(suspended, due):
    world = initialized()
    world.revision = "b"
    world.run(2)
    assert world.routes.canary == 20
    world.plan = make_plan(suspended=suspended)
    snapshot = world.snapshot(Stage.GLANCE, Answers(), due=due)
    assert EnsureRoutes() not in step(snapshot).actions
    lacking = msgspec.structs.replace(snapshot.target, lacking=True)
    assert EnsureRoutes() in step(msgspec.structs.replace(snapshot, target=lacking)).actions


def test_suspended_means_hands_off():
    world = initialized()
    world.revision = "b"
    world.run(2)
    world.plan = make_plan(suspended=True)
    before = (world.status, world.routes, world.target_replicas)
    assert set(world.run(3)) == {"suspended"}
    assert (world.status, world.routes, world.target_replicas) == before


def test_nothing_is_judged_before_the_interval_has_passed():
    world = initialized()
    world.revision = "b"
    world.run(2)
    assert [world.tick(due=False) for _ in range(3)] == ["not due"] * 3
    assert world.routes.canary == 20


def test_a_target_scaled_away_in_mid_run_is_brought_back():
    world = initialized()
    world.revision = "b"
    world.run(2)
    world.target_replicas = 0
    assert world.tick() == "scaled away"
    assert world.target_replicas == 2


@pytest.mark.parametrize("skip", [True, False])
def test_a_promotion_that_another_writer_is_ahead_of_is_told_once(skip):
    class Contended(World):
        ahead = 2

        def perform(self, action, answers):
            if isinstance(action, Promote) and self.ahead:
                self.ahead -= 1
                raise Died
            return super().perform(action, answers)

    world = Contended(make_plan(skip_analysis=skip))
    world.run(2)
    world.revision = "b"
    while world.primary != "b":
        with contextlib.suppress(Died):
            world.tick()
    assert (world.ahead, world.promotions) == (0, ["b"])
    assert world.texts().count("Copying chat.prod template spec to chat-primary.prod") == 1


@pytest.mark.parametrize("cut", range(12))
def test_a_canary_that_failed_is_not_started_again_because_its_rollback_was_interrupted(cut):
    world = initialized()
    world.revision, world.bad = "b", frozenset({"b"})
    while world.status.failed_checks < world.plan.threshold:
        world.tick()
    started = len(world.log)
    with contextlib.suppress(Died):
        world.tick(crash_after=cut)
    world.run(2)
    assert (world.status.phase, world.target_replicas, world.routes) == (Phase.FAILED, 0, HOME)
    assert not [action for action in world.log[started:] if isinstance(action, Scale) and action.replicas]


def test_a_lost_primary_is_made_anew_only_from_the_promoted_revision():
    world = initialized()
    world.revision, world.bad = "b", frozenset({"b"})
    world.run(5)
    world.primary = None
    assert world.tick() == "blocked"
    assert world.status.condition("Blocked").reason == "PrimaryNotFound"
    world.revision = "a"
    world.run(2)
    assert (world.primary, world.status.condition("Blocked")) == ("a", None)


@pytest.mark.parametrize("reason", ["ProviderNotSupported", "TargetTaken"])
def test_deletion_of_a_canary_that_was_never_acted_on_touches_nothing(reason):
    world = World(make_plan(revert_on_deletion=True), refused=(reason, "use another one"), target_replicas=0)
    world.run(2)
    world.deleting = True
    world.run(2)
    assert world.gone
    assert (world.target_replicas, world.primary, world.moves) == (0, None, [])


def test_deletion_waits_where_what_was_taken_over_cannot_be_given_back():
    world = initialized(revert_on_deletion=True)
    world.refused, world.deleting = ("ProviderNotSupported", "provider istio is not supported"), True
    assert world.run(2) == ["blocked", "blocked"]
    assert (world.gone, world.apex) == (False, True)
    assert world.texts()[-1] == "provider istio is not supported"
    world.refused = None
    world.run(4)
    assert (world.gone, world.apex) == (True, False)


def test_deletion_restores_the_target():
    world = initialized(revert_on_deletion=True)
    assert world.finalizer
    world.deleting = True
    world.run(2)
    assert world.gone
    assert (world.target_replicas, world.apex) == (2, False)
    assert world.texts()[-2:] == ["Terminating canary chat.prod", "Terminated canary chat.prod"]


class TestAdoption:
    """Flagger's hashes are FNV sums; whatever they are, taking over starts no run."""

    def flagger(self, phase: Phase, **changes) -> World:
        world = initialized()
        world.status = type(world.status)(
            phase=phase, last_applied_spec="5f6d7c8b9", last_promoted_spec=changes.pop("promoted", "5f6d7c8b9")
        )
        for name, value in changes.items():
            setattr(world, name, value)
        return world

    @pytest.mark.parametrize("phase", [Phase.INITIALIZED, Phase.SUCCEEDED])
    def test_at_rest(self, phase):
        world = self.flagger(phase)
        assert world.run(2) == ["unchanged", "unchanged"]
        assert world.status.last_applied_spec == world.status.last_promoted_spec == "v2:a"
        assert world.target_replicas == 0
        world.revision = "b"
        assert world.tick() == "start"

    def test_other_images_are_a_new_revision(self):
        assert self.flagger(Phase.SUCCEEDED, revision="b").tick() == "start"

    def test_a_rejected_revision_stays_rejected(self):
        world = self.flagger(Phase.FAILED, revision="b", promoted="777")
        assert set(world.run(3)) == {"unchanged"}
        assert (world.status.phase, world.status.last_applied_spec) == (Phase.FAILED, "v2:b")
        world.revision = "a"
        assert world.tick() == "reverted", "recognised by what the primary runs"

    def test_in_mid_run_the_run_begins_again(self):
        world = self.flagger(Phase.PROGRESSING, revision="b", routes=Weights(60, 40), target_replicas=2)
        assert world.tick() == "restart"
        assert world.routes == HOME
