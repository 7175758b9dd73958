"""The part of a Canary's status in which a guarded or comparative judge keeps what it knows of the run."""

from __future__ import annotations

import enum
from typing import Annotated

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import Time, schema


class Conclusion(enum.StrEnum):
    """The answer of a judge for one metric, or for all of them."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What the last check said about one metric, and what that rests on."""

    metric: str
    """Name of the metric."""
    conclusion: Conclusion
    """What follows for the metric."""
    test: str = ""
    """Rule that decided; empty where nothing was counted, `unasked` where the query was not answered."""
    reason: str = ""
    """The conclusion, for people."""
    samples: float = 0.0
    """Requests to the canary, less where those of one pod resemble each other."""
    baseline_samples: float | None = None
    """The same of the primary."""
    estimate: float | None = None
    """Share (0 to 1), seconds, or the number of a query, of the canary."""
    baseline_estimate: float | None = None
    """The same of the primary."""
    lower: float | None = None
    """Lower end of what the estimate may be in truth, or the threshold's."""
    upper: float | None = None
    """Upper end of what the estimate may be in truth, or the threshold's."""
    bound: float | None = None
    """What is allowed."""
    p_value: float | None = None
    """How likely such a difference is if there is none."""
    alpha: float | None = None
    """What this step may spend of the chance of a false alarm."""
    look: int = 0
    """Which look at the step this was."""
    design_effect: float = 1.0
    """How many requests are worth one independent one."""
    pods: int = 0
    """Pods of the canary that answered."""
    critical: bool = False
    """Counts on its own instead of sharing the chance of a false alarm."""
    query: str = ""
    """The query."""
    since: Time | None = None
    """Start of the window."""
    until: Time | None = None
    """End of the window."""


class CanaryJudge(Struct, frozen=True, kw_only=True):
    """The judge of a run, fixed when its first step is taken, and its last verdict."""

    mode: Annotated[str, schema(enum=["guarded", "comparative"])]
    """How the run is judged."""
    fresh: bool = False
    """True if the canary is compared with a fresh copy of the primary, of its own size and age."""
    pack: str = ""
    """Metric pack of the recognised model server."""
    step: int = 0
    """Steps that the run has taken."""
    started: Time | None = None
    """When the present step began."""
    since: Time | None = None
    """From when on its requests count."""
    until: Time | None = None
    """When it was last checked."""
    looks: int = 0
    """Looks taken at it."""
    samples: float = 0.0
    """Requests at the last look."""
    held: bool = False
    """True if it has had its longest time and waits for a decision or for requests."""
    said: tuple[str, ...] = ()
    """Reasons for holding that were told in events."""
    verdict: Conclusion | None = None
    """The last verdict."""
    reason: str = ""
    """The last verdict, for people."""
    findings: tuple[Finding, ...] = ()
    """The last verdict, by metric."""
