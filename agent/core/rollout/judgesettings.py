"""How a Canary wants to be judged: the annotations under `weir.dev/` beside Flagger's spec."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from agent.api.canary import JUDGE_ANNOTATION
from agent.api.duration import parse_duration
from agent.core.judge.packs import PACKS

PREFIX: Final = "weir.dev/"
ON_INCONCLUSIVE: Final = f"{PREFIX}on-inconclusive"
BASELINE: Final = f"{PREFIX}baseline"
_COLD: Final = 60.0
_SCRAPED: Final = 30.0
_LEAST_STEP: Final = 600.0
_STEP_INTERVALS: Final = 10


class JudgeMode(enum.StrEnum):
    """How metrics are judged; see docs/judges.md."""

    COMPATIBILITY = "compatibility"
    GUARDED = "guarded"
    COMPARATIVE = "comparative"


class OnInconclusive(enum.StrEnum):
    """What becomes of a step that is still inconclusive after its longest time."""

    HOLD = "hold"
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"


class Baseline(enum.StrEnum):
    """What a comparative judge compares the canary with."""

    PRIMARY = "primary"
    FRESH = "fresh"
    """A copy of the primary of the canary's size and age."""


class JudgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, shares between 0 and 1, counts of requests. `mode` None: it depends on what the run is about.

    `pack` "": by the server that is recognised. `max_error_rate` is the ceiling for shares of failed requests that have
    no bound of their own. `margin` and `ratio` are what the comparison lets pass. `prompt_label` is the label by which
    latencies are told apart by the length of their prompts, "" where there is none. `warm_up` None: what it takes.
    """

    mode: JudgeMode | None = None
    baseline: Baseline = Baseline.PRIMARY
    pack: str = ""
    warm_up: float | None = None
    max_step: float = _LEAST_STEP
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    minimum: float = 200.0
    max_error_rate: float = 0.01
    margin: float = 0.01
    ratio: float = 1.10
    alpha: float = 0.05
    prompt_label: str = ""
    early_promotion: bool = False

    def warm_up_of(self, step: int) -> float:
        """Seconds at the start of a step (from 1) that are not counted. Pods are cold in the first step only; in later
        ones what came before has to be scraped."""
        if self.warm_up is not None:
            return self.warm_up
        return _COLD if step <= 1 else _SCRAPED


class InvalidAnnotationError(ValueError):
    """An annotation cannot be read; the text names it, its value and what may stand there."""


def judge_settings(annotations: Mapping[str, str], *, interval: float) -> JudgeSettings:
    """The settings of a Canary with that analysis interval in seconds. Raises InvalidAnnotationError."""
    values: dict[str, Any] = {"max_step": max(interval * _STEP_INTERVALS, _LEAST_STEP)}
    for annotation, (field, read, allowed) in _ANNOTATIONS.items():
        text = annotations.get(annotation)
        if text is None:
            continue
        try:
            values[field] = read(text)
        except ValueError:
            raise InvalidAnnotationError(f"annotation {annotation} is {text!r:.60}: use {allowed}") from None
    return JudgeSettings(**values)


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError
    return seconds


def _number(least: float, most: float, unit: float = 1.0) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise ValueError
        return value * unit

    return read


def _pack(text: str) -> str:
    if text not in PACKS:
        raise ValueError
    return text


def _label(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) or text == "le":
        raise ValueError
    return text


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError
    return text == "true"


_DURATION: Final = "a duration such as 90s or 10m"
_PERCENT: Final = "a number of percent from 0 to 100"
_ANNOTATIONS: Final[Mapping[str, tuple[str, Callable[[str], Any], str]]] = {
    JUDGE_ANNOTATION: ("mode", JudgeMode, ", ".join(JudgeMode)),
    BASELINE: ("baseline", Baseline, ", ".join(Baseline)),
    f"{PREFIX}metric-pack": ("pack", _pack, ", ".join(PACKS)),
    f"{PREFIX}warm-up": ("warm_up", _duration, _DURATION),
    f"{PREFIX}max-step-duration": ("max_step", _duration, _DURATION),
    ON_INCONCLUSIVE: ("on_inconclusive", OnInconclusive, ", ".join(OnInconclusive)),
    f"{PREFIX}min-requests": ("minimum", _number(1, 1e9), "a number of requests, at least 1"),
    f"{PREFIX}max-error-rate": ("max_error_rate", _number(0, 100, 0.01), _PERCENT),
    f"{PREFIX}error-rate-margin": ("margin", _number(0, 100, 0.01), _PERCENT),
    f"{PREFIX}latency-ratio": ("ratio", _number(1, math.inf), "a factor of at least 1, such as 1.1"),
    f"{PREFIX}alpha": ("alpha", _number(1e-6, 0.5), "a probability from 0.000001 to 0.5"),
    f"{PREFIX}prompt-length-label": ("prompt_label", _label, "the name of a label of the latencies"),
    f"{PREFIX}early-promotion": ("early_promotion", _flag, "true, false"),
}
