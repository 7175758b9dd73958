"""How long the canary's first requests are those of a cold start: empty caches, kernels that are still compiled.

The start of a run is left out for a minute in any case. Beyond that, what is at the beginning of the first step clearly
slower than what came after is left out as well, up to five minutes from the start of the step.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.judge.evidence import Histogram
from agent.core.judge.queries import together
from agent.core.rollout.evidence import FEWEST, Wanted, Window, canary_periods
from agent.core.rollout.judgesettings import JudgeSettings
from agent.core.rollout.judgestate import JudgeState

LONGEST = 300.0
"""Seconds from the start of the first step that may be left out."""
_SLOWER = 1.3
_SAMPLES = 30
_HALF = 0.5


def may_be_cold(state: JudgeState, settings: JudgeSettings) -> bool:
    """In the first step, unless the Canary says itself how long the warm-up is."""
    return state.step <= 1 and settings.warm_up is None


def is_settled(items: Sequence[Wanted], window: Window, state: JudgeState, settings: JudgeSettings) -> bool:
    """Whether so much has been seen that a cold start would show, or it has had its longest time.

    Periods that are shorter than two scrapes are not counted, nor are those that the server does not tell.
    """
    if not may_be_cold(state, settings):
        return True
    if state.since is None or state.started is None:
        return False
    seen = max((len(canary_periods(item, window)) for item in items), default=0)
    return seen >= FEWEST or (state.since - state.started).total_seconds() + window.seconds >= LONGEST


def cold_seconds(items: Sequence[Wanted], window: Window, state: JudgeState, settings: JudgeSettings) -> float:
    """How much of the start of the window is to be left out."""
    if not may_be_cold(state, settings) or state.since is None or state.started is None:
        return 0.0
    room = LONGEST - (state.since - state.started).total_seconds()
    slow = max((_leading(canary_periods(item, window)) for item in items), default=0)
    return max(min(slow * window.period, room), 0.0)


def _leading(periods: Sequence[Histogram]) -> int:
    """How many periods at the beginning are slower, in the median, than all that follow them."""
    known = [period for period in periods if period.total >= _SAMPLES]
    if len(known) < len(periods):
        return 0
    count = 0
    while len(periods) - count >= FEWEST:
        rest = together(periods[count + 1 :]).quantile(_HALF)
        if not periods[count].quantile(_HALF) > _SLOWER * rest:
            break
        count += 1
    return count
