"""From the analysis section to queries."""

import pytest
from rollout_world import make_plan

from agent.api.canary import Canary
from agent.api.metrictemplate import MetricTemplate
from agent.core.judge.queries import Fleet, Pods
from agent.core.rollout.judgement import Source
from agent.core.rollout.metrics import Found, checks_of, wanted_templates
from agent.core.rollout.plan import Bounds, MetricSpec
from agent.core.rollout.querytemplate import TemplateError, render
from agent.core.rollout.reading import plan_of

PODS = Pods(namespace="prod", canary=Fleet("chat"), primary=Fleet("chat-primary"))
FIELDS = {"target": "chat", "namespace": "prod", "interval": "1m"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("up", "up"),
        ('up{app="{{ target }}-primary"}', 'up{app="chat-primary"}'),
        ("{{target}}", "chat"),
        ("a{{- target -}} b", "achatb"),
        ("rate(x[{{ interval }}]) {{ variables.more }}", "rate(x[1m]) offset 1m"),
        ('{{ index variables "more" }}', "offset 1m"),
        ("{{/* why */}}up", "up"),
        ('{{ "literal" }}', "literal"),
        ('sum by (le) (x{a="{b}"})', 'sum by (le) (x{a="{b}"})'),
    ],
)
def test_templates(template, text):
    assert render(template, FIELDS, {"more": "offset 1m"}) == text


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ variables.nope }}", 'no entry for key "nope"'),
        ("{{ nope }}", 'function "nope" not defined'),
        ("{{ if target }}x{{ end }}", "not supported"),
        ("{{ target", "unclosed action"),
        ("{{ .target }}", "not supported"),
    ],
)
def test_templates_with_holes_are_refused(template, fault):
    with pytest.raises(TemplateError, match=fault):
        render(template, FIELDS, {"more": ""})


def template(query="errors", **provider):
    return Found(
        MetricTemplate.from_object(
            {
                "metadata": {"name": "errors", "namespace": "prod"},
                "spec": {"provider": {"type": "prometheus", "address": "http://prom", **provider}, "query": query},
            }
        )
    )


def test_built_in_metrics_and_queries_come_before_templates():
    custom = MetricSpec(name="errors", bounds=Bounds(), template=("prod", "errors"))
    built_in = MetricSpec(name="request-success-rate", bounds=Bounds(99), interval="30s")
    inline = MetricSpec(name="depth", bounds=Bounds(), query='queue{app="{{ service }}"}')
    plan = make_plan(metrics=(custom, built_in, inline))
    found = checks_of(plan, {("prod", "errors"): template()}, PODS, metrics_server="http://main")
    assert [check.metric for check in found] == ["request-success-rate", "depth", "errors"]
    assert found[0].source == Source(address="http://main")
    assert found[0].query == (
        'sum(rate(http_request_duration_seconds_count{kubernetes_namespace="prod",'
        'kubernetes_pod_name=~"chat-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)",status!~"5.*"}[30s])) / '
        'sum(rate(http_request_duration_seconds_count{kubernetes_namespace="prod",'
        'kubernetes_pod_name=~"chat-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"}[30s])) * 100'
    )
    assert found[1].query == 'queue{app="chat"}'
    assert (found[2].source.address, found[2].template) == ("http://prom", True)


def test_the_canary_may_name_its_own_server():
    plan = make_plan(metrics_server="http://own", metrics=(MetricSpec(name="request-duration", bounds=Bounds()),))
    assert checks_of(plan, {}, PODS, metrics_server="http://main")[0].source.address == "http://own"


@pytest.mark.parametrize(
    ("metric", "found", "error"),
    [
        (
            MetricSpec(name="errors", bounds=Bounds(), template=("prod", "errors")),
            Found(error='metrictemplates.flagger.app "errors" not found'),
            'Metric template errors.prod error: metrictemplates.flagger.app "errors" not found',
        ),
        (
            MetricSpec(name="errors", bounds=Bounds()),
            None,
            "Metric query failed for no usable metrics template and query were configured",
        ),
        (
            MetricSpec(name="errors", bounds=Bounds(), template=("prod", "errors")),
            template("{{ variables.x }}"),
            'Metric template errors.prod query render error: template execution failed: map has no entry for key "x"',
        ),
        (
            MetricSpec(name="errors", bounds=Bounds(), template=("prod", "errors")),
            template(type="abacus"),
            (
                "Metric template errors.prod provider abacus error: this provider is not supported, use prometheus, "
                "influxdb, datadog, externalmetrics, stackdriver, cloudwatch, newrelic, graphite, dynatrace, keptn, "
                "splunk"
            ),
        ),
    ],
)
def test_what_cannot_be_asked_is_said(metric, found, error):
    plan = make_plan(metrics=(metric,))
    (check,) = checks_of(plan, {("prod", "errors"): found} if found else {}, PODS, metrics_server="http://main")
    assert check.error == error


def test_a_template_is_looked_up_once():
    metric = MetricSpec(name="errors", bounds=Bounds(), template=("prod", "errors"))
    assert wanted_templates(make_plan(metrics=(metric, metric))) == (("prod", "errors"),)


def canary(provider="gatewayapi:v1", annotations=None, **analysis):
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "annotations": annotations or {}},
            "spec": {
                "provider": provider,
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80},
                "analysis": analysis,
            },
        }
    )


def read(found):
    return plan_of(found, default_provider="kubernetes", minimum_interval=10.0)


def test_defaults():
    plan = read(canary())
    assert (plan.interval, plan.threshold, plan.max_weight, plan.deadline) == (60.0, 1, 100, 600)
    assert read(canary(interval="1s")).interval == 10.0
    assert read(canary(interval="soon")).interval == 60.0
    assert read(canary(stepWeights=[1, 30], maxWeight=90)).max_weight == 30


def test_a_template_metric_without_interval_gets_a_minute():
    plan = read(canary(metrics=[{"name": "errors", "templateRef": {"name": "errors"}}]))
    assert plan.metrics[0].interval == "1m"
    assert plan.metrics[0].template == ("prod", "errors")


def test_the_older_threshold_is_a_floor_for_the_success_rate_and_a_ceiling_else():
    plan = read(canary(metrics=[{"name": "request-success-rate", "threshold": 99}, {"name": "x", "threshold": 5}]))
    assert [metric.bounds for metric in plan.metrics] == [Bounds(minimum=99.0), Bounds(maximum=5.0)]


def test_plain_services_cannot_weigh():
    plan = read(canary(provider="kubernetes", match=[{"headers": {"x": {"exact": "y"}}}], stepWeight=10))
    assert (plan.iterations, plan.strategy.value) == (10, "blue-green")
    assert plan.warnings == (
        "A/B testing is not supported when using the kubernetes provider",
        "Progressive traffic is not supported when using the kubernetes provider",
        "Setting canaryAnalysis.iterations: 10",
    )


def test_what_a_router_cannot_do_is_said():
    plan = read(canary(provider="nginx", mirror=True, sessionAffinity={"cookieName": "c"}))
    assert plan.warnings == (
        "Session affinity is not supported when using the nginx provider",
        "Traffic mirroring is not supported when using the nginx provider",
    )
    assert not plan.mirror
    assert plan.canary_cookie == ""


def test_steps():
    plan = make_plan(step_weight=0, step_weights=(5, 50, 80))
    assert [plan.next_step(weight) for weight in (0, 5, 50, 80, 33, 100)] == [5, 45, 30, 20, 67, 1]
    assert make_plan(step_weight=7).next_step(90) == 7
