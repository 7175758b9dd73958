"""Canary: the defaults and choices that Flagger makes when the spec leaves something out."""

import pytest

from agent.api.alertprovider import AlertProvider
from agent.api.analysis import HookType, Strategy
from agent.api.canary import Canary, CanaryPhase
from agent.api.metrictemplate import MetricTemplate


def canary(analysis=None, service=None, target=None, **spec):
    body = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", **(target or {})},
        "analysis": {"interval": "1m", "threshold": 5, **(analysis or {})},
        **spec,
    }
    if service is not None:
        body["service"] = service
    return Canary.from_object({"metadata": {"name": "chat", "namespace": "serving"}, "spec": body})


def test_names_come_from_the_service_or_else_the_target():
    plain = canary()
    assert (plain.service_name, plain.primary_service_name, plain.canary_service_name) == (
        "chat",
        "chat-primary",
        "chat-canary",
    )
    named = canary(service={"port": 80, "name": "front"})
    assert (named.primary_name, named.service_name, named.canary_service_name) == (
        "chat-primary",
        "front",
        "front-canary",
    )


def test_a_new_canary_has_no_phase():
    assert canary().status.phase is CanaryPhase.NONE
    assert "status" not in canary().to_object()


@pytest.mark.parametrize(
    ("analysis", "provider", "strategy", "iterations"),
    [
        ({"stepWeight": 10}, "gatewayapi:v1", Strategy.CANARY, 0),
        ({"iterations": 3}, "gatewayapi:v1", Strategy.BLUE_GREEN, 3),
        ({"iterations": 3, "match": [{"headers": {"x": {"exact": "1"}}}]}, "istio", Strategy.AB_TESTING, 3),
        ({"stepWeight": 10, "match": [{}]}, "istio", Strategy.CANARY, 0),
        ({"iterations": 3, "match": [{}]}, "kubernetes", Strategy.BLUE_GREEN, 3),
        ({"stepWeight": 10}, "kubernetes", Strategy.BLUE_GREEN, 10),
    ],
)
def test_strategy_follows_from_match_iterations_and_provider(analysis, provider, strategy, iterations):
    value = canary(analysis)
    assert value.strategy(provider) is strategy
    assert value.iterations(provider) == iterations


@pytest.mark.parametrize(
    ("analysis", "weight"),
    [
        ({"stepWeight": 10}, 100),
        ({"stepWeight": 10, "maxWeight": 50}, 50),
        ({"stepWeights": [1, 10, 60], "maxWeight": 30}, 60),
        ({"stepWeights": [50, 120]}, 100),
    ],
)
def test_the_last_of_the_step_weights_takes_the_place_of_the_maximum(analysis, weight):
    assert canary(analysis).spec.analysis.effective_max_weight == weight


def test_at_least_one_failed_check_ends_a_run():
    assert canary({"threshold": 0}).spec.analysis.effective_threshold == 1
    assert canary({"threshold": 3}).spec.analysis.effective_threshold == 3


def test_readiness_and_deadline_defaults():
    plain, given = canary(), canary({"canaryReadyThreshold": 0}, progressDeadlineSeconds=60)
    assert (plain.spec.analysis.primary_ready_percent, plain.spec.analysis.canary_ready_percent) == (100, 100)
    assert (given.spec.analysis.canary_ready_percent, given.spec.progress_deadline_seconds) == (0, 60)
    assert plain.spec.progress_deadline_seconds is None


def test_hooks_without_a_type_are_rollout_hooks():
    hooks = [
        {"name": "a", "url": "u"},
        {"name": "b", "url": "u", "type": "rollout", "timeout": "1m"},
        {"name": "c", "url": "u", "type": "pre-rollout", "disableTLS": True},
    ]
    analysis = canary({"webhooks": hooks}).spec.analysis
    assert [hook.name for hook in analysis.webhooks if hook.hook is HookType.ROLLOUT] == ["a", "b"]
    assert [hook.disable_tls for hook in analysis.webhooks] == [False, False, True]


def test_service_port_defaults():
    value = canary(service={"port": 80}).spec.service
    assert (value.effective_port_name, value.effective_target_port) == ("http", 80)
    value = canary(service={"port": 80, "targetPort": "api", "portName": "grpc"}).spec.service
    assert (value.effective_port_name, value.effective_target_port) == ("grpc", "api")


def test_names_that_camel_case_cannot_spell():
    policy = {
        "outlierDetection": {"consecutive5xxErrors": 3},
        "connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "http1MaxPendingRequests": 1}},
        "loadBalancer": {"simple": "RANDOM", "localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}},
    }
    value = canary(service={"port": 80, "trafficPolicy": policy})
    assert value.to_object()["spec"]["service"]["trafficPolicy"] == policy


def test_metrics_have_a_range_that_is_open_on_one_side():
    metrics = [{"name": "request-duration", "thresholdRange": {"max": 500}}, {"name": "x", "interval": "2m"}]
    values = canary({"metrics": metrics}).spec.analysis.metrics
    assert (values[0].threshold_range.min, values[0].threshold_range.max) == (None, 500.0)
    assert values[1].threshold_range is None


def test_templates_and_alert_providers_decode():
    template = MetricTemplate.decode(
        b'{"spec": {"provider": {"type": "prometheus", "headers": {"X-Scope": ["a"]}}, "query": "up"}}'
    )
    assert template.spec.provider.headers == {"X-Scope": ("a",)}
    provider = AlertProvider.decode(b'{"spec": {"type": "slack", "secretRef": {"name": "s"}}}')
    assert provider.spec.secret_ref is not None
    assert provider.spec.secret_ref.name == "s"
