"""Shapes of traffic rules inside a Canary: request matches, rewrites, retries, headers, CORS and load balancing.

Flagger takes them over from Istio's VirtualService and DestinationRule and from Gateway API, and hands them on to
whichever router is in use; so do these types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import schema

_EXACT_PREFIX_REGEX = [{"required": ["exact"]}, {"required": ["prefix"]}, {"required": ["regex"]}]

Int32 = Annotated[int, schema(format="int32")]
Port = Annotated[int, schema(format="int32", minimum=1, maximum=65535)]
DnsLabel = Annotated[str, schema(minLength=1, maxLength=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
GROUP_PATTERN = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
KIND_PATTERN = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"


class StringMatch(Struct, frozen=True, kw_only=True):
    """Matches a text in one of three ways; with none of them, any text."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "oneOf": [{"not": {"anyOf": _EXACT_PREFIX_REGEX}}, *_EXACT_PREFIX_REGEX],
    }

    exact: str | None = None
    """The whole text."""
    prefix: str | None = None
    """Its beginning."""
    regex: str | None = None
    """A regular expression for the whole text."""


class HeaderMatch(Struct, frozen=True, kw_only=True):
    """Matches the value of a header in exactly one way."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "oneOf": [
            {"required": ["exact"]},
            {"required": ["prefix"]},
            {"required": ["suffix"]},
            {"required": ["regex"]},
        ],
    }

    exact: str | None = None
    """The whole value."""
    prefix: str | None = None
    """Its beginning."""
    suffix: str | None = None
    """Its end."""
    regex: str | None = None
    """A regular expression for the whole value."""


class OriginMatch(Struct, frozen=True, kw_only=True):
    """Matches the origin of a cross-origin request in exactly one way."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"oneOf": _EXACT_PREFIX_REGEX}

    exact: str | None = None
    """The whole origin."""
    prefix: str | None = None
    """Its beginning."""
    regex: str | None = None
    """A regular expression for the whole origin."""


class RequestMatch(Struct, frozen=True, kw_only=True):
    """Requests that the service's route takes; every part given must match."""

    name: str | None = None
    """Name of the match, for people."""
    uri: StringMatch | None = None
    """Path."""
    ignore_uri_case: bool = False
    """Compares exact and prefix paths without regard to case."""
    scheme: StringMatch | None = None
    """URI scheme."""
    method: StringMatch | None = None
    """HTTP method."""
    authority: StringMatch | None = None
    """Host header."""
    headers: dict[str, StringMatch] | None = None
    """Headers, by lower-case name."""
    without_headers: dict[str, StringMatch] | None = None
    """Headers that must not match."""
    query_params: dict[str, StringMatch] | None = None
    """Query parameters, by name."""
    port: int | None = None
    """Port of the host that is addressed."""
    source_labels: dict[str, str] | None = None
    """Labels of the calling workload, where the mesh knows them."""
    source_namespace: str | None = None
    """Namespace of the calling workload, where the mesh knows it."""
    gateways: tuple[str, ...] = ()
    """Istio gateways that the match is limited to."""


class AnalysisMatch(Struct, frozen=True, kw_only=True):
    """Requests that go to the canary during an A/B test."""

    headers: dict[str, HeaderMatch] | None = None
    """Headers, by name; cookies are matched through the header cookie."""
    query_params: dict[str, StringMatch] | None = None
    """Query parameters, by name."""
    source_labels: dict[str, str] | None = None
    """Labels of the calling workload, where the mesh knows them."""


class Rewrite(Struct, frozen=True, kw_only=True):
    """Changes a request before it reaches the workload."""

    uri: str | None = None
    """Path to put in place of the one asked for, or of its matched prefix."""
    authority: str | None = None
    """Host header to put in place."""
    type: str | None = None
    """ReplaceFullPath (the default) or ReplacePrefixMatch."""


class Retries(Struct, frozen=True, kw_only=True):
    """Repeats of failed requests."""

    attempts: Int32 | None = None
    """Number of repeats."""
    per_try_timeout: str | None = None
    """Time for each attempt."""
    retry_on: str | None = None
    """Conditions under which to repeat, in the words of Envoy."""


class HeaderOperations(Struct, frozen=True, kw_only=True):
    """Changes to a set of headers."""

    set: dict[str, str] | None = None
    """Headers to put in place of any of that name."""
    add: dict[str, str] | None = None
    """Headers to append."""
    remove: tuple[str, ...] = ()
    """Headers to take away."""


class Headers(Struct, frozen=True, kw_only=True):
    """Changes to the headers of requests and responses."""

    request: HeaderOperations | None = None
    """Changes before the workload sees the request."""
    response: HeaderOperations | None = None
    """Changes before the caller sees the response."""


class CorsPolicy(Struct, frozen=True, kw_only=True):
    """Answers to cross-origin requests of browsers."""

    allow_origins: tuple[OriginMatch, ...] = ()
    """Origins that may call."""
    allow_origin: tuple[str, ...] = ()
    """Origins that may call, in an older form of the same."""
    allow_methods: tuple[str, ...] = ()
    """Methods that may be used."""
    allow_headers: tuple[str, ...] = ()
    """Headers that may be sent."""
    expose_headers: tuple[str, ...] = ()
    """Headers that scripts may read."""
    max_age: str | None = None
    """How long browsers may keep the answer."""
    allow_credentials: bool | None = None
    """Whether calls may carry credentials."""


class GatewayReference(Struct, frozen=True, kw_only=True):
    """A Gateway, or another parent, that the route attaches to."""

    group: Annotated[str, schema(default="gateway.networking.k8s.io", maxLength=253, pattern=GROUP_PATTERN)] = (
        "gateway.networking.k8s.io"
    )
    """API group of the parent."""
    kind: Annotated[str, schema(default="Gateway", minLength=1, maxLength=63, pattern=KIND_PATTERN)] = "Gateway"
    """Kind of the parent."""
    name: Annotated[str, schema(minLength=1, maxLength=253)]
    """Name of the parent."""
    namespace: DnsLabel | None = None
    """Namespace of the parent; the Canary's own where absent."""
    section_name: (
        Annotated[
            str,
            schema(
                minLength=1,
                maxLength=253,
                pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            ),
        ]
        | None
    ) = None
    """Listener of the Gateway; all of them where absent."""
    port: Port | None = None
    """Port of the parent to attach to."""


class MirrorBackend(Struct, frozen=True, kw_only=True):
    """Where copies of requests go."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {
                "rule": "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
                "message": "Must have port for Service reference",
            }
        ]
    }

    group: Annotated[str, schema(default="", maxLength=253, pattern=GROUP_PATTERN)] = ""
    """API group of the backend; empty for the core group."""
    kind: Annotated[str, schema(default="Service", minLength=1, maxLength=63, pattern=KIND_PATTERN)] = "Service"
    """Kind of the backend."""
    name: Annotated[str, schema(minLength=1, maxLength=253)]
    """Name of the backend."""
    namespace: DnsLabel | None = None
    """Namespace of the backend; the Canary's own where absent."""
    port: Port | None = None
    """Port of the backend; required for a Service."""


class RequestMirror(Struct, frozen=True, kw_only=True):
    """Sends a copy of every request elsewhere, all the time; no part of the analysis."""

    backend_ref: MirrorBackend
    """Where copies of requests go."""
