"""What is told of watches that fail: news at once, the same again only now and then."""

from __future__ import annotations

import io
import json

import structlog

from agent.controllers.following import Following
from agent.errors import OperationError
from agent.telemetry import logging

ABSENT, DOWN = OperationError("404 page not found"), OperationError("connection refused")


def test_a_kind_that_is_not_installed_does_not_fill_the_log_and_an_outage_is_told_each_time() -> None:
    before, stream, now = structlog.get_config(), io.StringIO(), [0.0]
    logging.configure("info", stream)
    try:
        following = Following(None, namespace=None, clock=lambda: now[0])  # type: ignore[arg-type]  # sends nothing here
        for moment, error in ((0, ABSENT), (30, ABSENT), (60, DOWN), (90, ABSENT), (120, ABSENT), (700, ABSENT)):
            now[0] = moment
            following.problem("buckets", error)
        following.problem("ocirepositories", ABSENT)
    finally:
        structlog.configure(**before)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["watch"], line["error"]) for line in told] == [
        ("buckets", "404 page not found"),
        ("buckets", "connection refused"),
        ("buckets", "404 page not found"),
        ("buckets", "404 page not found"),
        ("ocirepositories", "404 page not found"),
    ]
