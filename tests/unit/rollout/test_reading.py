"""From a Canary to a plan: what stands in where the spec is silent or cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.analysis import HookType
from agent.api.canary import Canary
from agent.core.rollout.plan import Plan
from agent.core.rollout.reading import plan_of


def plan(minimum: float = 10.0, **analysis: Any) -> Plan:
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "service": {"port": 80},
        "analysis": {"interval": "1m", "threshold": 1, **analysis},
    }
    canary = Canary.from_object({"metadata": {"name": "chat", "namespace": "prod"}, "spec": spec})
    return plan_of(canary, default_provider="gatewayapi:v1", minimum_interval=minimum)


@pytest.mark.parametrize(
    ("interval", "seconds"), [("1m", 60), ("30s", 30), ("1s", 10), ("9s", 10), ("soon", 60), ("", 60)]
)
def test_the_interval_has_a_floor_and_a_default(interval: str, seconds: float) -> None:
    assert plan(interval=interval).interval == seconds
    assert plan(1.0, interval="1s").interval == 1.0


def test_hooks_wait_ten_seconds_unless_they_say_otherwise() -> None:
    hooks = [
        {"name": "a", "url": "u"},
        {"name": "b", "url": "u", "type": "rollout", "timeout": "1m"},
        {"name": "c", "url": "u", "type": "pre-rollout", "disableTLS": True},
    ]
    found = plan(webhooks=hooks)
    assert [hook.timeout for hook in found.hooks] == [10.0, 60.0, 10.0]
    assert [hook.name for hook in found.hooks_of(HookType.ROLLOUT)] == ["a", "b"]
    assert [hook.verify_tls for hook in found.hooks] == [True, True, False]


def test_metric_intervals_default_to_a_minute() -> None:
    metrics = [{"name": "request-duration", "thresholdRange": {"max": 500}}, {"name": "x", "interval": "2m"}]
    assert [metric.interval for metric in plan(metrics=metrics).metrics] == ["1m", "2m"]
