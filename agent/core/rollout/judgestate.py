"""What a judge has to remember of a run, in the Canary's status: it survives restarts there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from agent.api.judge import Conclusion, Finding
from agent.core.judge.looks import Looks
from agent.core.rollout.judgesettings import JudgeMode

FINDINGS = 20
"""How many metrics are kept in a status."""
QUERY = 4000
"""Characters of a query that are kept there."""
_DIGITS = 6


class JudgeState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The judge of a run, fixed when its first step is taken, and where it stands. `fresh`: the canary is compared with
    a fresh copy of the primary.

    `step` counts from 1 once the canary has traffic; it began at `started`, and its evidence is counted from `since`
    on. `looks` were taken at it, the last one at `samples` requests. `said` are the reasons for holding that were told
    in this step. `held`: the step has had its longest time, and waits. `verdict`, `reason` and `findings` are those of
    the last check, made at `until`.
    """

    mode: JudgeMode
    fresh: bool = False
    pack: str = ""
    step: int = 0
    started: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    looks: int = 0
    samples: float = 0.0
    held: bool = False
    said: tuple[str, ...] = ()
    verdict: Conclusion | None = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def taken(self) -> Looks:
        """The looks at the present step."""
        return Looks(count=self.looks, samples=self.samples)

    def stepping(self, now: datetime, warm_up: float) -> JudgeState:
        """The next step begins; its evidence counts from the end of the warm-up on, in whole seconds as a status has
        them. The last verdict stays until there is another."""
        since = now + timedelta(seconds=warm_up)
        if since.microsecond:
            since = since.replace(microsecond=0) + timedelta(seconds=1)
        return msgspec.structs.replace(
            self,
            step=self.step + 1,
            started=now.replace(microsecond=0),
            since=since,
            looks=0,
            samples=0.0,
            held=False,
            said=(),
        )

    def judged(
        self, verdict: Conclusion, reason: str, findings: Iterable[Finding], looks: Looks, now: datetime
    ) -> JudgeState:
        """After a check."""
        return msgspec.structs.replace(
            self,
            until=now.replace(microsecond=0),
            looks=looks.count,
            samples=looks.samples,
            verdict=verdict,
            reason=reason,
            findings=tuple(_kept(finding) for finding in list(findings)[:FINDINGS]),
        )


def _kept(finding: Finding) -> Finding:
    """Numbers as JSON and people can read them."""
    values = {name: getattr(finding, name) for name in finding.__struct_fields__}
    short = {name: _short(value) for name, value in values.items() if isinstance(value, float)}
    return msgspec.structs.replace(finding, **{**short, "query": finding.query[:QUERY]})


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
