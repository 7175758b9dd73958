"""A target that nobody has written is no new revision, whatever form the API server gives it."""

import msgspec
import pytest
from rollout_world import World, make_plan

from agent.core.rollout.objects import fence_of
from agent.core.rollout.status import Phase


class Stored(World):
    """A target with a generation; its hash may differ without one of its own."""

    generation = 1
    form = ""

    def hash_of(self, revision):
        return f"v2:{revision}{self.form}"

    def snapshot(self, stage, answers, *, due):
        found = super().snapshot(stage, answers, due=due)
        target = msgspec.structs.replace(found.target, fence=f"u/{self.generation}")
        return msgspec.structs.replace(found, target=target)


def at_rest(phase=Phase.INITIALIZED) -> Stored:
    world = Stored(make_plan())
    world.run(3)
    if phase is not Phase.INITIALIZED:
        world.bad = frozenset({"b"} if phase is Phase.FAILED else ())
        world.revision, world.generation = "b", 2
        for _ in range(12):
            world.tick()
    assert world.status.phase is phase
    assert world.status.last_tracked_revision == f"u/{world.generation}"
    world.log.clear()
    return world


@pytest.mark.parametrize("phase", [Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED])
def test_another_form_of_the_same_object_starts_nothing(phase):
    world = at_rest(phase)
    world.form = "+defaults"
    world.run(4)
    assert world.status.phase is phase
    assert world.status.last_applied_spec.endswith("+defaults")
    assert (world.status.last_promoted_spec == world.status.last_applied_spec) is (phase is not Phase.FAILED)
    assert world.texts() == []


def test_in_mid_run_it_goes_on():
    world = at_rest()
    world.revision, world.generation = "b", 2
    world.run(3)
    assert world.routes.canary == 40
    world.form = "+defaults"
    world.tick()
    assert world.routes.canary == 60, "neither restarted nor taken back"
    world.run(4)
    assert (world.status.phase, world.primary) == (Phase.SUCCEEDED, "b")


def test_what_somebody_has_written_is_a_new_revision_even_in_another_form():
    world = at_rest()
    world.revision, world.form, world.generation = "b", "+defaults", 2
    world.tick()
    assert world.status.phase is Phase.PROGRESSING


def test_other_configs_are_a_new_revision():
    world = at_rest()
    world.form, world.configs = "+defaults", {"configmap/a": "1"}
    world.tick()
    assert world.status.phase is Phase.PROGRESSING


def test_at_rest_the_fence_is_written_once():
    world = at_rest()
    world.generation = 5
    world.tick()
    assert world.status.last_tracked_revision == "u/5"
    world.log.clear()
    world.run(3)
    assert [action for action in world.log if type(action).__name__ == "WriteStatus"] == []


def test_the_form_of_a_fence():
    metadata = {"uid": "u", "generation": 3, "annotations": {"deployment.kubernetes.io/revision": "7"}}
    assert fence_of({"metadata": metadata}) == "u/3/7"
    assert fence_of({"metadata": {"uid": "u", "generation": 3}}) == "u/3"
