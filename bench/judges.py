"""How often each judge is right, by simulation: rollouts of canaries whose true error rate is known.

`python -m bench.judges docs/images/judges.svg` draws the operating characteristic that docs/judges.md shows; tests run
the same simulation with fewer rounds. Seeds are fixed, so the figures are always the same.
"""

from __future__ import annotations

import functools
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist

from agent.api.judge import Conclusion
from agent.core.judge.evidence import Counts, Histogram, design_effect
from agent.core.judge.looks import Looks
from agent.core.judge.verdict import Latency, Policy, Rate, judge

PROMOTED, ROLLED_BACK, HELD = "promoted", "rolled back", "held"
STEPS = 5
_PATIENCE = 5000.0
_PASSABLE = 200.0
_BURSTS = 0.1
_PERIODS, _FEWEST = 12, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a rollout sees: true shares of bad requests, and requests of each side in one check. `bursts`: the bad ones
    come so many times as often in a tenth of the checks, at each side by itself, and less often in the others."""

    canary: float
    primary: float = 0.005
    requests: int = 20
    primary_requests: int = 20
    bursts: float = 1.0

    def bad(self, random: Random, requests: int, share: float) -> int:
        """How many of the requests of a check are bad."""
        usual = share / (1 - _BURSTS + _BURSTS * self.bursts)
        now = usual * self.bursts if self.bursts > 1 and random.random() < _BURSTS else usual
        return _bad(random, requests, now)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rollout ended, and how many requests of both sides it took."""

    how: str
    requests: int


def flagger(random: Random, traffic: Traffic, *, threshold: int, checks: int) -> Ended:
    """Flagger's rule: a success rate below 99 % in a check is a failed check, and `threshold` of them roll back."""
    failed = 0
    for check in range(1, checks + 1):
        failed += _bad(random, traffic.requests, traffic.canary) > 0.01 * traffic.requests
        if failed >= threshold:
            return Ended(ROLLED_BACK, check * traffic.requests)
    return Ended(PROMOTED, checks * traffic.requests)


def weir(
    random: Random, traffic: Traffic, *, comparative: bool, most: int | None = None, by_period: bool = True
) -> Ended:
    """A run of STEPS steps under a judge of ours; it is held where a step finds no end, or after `most` requests.

    Each check is a period; without `by_period` it is not asked how much requests of one period resemble each other.
    """
    seen = 0
    for step in range(1, STEPS + 1):
        canary, primary, looks = Counts(), Counts(), Looks()
        ours: list[Counts] = []
        theirs: list[Counts] = []
        while canary.total < _PATIENCE and (most is None or seen < most):
            ours.append(Counts(traffic.requests, traffic.bad(random, traffic.requests, traffic.canary)))
            theirs.append(
                Counts(traffic.primary_requests, traffic.bad(random, traffic.primary_requests, traffic.primary))
            )
            canary, primary = canary + ours[-1], primary + theirs[-1]
            seen += traffic.requests + traffic.primary_requests
            if not looks.due(canary.total) and canary.total < _PASSABLE:
                continue
            evidence = Rate(
                metric="errors",
                canary=canary,
                baseline=primary,
                ceiling=None if comparative else 0.01,
                effect=_effect(ours, theirs, by_period=by_period),
            )
            verdict = judge([evidence], Policy(step=step), looks, comparative=comparative)
            looks = verdict.looks
            if verdict.conclusion is Conclusion.FAIL:
                return Ended(ROLLED_BACK, seen)
            if verdict.conclusion is Conclusion.PASS:
                break
        else:
            return Ended(HELD, seen)
    return Ended(PROMOTED, seen)


def _effect(ours: Sequence[Counts], theirs: Sequence[Counts], *, by_period: bool) -> float:
    """As the agent has it: from the twelve parts of the window, if there are at least six."""
    if not by_period or len(ours) < _FEWEST:
        return 1.0
    size = -(-len(ours) // _PERIODS)
    parts = ([sum(side[i : i + size], Counts()) for i in range(0, len(side), size)] for side in (ours, theirs))
    return max(map(design_effect, parts))


EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))
"""Buckets of Prometheus' client libraries, in seconds: coarse, as one meets them."""


