"""Flags of what the agent tells: listeners, logs, events."""

from __future__ import annotations

import argparse
import os

from agent.flags.values import address
from agent.telemetry.logging import ENCODINGS, LEVEL_NAMES


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags."""
    group = parser.add_argument_group("telemetry")
    group.add_argument(
        "--health-addr", type=address, default=":9440", help="/healthz and /readyz (default: %(default)s)"
    )
    group.add_argument(
        "--metrics-addr",
        type=address,
        default=os.environ.get("METRICS_ADDR") or ":8080",
        help="/metrics (default: %(default)s; environment: METRICS_ADDR)",
    )
    group.add_argument("--api-addr", type=address, default=":9980", help="/api/v1 (default: %(default)s)")
    group.add_argument(
        "--events-addr",
        default=os.environ.get("EVENTS_ADDR", ""),
        help="URL of a notification-controller that events are sent to as well (environment: EVENTS_ADDR)",
    )
    group.add_argument(
        "--log-level", default="info", choices=LEVEL_NAMES, help="the least that is logged (default: %(default)s)"
    )
    group.add_argument(
        "--log-encoding", default="json", choices=ENCODINGS, help="form of the log's lines (default: %(default)s)"
    )
