"""When a trigger is looked at again though nothing has changed that it hears of."""

from __future__ import annotations

from datetime import datetime

from agent.api.datatrigger import DataTriggerStatus, TriggerRun
from agent.core.trigger.deciding import ACTIVE

_REFUSED_AGAIN = 30.0
_SHORTEST, _LONGEST = 1.0, 30.0


def next_look(
    status: DataTriggerStatus, now: datetime, *, settling: float | None, refused: bool, asked: bool
) -> float | None:
    """Seconds until the next pass, None where there is nothing to wait for.

    `settling` are the seconds until data has settled; `refused`: the API server did not let us do something; `asked`:
    a person wants everything run once more. That waits for the runs that go on, and so needs no look of its own.
    """
    looks = [_pause(run, now) for run in status.runs if run.state == "Running"]
    if settling is not None:
        looks.append(settling)
    if refused:
        looks.append(_REFUSED_AGAIN)
    if asked and not any(run.state in ACTIVE for run in status.runs):
        looks.append(_SHORTEST)
    return max(min(looks), 0.0) if looks else None


def _pause(run: TriggerRun, now: datetime) -> float:
    """A tenth of the time that the run has taken so far."""
    age = (now - run.started).total_seconds() if run.started is not None else 0.0
    return min(max(age / 10, _SHORTEST), _LONGEST)
