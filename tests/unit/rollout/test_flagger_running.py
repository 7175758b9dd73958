"""Who counts as a running Flagger, and what is left to it."""

import pytest
from rollout_world import World, make_plan

from agent.api.canary import Canary
from agent.core.rollout import actions as act
from agent.core.rollout.flagger import FLAGGER_RUNNING, refusal, running


def deployment(image: str, *arguments: str, replicas: int = 1):
    container = {"image": image, "args": list(arguments)}
    return {
        "metadata": {"name": "flagger", "namespace": "flagger-system"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
    }


def canary(**annotations: str) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "annotations": annotations},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {}},
        }
    )


@pytest.mark.parametrize(
    ("image", "replicas", "counts"),
    [
        ("ghcr.io/fluxcd/flagger:1.44.0", 1, True),
        ("registry:5000/mirror/flagger@sha256:0a", 2, True),
        ("ghcr.io/fluxcd/flagger:1.44.0", 0, False),
        ("ghcr.io/fluxcd/flagger-loadtester:0.36.0", 1, False),
        ("ghcr.io/example/weir:1", 1, False),
    ],
)
def test_flagger_is_known_by_its_image(image, replicas, counts):
    assert bool(running([deployment(image, replicas=replicas)])) is counts


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ((), True),
        (("-mesh-provider=istio", "-namespace=prod"), True),
        (("--namespace=other",), False),
        (("-namespace", "other"), False),
        (("-namespace=",), True),
    ],
)
def test_only_those_in_its_namespace_are_refused(arguments, refused):
    assert bool(refusal(canary(), [deployment("flagger", *arguments)])) is refused


def test_the_text_names_both_ways_out():
    text = refusal(canary(), [deployment("flagger")])
    assert text == (
        "Flagger runs as Deployment flagger-system/flagger and acts on canary chat.prod too: scale it to zero, or "
        "annotate the canary with weir.dev/handover: weir"
    )
    assert refusal(canary(**{"weir.dev/handover": "weir"}), [deployment("flagger")]) == ""


def test_a_canary_that_goes_is_left_to_flagger_with_its_finalizer():
    world = World(plan=make_plan(), refused=(FLAGGER_RUNNING, "it runs"), deleting=True, finalizer=True)
    assert world.run(3) == ["left to Flagger"] * 3
    assert world.log == []


def test_nothing_of_a_refused_canary_is_touched():
    world = World(plan=make_plan(), refused=(FLAGGER_RUNNING, "it runs"))
    world.run(2)
    assert {type(action) for action in world.log} == {act.Emit, act.WriteStatus}
    assert world.texts()[0] == "it runs"
