"""The gateway's request counters and latency histogram, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_LABELS = ["route_namespace", "route", "service", "pod"]
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics:
    """``gateway_requests_total`` by route, backend Service, Pod and code; ``gateway_request_duration_seconds``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_requests", "Requests answered by the gateway.", [*_LABELS, "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "gateway_request_duration_seconds",
            "Time from a request to the end of its answer.",
            _LABELS,
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def observe(self, labels: tuple[str, str, str, str], code: int, seconds: float) -> None:
        """Count one request under (route_namespace, route, service, pod)."""
        self._requests.labels(*labels, str(code)).inc()
        self._seconds.labels(*labels).observe(seconds)

    def expose(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)
