"""The two built-in metrics as PromQL, by provider (Flagger's queries, one line each).

Success rates are percentages. Durations are in seconds: what a router exports in milliseconds is divided.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.rollout.plan import DURATION, SUCCESS_RATE, Provider


def builtin_queries(provider: str) -> Mapping[str, str]:
    """Query templates by metric; with the suffix `:service` for a target that is a Service. What is not known counts
    as Istio, as with Flagger."""
    if provider.startswith("gatewayapi:"):
        return _APPLICATION
    if provider == f"{Provider.ISTIO}:service":
        return _ISTIO_SERVICE
    return _BY_PROVIDER.get(provider.removesuffix(":service"), _ISTIO)


def _rate(series: str, *labels: str) -> str:
    """Over all series that one of the `labels` selects."""
    return f"sum({' or '.join(f'rate({series}{{{each}}}[{{{{ interval }}}}])' for each in labels)})"


def _success(series: str, good: str, *labels: str) -> str:
    return f"{_rate(series, *(f'{each},{good}' for each in labels))} / {_rate(series, *labels)} * 100"


def _p99(series: str, *labels: str) -> str:
    return f"histogram_quantile(0.99, {_rate(series, *labels)} by (le))"


_PODS = 'kubernetes_namespace="{{ namespace }}",kubernetes_pod_name=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"'
_APPLICATION = {  # what the application's own HTTP instrumentation exports, by the names of the target's pods
    SUCCESS_RATE: _success("http_request_duration_seconds_count", 'status!~"5.*"', _PODS),
    DURATION: _p99("http_request_duration_seconds_bucket", _PODS),
}
_PREDICTORS = (  # the pods of a KServe object have other names in each run
    'namespace="{{ namespace }}",pod=~"{{ canaryPods }}"',
    'kubernetes_namespace="{{ namespace }}",kubernetes_pod_name=~"{{ canaryPods }}"',
)
_KSERVE = {
    SUCCESS_RATE: _success("http_request_duration_seconds_count", 'status!~"5.*"', *_PREDICTORS),
    DURATION: _p99("http_request_duration_seconds_bucket", *_PREDICTORS),
}
_WORKLOAD = (
    'reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload=~"{{ target }}"'
)
_ISTIO = {
    SUCCESS_RATE: _success("istio_requests_total", 'response_code!~"5.*"', _WORKLOAD),
    DURATION: f"{_p99('istio_request_duration_milliseconds_bucket', _WORKLOAD)} / 1000",
}
_SERVICE = (  # what callers saw of the canary's Service: the workloads behind it have names of their own
    'reporter="source",destination_service_namespace="{{ namespace }}",destination_service_name="{{ service }}-canary"'
)
_ISTIO_SERVICE = {
    SUCCESS_RATE: _success("istio_requests_total", _SERVICE, 'response_code!~"5.*"'),
    DURATION: f"{_p99('istio_request_duration_milliseconds_bucket', _SERVICE)} / 1000",
}
_INGRESS = 'namespace="{{ namespace }}",ingress="{{ ingress }}",canary!=""'
_RESPONSES = "nginx_ingress_controller_response_duration_seconds"
_NGINX = {
    SUCCESS_RATE: _success("nginx_ingress_controller_requests", 'status!~"5.*"', _INGRESS),
    # The mean, as with Flagger.
    DURATION: f"{_rate(f'{_RESPONSES}_sum', _INGRESS)} / {_rate(f'{_RESPONSES}_count', _INGRESS)}",
}
_REVISION = 'envoy_cluster_name=~"{{ namespace }}/{{ route }}"'
_KNATIVE = {
    SUCCESS_RATE: _success("envoy_cluster_upstream_rq", 'envoy_response_code!~"5.*"', _REVISION),
    DURATION: f"{_p99('envoy_cluster_upstream_rq_time_bucket', _REVISION)} / 1000",
}
_BY_PROVIDER: Mapping[str, Mapping[str, str]] = {
    Provider.KUBERNETES: _APPLICATION,
    Provider.ISTIO: _ISTIO,
    Provider.NGINX: _NGINX,
    Provider.KNATIVE: _KNATIVE,
    Provider.KSERVE: _KSERVE,
}
