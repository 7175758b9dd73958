"""How often a trigger looks at its runs: an old one costs two requests a minute, whatever is asked for meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from trigger_world import NOON

from agent.api.datatrigger import DataTriggerStatus, TriggerRun
from agent.core.trigger.pacing import next_look


def run(state: str, minutes: float = 0.0) -> TriggerRun:
    started = NOON - timedelta(minutes=minutes) if state != "Pending" else None
    return TriggerRun(name=f"{state}-{minutes}", kind="Job", data="sha256:b", state=state, started=started)


@pytest.mark.parametrize(
    ("runs", "settling", "refused", "asked", "seconds"),
    [
        pytest.param((), None, False, False, None, id="nothing to wait for"),
        pytest.param((run("Succeeded", 5),), None, False, False, None, id="all has ended"),
        pytest.param((run("Running"),), None, False, False, 1.0, id="young"),
        pytest.param((run("Running", 2),), None, False, False, 12.0, id="a tenth of its age"),
        pytest.param((run("Running", 600),), None, False, False, 30.0, id="old"),
        pytest.param((run("Running", 600), run("Running", 2)), None, False, False, 12.0, id="the youngest"),
        pytest.param((run("Running", 600),), 4.0, False, False, 4.0, id="data settles sooner"),
        pytest.param((), -1.0, False, False, 0.0, id="data has settled"),
        pytest.param((run("Pending"),), None, True, False, 30.0, id="refused"),
        pytest.param((run("Failed", 5),), None, False, True, 1.0, id="asked for, and the last has just ended"),
        pytest.param((run("Running", 600),), None, False, True, 30.0, id="asked for while one goes on"),
        pytest.param((run("Pending"),), None, True, True, 30.0, id="asked for while one is refused"),
    ],
)
def test_when_a_trigger_is_looked_at_again(
    runs: tuple[TriggerRun, ...], settling: float | None, refused: bool, asked: bool, seconds: float | None
) -> None:
    status = DataTriggerStatus(runs=runs)
    assert next_look(status, NOON, settling=settling, refused=refused, asked=asked) == seconds
