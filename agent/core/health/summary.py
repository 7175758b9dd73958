"""What the healths of several objects amount to, and the words for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.health.status import Health, Status
from agent.core.objects import ObjectKey

Healths = Mapping[ObjectKey, Health]


def verdict(healths: Healths, *, fail_fast: bool = True) -> str | None:
    """None: all are current. Empty: go on. Otherwise why waiting is over.

    One that has failed ends the wait at once, or without `fail_fast` as soon as no other one is on its way any more.
    """
    statuses = {health.status for health in healths.values()}
    if statuses <= {Status.CURRENT}:
        return None
    if Status.FAILED in statuses and (fail_fast or statuses <= {Status.CURRENT, Status.FAILED}):
        failed = [key for key, health in healths.items() if health.status is Status.FAILED]
        return f"failed early due to stalled resources: [{_listing(healths, failed)}]"
    return ""


def unfinished(healths: Healths) -> str:
    """What is told when time has run out."""
    late = [key for key, health in healths.items() if health.status is not Status.CURRENT]
    return f"timeout waiting for: [{_listing(healths, late)}]"


def _listing(healths: Healths, keys: Iterable[ObjectKey]) -> str:
    return ", ".join(_line(key, healths[key]) for key in sorted(keys))


def _line(key: ObjectKey, health: Health) -> str:
    why = f": {health.message}" if health.status is Status.UNKNOWN and health.message else ""
    return f"{key} status: '{health.status.value}'{why}"
