"""How much may be concluded at each look, so that looking often does not find what is not there.

A test with a false alarm rate of 5 % that is repeated at every tick is wrong far more often than in 5 % of the runs.
Here the s-th step of a run may spend alpha / (s (s + 1)), and its i-th look the i (i + 1)-th part of that: over any
number of steps and looks the sum stays below alpha. A look is taken only once the samples have grown by half, so that
idle ticks spend nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_GROWTH = 1.5
EARLY = 50.0
"""Samples below which no failure is concluded."""


class Looks(msgspec.Struct, frozen=True, kw_only=True):
    """The looks taken in the present step: how many, and at how many samples the last one was."""

    count: int = 0
    samples: float = 0.0

    def due(self, samples: float) -> bool:
        """True if there is enough news for another look."""
        return samples >= EARLY and samples >= self.samples * _GROWTH

    def taken(self, samples: float) -> Looks:
        """After a look at that many samples."""
        return Looks(count=self.count + 1, samples=samples)


def step_alpha(alpha: float, step: int) -> float:
    """What the `step`-th step (from 1) may spend of the whole run's alpha: half of it the first one."""
    return alpha / (step * (step + 1))


def spent(p: float, look: int) -> float:
    """The p of a test made for one look, at the `look`-th (from 1): it can be held against a step's alpha."""
    return min(1.0, p * look * (look + 1))


def holm(p_values: Mapping[int, float], alpha: float) -> frozenset[int]:
    """The keys whose hypotheses are rejected so that the chance of any false rejection stays below alpha (Holm)."""
    rejected: set[int] = set()
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: (item[1], item[0]))):
        if p > alpha / (len(p_values) - rank):
            break
        rejected.add(name)
    return frozenset(rejected)