def latency(random: Random, *, factor: float, requests: int, primary_requests: int, checks: int = 20) -> Ended:
    """A comparative run over latencies (log-normal, median 0.2 s); the canary's are `factor` times as long."""
    seen = 0
    for step in range(1, STEPS + 1):
        ours, theirs, looks = [0.0] * len(EDGES), [0.0] * len(EDGES), Looks()
        for _ in range(checks):
            _observe(random, ours, requests, factor)
            _observe(random, theirs, primary_requests, 1.0)
            seen += requests + primary_requests
            evidence = Latency(
                metric="latency", canary=Histogram(EDGES, tuple(ours)), baseline=Histogram(EDGES, tuple(theirs))
            )
            verdict = judge([evidence], Policy(step=step), looks, comparative=True)
            looks = verdict.looks
            if verdict.conclusion is not Conclusion.INCONCLUSIVE:
                break
        if verdict.conclusion is not Conclusion.PASS:
            return Ended(ROLLED_BACK if verdict.conclusion is Conclusion.FAIL else HELD, seen)
    return Ended(PROMOTED, seen)


def shares(rounds: int, run: Callable[[Random], Ended], seed: int = 1) -> dict[str, float]:
    """How often of `rounds` runs each end came, as shares."""
    random = Random(seed)
    ends = Counter(run(random).how for _ in range(rounds))
    return {how: ends[how] / rounds for how in (PROMOTED, ROLLED_BACK, HELD)}


def _bad(random: Random, requests: int, share: float) -> int:
    return sum(random.random() < share for _ in range(requests))


def _observe(random: Random, counts: list[float], requests: int, factor: float) -> None:
    for bucket in random.choices(range(len(EDGES)), cum_weights=_cumulative(factor), k=requests):
        counts[bucket] += 1


@functools.cache
def _cumulative(factor: float) -> tuple[float, ...]:
    """The share of latencies up to each edge: log-normal, median 0.2 s, all `factor` times as long."""
    usual = NormalDist(-1.609, 0.5)
    return tuple(usual.cdf(math.log(edge / factor)) if math.isfinite(edge) else 1.0 for edge in EDGES)


_RATES = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1)
_COLOURS = ("#b03a2e", "#e08e79", "#1f618d", "#148f77")


def characteristic(rounds: int) -> dict[str, list[float]]:
    """By judge: the share of runs that were rolled back, at each true error rate of the canary."""
    judges: dict[str, Callable[[Random, Traffic], Ended]] = {
        "Flagger, threshold 2, 10 checks": lambda random, traffic: flagger(random, traffic, threshold=2, checks=10),
        "Flagger, threshold 5, 10 checks": lambda random, traffic: flagger(random, traffic, threshold=5, checks=10),
        "Weir, guarded (ceiling 1 %)": lambda random, traffic: weir(random, traffic, comparative=False),
        "Weir, comparative (primary 0.5 %)": lambda random, traffic: weir(random, traffic, comparative=True),
    }
    return {
        name: [
            shares(rounds, lambda random, run=run, rate=rate: run(random, Traffic(canary=rate)))[ROLLED_BACK]  # type: ignore[misc]
            for rate in _RATES
        ]
        for name, run in judges.items()
    }


def chart(curves: dict[str, list[float]]) -> str:
    """The curves as SVG."""
    left, top, width, height = 60, 20, 560, 300
    step = width / (len(_RATES) - 1)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 440" font-family="sans-serif" font-size="12">',
        '<rect width="660" height="440" fill="white"/>',
    ]
    for tenth in range(0, 11, 2):
        y = top + height * (1 - tenth / 10)
        lines.append(f'<path d="M{left} {y:.0f}h{width}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{tenth * 10} %</text>')
    for i, rate in enumerate(_RATES):
        text = f"{rate * 100:g}"
        lines.append(f'<text x="{left + i * step:.0f}" y="{top + height + 18}" text-anchor="middle">{text}</text>')
    lines.append(
        f'<text x="{left + width / 2:.0f}" y="{top + height + 38}" text-anchor="middle">'
        "true error rate of the canary in percent (20 requests a check)</text>"
    )
    for number, (name, values) in enumerate(curves.items()):
        points = " ".join(f"{left + i * step:.1f},{top + height * (1 - v):.1f}" for i, v in enumerate(values))
        colour, y = _COLOURS[number], top + height + 62 + 15 * number
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        lines.append(f'<path d="M{left} {y - 4}h24" stroke="{colour}" stroke-width="2.5"/>')
        lines.append(f'<text x="{left + 32}" y="{y}">{name}: share of runs rolled back</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Draw the chart into the file that is named."""
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(chart(characteristic(400)))


if __name__ == "__main__":
    main(sys.argv[1:])
