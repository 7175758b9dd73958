"""What a Canary's spec asks for, with every default decided.

Defaults and precedence follow the Flagger documentation (`canary.spec.analysis`); the machine reads only this, never
the API object, so that one place knows how a missing field is meant.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from agent.api.analysis import HookType, Strategy
from agent.core.rollout.gates import Gate
from agent.core.rollout.judgesettings import JudgeSettings
from agent.core.rollout.surge import Surge

TOTAL_WEIGHT = 100
DEFAULT_INTERVAL = 60.0
DEFAULT_METRIC_INTERVAL = "1m"
SUCCESS_RATE = "request-success-rate"
DURATION = "request-duration"
BUILT_IN = frozenset({SUCCESS_RATE, DURATION})
SERVICE_KIND = "Service"


class Provider(enum.StrEnum):
    """Traffic routers that are implemented; the value is what `spec.provider` holds."""

    KUBERNETES = "kubernetes"
    GATEWAY_API = "gatewayapi:v1"
    ISTIO = "istio"
    NGINX = "nginx"
    KSERVE = "kserve"
    KNATIVE = "knative"


MIRRORING = frozenset({Provider.GATEWAY_API, Provider.ISTIO})
"""Routers that can send copies of requests to the canary, and that can keep callers on a version by cookies."""


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook. `timeout` in seconds; `metadata` is sent as it is."""

    type: HookType
    name: str
    url: str
    timeout: float = 10.0
    retries: int = 0
    metadata: Mapping[str, str] = {}
    mute_alert: bool = False
    verify_tls: bool = True


class Bounds(msgspec.Struct, frozen=True):
    """The values a metric may have, both ends included; None is no bound."""

    minimum: float | None = None
    maximum: float | None = None


class MetricSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of the analysis: a built-in one, an inline query, or a MetricTemplate (`namespace`, `name`).

    `explicit`: the Canary itself says what values are good.
    """

    name: str
    bounds: Bounds
    explicit: bool = True
    interval: str = DEFAULT_METRIC_INTERVAL
    query: str = ""
    template: tuple[str, str] | None = None
    variables: Mapping[str, str] = {}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts of at least this severity (info, warn, error) go."""

    name: str
    severity: str
    provider: tuple[str, str]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A Canary's spec. Seconds, percent; names are those of the cluster's objects."""

    name: str
    namespace: str
    uid: str = ""
    target_kind: str = "Deployment"
    target: str
    service: str
    ingress: str = ""
    route: str = ""
    provider: str = Provider.KUBERNETES
    metrics_server: str = ""
    suspended: bool = False
    skip_analysis: bool = False
    revert_on_deletion: bool = False
    interval: float = DEFAULT_INTERVAL
    threshold: int = 1
    deadline: int = 600
    max_weight: int = TOTAL_WEIGHT
    step_weight: int = 0
    step_weights: tuple[int, ...] = ()
    step_weight_promotion: int = 0
    iterations: int = 0
    matched: bool = False
    mirror: bool = False
    canary_cookie: str = ""
    """Name of the cookie that keeps callers on the canary; without one there is no session affinity."""
    primary_cookie: str = ""
    primary_ready: int = 100
    canary_ready: int = 100
    autoscaled: bool = False
    metrics: tuple[MetricSpec, ...] = ()
    hooks: tuple[Hook, ...] = ()
    gates: tuple[Gate, ...] = ()
    alerts: tuple[Alert, ...] = ()
    judging: JudgeSettings = JudgeSettings()
    surge: Surge | None = None
    fault: tuple[str, str] | None = None
    """(reason, text): an annotation that cannot be read."""
    warnings: tuple[str, ...] = ()
    """Said once per analysis tick: what of the spec cannot be honoured by this provider."""

    @property
    def primary(self) -> str:
        """Name of the workload that serves when nothing is being rolled out."""
        return self.target if self.in_place else f"{self.target}-primary"

    @property
    def baseline(self) -> str:
        """Name of the fresh copy of the primary that the canary is compared with."""
        return f"{self.target}-baseline"

    @property
    def in_place(self) -> bool:
        """True if the target itself serves and there is no primary copy of it."""
        return self.provider == Provider.KSERVE

    @property
    def of_service(self) -> bool:
        """True if the target is a Service of the core group, of which there are copies and no pods."""
        return self.target_kind == SERVICE_KIND and self.provider != Provider.KNATIVE

    @property
    def metrics_provider(self) -> str:
        """Whose metrics the built-in ones are, as Flagger names it."""
        return f"{self.provider}:service" if self.of_service else self.provider

    @property
    def routed(self) -> bool:
        """True if traffic can be split: behind plain Services only the whole of it can be switched."""
        return self.provider != Provider.KUBERNETES

    @property
    def strategy(self) -> Strategy:
        if self.iterations > 0:
            return Strategy.AB_TESTING if self.matched else Strategy.BLUE_GREEN
        return Strategy.CANARY

    @property
    def full_name(self) -> str:
        """`<name>.<namespace>`, as Flagger writes the Canary's name in texts."""
        return f"{self.name}.{self.namespace}"

    @property
    def full_target(self) -> str:
        """`<target>.<namespace>`."""
        return f"{self.target}.{self.namespace}"

    def hooks_of(self, kind: HookType) -> tuple[Hook, ...]:
        """The webhooks of one type, in their order."""
        return tuple(hook for hook in self.hooks if hook.type is kind)

    def next_step(self, weight: int) -> int:
        """How much weight the next step adds to `weight`; 0 means that the plan never moves traffic.

        `stepWeight` wins over `stepWeights`; after the last listed weight, or from a weight that is not listed,
        the rest of the way is one step. At 100 any non-zero step leads to the promotion.
        """
        if self.step_weight > 0 or not self.step_weights:
            return self.step_weight
        rest = TOTAL_WEIGHT - weight
        if rest <= 0:
            return 1
        if weight == 0:
            return min(rest, self.step_weights[0])
        for current, following in zip(self.step_weights, self.step_weights[1:], strict=False):
            if current == weight:
                return min(rest, following - weight)
        return rest


def in_one_step(plan: Plan) -> Plan:
    """The same checks on the shortest way: straight to the highest weight, or one iteration."""
    if plan.iterations > 0:
        return msgspec.structs.replace(plan, iterations=1)
    return msgspec.structs.replace(plan, step_weight=plan.max_weight, step_weights=())
