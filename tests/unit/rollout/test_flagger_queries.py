"""The built-in metrics are those of Flagger 1.44: same series, same labels, same arithmetic."""

from __future__ import annotations

import re

import pytest

from agent.api.canary import Canary
from agent.core.judge.queries import Fleet, Pods
from agent.core.rollout.metrics import checks_of
from agent.core.rollout.reading import plan_of

PODS = Pods(namespace="prod", canary=Fleet("chat"), primary=Fleet("chat-primary"))
POD = 'kubernetes_namespace="prod",kubernetes_pod_name=~"chat-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"'
WORKLOAD = 'reporter="destination",destination_workload_namespace="prod",destination_workload=~"chat"'
INGRESS = 'namespace="prod",ingress="edge",canary!=""'
RESPONSES = "nginx_ingress_controller_response_duration_seconds"
REVISION = 'envoy_cluster_name=~"prod/chat-00002"'
APPLICATION = (
    ("http_request_duration_seconds_count", POD, 'status!~"5.*"'),
    f"histogram_quantile(0.99,sum(rate(http_request_duration_seconds_bucket{{{POD}}}[30s]))by(le))",
    1,
)
FLAGGER = {
    "kubernetes": APPLICATION,
    "gatewayapi:v1": APPLICATION,
    "istio": (
        ("istio_requests_total", WORKLOAD, 'response_code!~"5.*"'),
        f"histogram_quantile(0.99,sum(rate(istio_request_duration_milliseconds_bucket{{{WORKLOAD}}}[30s]))by(le))",
        1000,
    ),
    "nginx": (
        ("nginx_ingress_controller_requests", INGRESS, 'status!~"5.*"'),
        "/".join(f"sum(rate({RESPONSES}_{part}{{{INGRESS}}}[30s]))" for part in ("sum", "count")),
        1,  # Flagger multiplies by 1000 and reads milliseconds
    ),
    "knative": (
        ("envoy_cluster_upstream_rq", REVISION, 'envoy_response_code!~"5.*"'),
        f"histogram_quantile(0.99,sum(rate(envoy_cluster_upstream_rq_time_bucket{{{REVISION}}}[30s]))by(le))",
        1000,
    ),
}
"""By provider: series, labels and what a good answer has, of the success rate; the duration, and how many of its units
make a second, which is what Weir keeps."""


def asked(provider: str) -> dict[str, str]:
    """The queries of a Canary with both metrics, by name."""
    service = provider == "knative"
    target = {"apiVersion": "serving.knative.dev/v1" if service else "apps/v1", "kind": "Deployment", "name": "chat"}
    made = Canary.from_object(
        {
            "metadata": {"name": "canary-of-chat", "namespace": "prod"},
            "spec": {
                "provider": provider,
                "targetRef": {**target, "kind": "Service"} if service else target,
                "ingressRef": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "edge"},
                "routeRef": {"apiVersion": "x/v1", "kind": "ApisixRoute", "name": "chat-00002"},
                "service": {"port": 80},
                "analysis": {
                    "metrics": [
                        {"name": name, "interval": "30s", "thresholdRange": {"min": 1}}
                        for name in ("request-success-rate", "request-duration")
                    ]
                },
            },
        }
    )
    plan = plan_of(made, default_provider="kubernetes", minimum_interval=10.0)
    return {check.metric: plain(check.query) for check in checks_of(plan, {}, PODS, metrics_server="http://prom")}


def plain(query: str) -> str:
    """Without spaces, and with the label matchers in one order: neither means anything to Prometheus."""
    matchers = re.compile(r"\{(.*?)\}\[")
    tight = re.sub(r"\s", "", query)
    return matchers.sub(lambda found: "{" + ",".join(sorted(found[1].split(","))) + "}[", tight)


@pytest.mark.parametrize("provider", FLAGGER)
def test_the_success_rate(provider: str) -> None:
    series, labels, good = FLAGGER[provider][0]
    query = f"sum(rate({series}{{{labels},{good}}}[30s]))/sum(rate({series}{{{labels}}}[30s]))*100"
    assert asked(provider)["request-success-rate"] == plain(query)


@pytest.mark.parametrize("provider", FLAGGER)
def test_the_duration(provider: str) -> None:
    _, query, units = FLAGGER[provider]
    assert asked(provider)["request-duration"] == plain(query) + ("" if units == 1 else f"/{units}")
