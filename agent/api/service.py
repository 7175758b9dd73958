"""The `service` section of a Canary: the Services and the route that the rollout makes."""

from __future__ import annotations

from typing import Annotated

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import schema
from agent.api.traffic import (
    CorsPolicy,
    GatewayReference,
    Headers,
    RequestMatch,
    RequestMirror,
    Retries,
    Rewrite,
)
from agent.api.trafficpolicy import TrafficPolicy


class CustomMetadata(Struct, frozen=True, kw_only=True):
    """Labels and annotations for an object that is made."""

    labels: dict[str, str] | None = None
    """Labels."""
    annotations: dict[str, str] | None = None
    """Annotations."""


class UnmanagedMetadata(Struct, frozen=True, kw_only=True):
    """Keys on the Services that belong to others and are left alone."""

    annotations: tuple[str, ...] = ()
    """Annotation keys."""
    labels: tuple[str, ...] = ()
    """Label keys."""


class CanaryService(Struct, frozen=True, kw_only=True):
    """The Services and the route in front of the workload."""

    name: str | None = None
    """Name of the Service that callers use; the target's name where absent."""
    port: int
    """Port of the Services."""
    port_name: str | None = None
    """Name of the port; http where absent."""
    target_port: int | str | None = None
    """Port of the containers, by number or name; the Service's port where absent."""
    app_protocol: str | None = None
    """Application protocol of the port."""
    traffic_distribution: Annotated[str, schema(enum=["PreferClose", "PreferSameZone", "PreferSameNode"])] | None = None
    """Which endpoints the Services prefer."""
    port_discovery: bool = False
    """Adds the other ports of the containers to the Services."""
    headless: bool = False
    """Makes Services without an address of their own."""
    timeout: str | None = None
    """Time for a whole request."""
    backend_timeout: str | None = None
    """Time for one attempt, with Gateway API."""
    gateways: tuple[str, ...] = ()
    """Istio gateways of the route; the mesh itself where absent."""
    gateway_refs: Annotated[tuple[GatewayReference, ...], schema(maxItems=32)] = ()
    """Gateways of the route, with Gateway API."""
    hosts: tuple[str, ...] = ()
    """Host names of the route."""
    delegation: bool = False
    """Makes the Istio route one that others delegate to, without hosts and gateways of its own."""
    traffic_policy: TrafficPolicy | None = None
    """Istio's rules for traffic to the primary and the canary."""
    match: tuple[RequestMatch, ...] = ()
    """Requests that the route takes; all where absent."""
    rewrite: Rewrite | None = None
    """Changes to requests on their way."""
    retries: Retries | None = None
    """Repeats of failed requests."""
    headers: Headers | None = None
    """Changes to headers."""
    mirror: tuple[RequestMirror, ...] = ()
    """Destinations of copies of all requests."""
    cors_policy: CorsPolicy | None = None
    """Answers to cross-origin requests."""
    mesh_name: str | None = None
    """Name of the App Mesh mesh."""
    backends: tuple[str, ...] = ()
    """Services that the workload calls, for App Mesh."""
    apex: CustomMetadata | None = None
    """Metadata for the Service that callers use, and for the route."""
    primary: CustomMetadata | None = None
    """Metadata for the primary's Service."""
    canary: CustomMetadata | None = None
    """Metadata for the canary's Service."""
    unmanaged_metadata: UnmanagedMetadata | None = None
    """Metadata on the Services that is left alone."""

    @property
    def effective_port_name(self) -> str:
        return self.port_name or "http"

    @property
    def effective_target_port(self) -> int | str:
        return self.target_port or self.port
