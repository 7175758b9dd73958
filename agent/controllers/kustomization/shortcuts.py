"""`--verify`: what could be skipped is done all the same, and where the outcome is another one, that is told.

A shortcut takes something for granted because nothing that it came from has changed: a build, an object's content, a
whole pass. With `--verify` the agent takes none, but notes which it would have taken. A difference is a bug of Weir.
"""

from __future__ import annotations

import structlog

from agent.telemetry.metrics import Metrics

DIFFERENCE = "a shortcut would have had another outcome"


class Shortcuts:
    """Whether work may be skipped, and what became of work that could have been."""

    def __init__(self, metrics: Metrics, *, verify: bool) -> None:
        self.verify = verify
        self._metrics = metrics

    def compared(self, shortcut: str, subject: str, *, same: bool) -> None:
        """Work that a shortcut would have skipped was done; `same` if that changed nothing."""
        self._metrics.shortcuts_verified.labels(shortcut).inc()
        if not same:
            self._metrics.shortcut_differences.labels(shortcut).inc()
            structlog.get_logger().error(DIFFERENCE, shortcut=shortcut, object=subject)
