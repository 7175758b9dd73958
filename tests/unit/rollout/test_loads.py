"""How long a model may take to load."""

import pytest
from rollout_world import World, make_plan

from agent.api.canary import Canary
from agent.core.rollout.loads import deadline
from agent.core.rollout.reading import plan_of
from agent.core.rollout.status import Load, Phase, decode_status, encode_status

GIB = 2**30


@pytest.mark.parametrize(
    ("asked", "load", "seconds"),
    [
        (None, None, 600),
        (None, Load(), 600),
        (None, Load(bytes=100 * GIB), 600 + 2048),
        (None, Load(bytes=100 * GIB, rate=GIB), 600 + 200),
        (None, Load(rate=GIB), 600),
        (60, Load(bytes=100 * GIB), 60),
    ],
)
def test_a_deadline_has_time_for_the_bytes_of_the_model_unless_it_is_set(asked, load, seconds):
    assert deadline(asked, 600, load) == seconds


def test_the_deadline_follows_from_what_the_status_says():
    raw = {
        "metadata": {"name": "chat", "namespace": "prod"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {}},
        "status": {"load": {"bytes": 100 * GIB, "rate": GIB}},
    }
    assert plan_of(Canary.from_object(raw), default_provider="istio", minimum_interval=10).deadline == 800


def test_the_pace_is_measured_once_a_run_and_kept_for_the_next():
    found = World(make_plan(interval=10.0), size=100 * GIB)
    found.run(3)
    assert (found.status.phase, found.status.load) == (Phase.INITIALIZED, None)
    found.revision, found.unready = "b", frozenset({"b"})
    found.run(10)
    assert found.status.load == Load(bytes=100 * GIB, loading=True)
    found.unready = frozenset()
    found.tick()
    assert found.status.load == Load(bytes=100 * GIB, rate=GIB, loading=False), "100 seconds after the run began"
    assert decode_status(encode_status(found.status)).load == found.status.load
    while found.status.phase is not Phase.SUCCEEDED:
        found.tick()
    found.revision, found.size = "c", 0
    found.tick()
    assert found.status.load == Load(rate=GIB)
    found.run(3)
    assert found.status.load == Load(rate=GIB), "where the size is unknown there is no pace"
