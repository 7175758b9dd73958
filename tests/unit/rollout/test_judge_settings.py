"""The annotations that say how a Canary is judged."""

from __future__ import annotations

import pytest

from agent.api.canary import Canary
from agent.core.rollout.judgesettings import (
    InvalidAnnotationError,
    JudgeMode,
    JudgeSettings,
    OnInconclusive,
    judge_settings,
)
from agent.core.rollout.reading import plan_of


def test_without_annotations():
    assert judge_settings({}, interval=30.0) == JudgeSettings()
    assert judge_settings({}, interval=120.0).max_step == 1200.0


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("judge", "comparative", "mode", JudgeMode.COMPARATIVE),
        ("metric-pack", "vllm", "pack", "vllm"),
        ("warm-up", "90s", "warm_up", 90.0),
        ("max-step-duration", "1h", "max_step", 3600.0),
        ("on-inconclusive", "fail", "on_inconclusive", OnInconclusive.FAIL),
        ("min-requests", "50", "minimum", 50.0),
        ("max-error-rate", "2.5", "max_error_rate", 0.025),
        ("error-rate-margin", "3", "margin", 0.03),
        ("latency-ratio", "1.25", "ratio", 1.25),
        ("alpha", "0.01", "alpha", 0.01),
        ("early-promotion", "true", "early_promotion", True),
    ],
)
def test_what_is_said_counts(name, text, field, value):
    assert getattr(judge_settings({f"weir.dev/{name}": text}, interval=60.0), field) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("judge", "Guarded"),
        ("metric-pack", "nothing"),
        ("warm-up", "soon"),
        ("warm-up", "-5s"),
        ("on-inconclusive", ""),
        ("min-requests", "0"),
        ("max-error-rate", "nan"),
        ("latency-ratio", "0.9"),
        ("early-promotion", "yes"),
    ],
)
def test_what_cannot_be_read_is_named(name, text):
    with pytest.raises(InvalidAnnotationError) as caught:
        judge_settings({f"weir.dev/{name}": text}, interval=60.0)
    assert str(caught.value).startswith(f"annotation weir.dev/{name} is {text!r}: use ")


def test_the_plan_refuses_an_annotation_that_cannot_be_read():
    spec = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {"threshold": 1}}
    metadata = {"name": "chat", "namespace": "prod", "annotations": {"weir.dev/alpha": "high"}}
    canary = Canary.from_object({"metadata": metadata, "spec": spec})
    plan = plan_of(canary, default_provider="kubernetes", minimum_interval=10.0)
    assert plan.fault is not None
    assert plan.fault[0] == "AnnotationInvalid"
    assert "canary chat.prod: annotation weir.dev/alpha is 'high'" in plan.fault[1]


@pytest.mark.parametrize(
    ("metric", "explicit"),
    [
        ({"name": "request-success-rate"}, False),
        ({"name": "request-success-rate", "threshold": 99}, True),
        ({"name": "request-duration", "thresholdRange": {"max": 500}}, True),
    ],
)
def test_thresholds_that_the_canary_gives_itself(metric, explicit):
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "analysis": {"threshold": 1, "metrics": [metric]},
    }
    canary = Canary.from_object({"metadata": {"name": "chat", "namespace": "prod"}, "spec": spec})
    (found,) = plan_of(canary, default_provider="kubernetes", minimum_interval=10.0).metrics
    assert found.explicit is explicit
