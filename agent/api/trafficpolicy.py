"""Shapes of an Istio DestinationRule's traffic policy inside a Canary, taken over and handed on as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import schema
from agent.api.traffic import Int32


class HttpConnectionPool(Struct, frozen=True, kw_only=True):
    """Limits of HTTP connections."""

    http1_max_pending_requests: Int32 | None = None
    """Requests that may wait for a connection."""
    http2_max_requests: Int32 | None = None
    """Requests that may be under way at once."""
    max_requests_per_connection: Int32 | None = None
    """Requests after which a connection is closed."""
    max_retries: Int32 | None = None
    """Repeats that may be under way at once."""
    idle_timeout: str | None = None
    """Time after which an idle connection is closed."""
    h2_upgrade_policy: Annotated[str, schema(enum=["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])] | None = msgspec.field(
        default=None, name="h2UpgradePolicy"
    )
    """Whether HTTP/1.1 connections are raised to HTTP/2."""


class ConnectionPool(Struct, frozen=True, kw_only=True):
    """Limits of connections."""

    http: HttpConnectionPool | None = None
    """Limits of HTTP connections."""


class HashCookie(Struct, frozen=True, kw_only=True):
    """A cookie to hash; it is made up where a request has none."""

    name: str | None = None
    """Name of the cookie."""
    path: str | None = None
    """Path of the cookie."""
    ttl: str | None = None
    """Lifetime of the cookie."""


class ConsistentHash(Struct, frozen=True, kw_only=True):
    """Keeps requests with the same property on the same endpoint."""

    http_header_name: str | None = None
    """Header to hash."""
    http_cookie: HashCookie | None = None
    """Cookie to hash."""
    use_source_ip: bool | None = None
    """Hashes the caller's address."""
    http_query_parameter_name: str | None = None
    """Query parameter to hash."""
    minimum_ring_size: int | None = None
    """Least number of places on the hash ring."""


class LocalityDistribution(Struct, frozen=True, kw_only=True):
    """Shares of the traffic of one locality."""

    from_: str | None = msgspec.field(default=None, name="from")
    """Locality that the traffic comes from."""
    to: dict[str, int] | None = None
    """Percentages by locality that it goes to."""


class LocalityFailover(Struct, frozen=True, kw_only=True):
    """Where traffic goes when a region fails."""

    from_: str | None = msgspec.field(default=None, name="from")
    """Region that fails."""
    to: str | None = None
    """Region that takes over."""


class LocalitySettings(Struct, frozen=True, kw_only=True):
    """Balancing between localities."""

    enabled: bool | None = None
    """Turns it on or off."""
    distribute: tuple[LocalityDistribution, ...] = ()
    """Shares by locality."""
    failover: tuple[LocalityFailover, ...] = ()
    """Substitutes by region."""


class LoadBalancer(Struct, frozen=True, kw_only=True):
    """How endpoints are chosen: by a simple rule or by a hash."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "oneOf": [
            {"required": ["simple"]},
            {
                "required": ["consistentHash"],
                "properties": {
                    "consistentHash": {
                        "oneOf": [
                            {"required": ["httpHeaderName"]},
                            {"required": ["httpCookie"]},
                            {"required": ["useSourceIp"]},
                            {"required": ["httpQueryParameterName"]},
                        ]
                    }
                },
            },
        ]
    }

    simple: (
        Annotated[str, schema(enum=["ROUND_ROBIN", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "LEAST_REQUEST"])] | None
    ) = None
    """A rule without memory."""
    consistent_hash: ConsistentHash | None = None
    """A rule that keeps alike requests together."""
    locality_lb_setting: LocalitySettings | None = None
    """Balancing between localities."""
    warmup_duration_secs: str | None = None
    """Time over which a new endpoint gets its full share."""


class OutlierDetection(Struct, frozen=True, kw_only=True):
    """When endpoints that fail are left out for a while."""

    consecutive_errors: Int32 | None = None
    """Errors in a row, in an older form."""
    consecutive5xx_errors: int | None = msgspec.field(default=None, name="consecutive5xxErrors")
    """Answers of 500 and above in a row."""
    consecutive_gateway_errors: Int32 | None = None
    """Answers of 502, 503 and 504 in a row."""
    consecutive_local_origin_failures: Int32 | None = None
    """Failed connections in a row."""
    split_external_local_origin_errors: bool | None = None
    """Counts failed connections apart from bad answers."""
    interval: str | None = None
    """Time between two looks."""
    base_ejection_time: str | None = None
    """Least time that an endpoint is left out."""
    max_ejection_percent: Int32 | None = None
    """Largest share of endpoints left out at once."""
    min_health_percent: Int32 | None = None
    """Share of healthy endpoints below which nothing is left out."""


class ClientTls(Struct, frozen=True, kw_only=True):
    """TLS towards the workload."""

    mode: Annotated[str, schema(enum=["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])] | None = None
    """Kind of TLS."""
    client_certificate: str | None = None
    """File with the client's certificate."""
    private_key: str | None = None
    """File with the client's key."""
    ca_certificates: str | None = None
    """File with the certificates that the server is checked against."""
    subject_alt_names: tuple[str, ...] = ()
    """Names that the server may have."""
    sni: str | None = None
    """Name to ask the server for."""


class TrafficPolicy(Struct, frozen=True, kw_only=True):
    """Istio's rules for traffic to the primary and the canary."""

    connection_pool: ConnectionPool | None = None
    """Limits of connections."""
    load_balancer: LoadBalancer | None = None
    """How endpoints are chosen."""
    outlier_detection: OutlierDetection | None = None
    """When endpoints that fail are left out."""
    tls: ClientTls | None = None
    """TLS towards the workload."""
