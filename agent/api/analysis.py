"""The `analysis` section of a Canary: traffic steps, metrics, hooks and alerts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import schema
from agent.api.traffic import AnalysisMatch

ShortDuration = Annotated[str, schema(pattern="^[0-9]+(m|s)")]


class Strategy(enum.StrEnum):
    """How traffic moves, in the words that Flagger's metrics use."""

    AB_TESTING = "ab-testing"
    BLUE_GREEN = "blue-green"
    CANARY = "canary"


class HookType(enum.StrEnum):
    """When a webhook is called; the empty type is a rollout hook too."""

    UNSET = ""
    CONFIRM_ROLLOUT = "confirm-rollout"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    CONFIRM_PROMOTION = "confirm-promotion"
    POST_ROLLOUT = "post-rollout"
    EVENT = "event"
    ROLLBACK = "rollback"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"


class AlertSeverity(enum.StrEnum):
    """The least severity that an alert is sent for."""

    UNSET = ""
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class CrossNamespaceReference(Struct, frozen=True, kw_only=True):
    """Names an object that may be in another namespace."""

    name: str
    """Name of the object."""
    namespace: str | None = None
    """Namespace of the object; the Canary's own where absent."""


class ThresholdRange(Struct, frozen=True, kw_only=True):
    """Values that are good; both bounds are included."""

    min: float | None = None
    """Least good value."""
    max: float | None = None
    """Greatest good value."""


class CanaryMetric(Struct, frozen=True, kw_only=True):
    """A number that the canary is judged by."""

    name: str
    """Name; request-success-rate and request-duration are built in."""
    interval: ShortDuration | None = None
    """Span of time that the number is taken over; a minute where absent."""
    threshold_range: ThresholdRange | None = None
    """Values that are good."""
    threshold: float = 0.0
    """Least good success rate, or greatest good value of anything else; thresholdRange replaces it."""
    template_ref: CrossNamespaceReference | None = None
    """MetricTemplate with the query."""
    template_variables: dict[str, str] | None = None
    """Variables for the template's query."""
    query: str | None = None
    """PromQL query; a MetricTemplate replaces it."""


class CanaryWebhook(Struct, frozen=True, kw_only=True):
    """A call that asks or informs another program."""

    name: str
    """Name, as it appears in events."""
    type: HookType = HookType.UNSET
    """When to call; at each check where empty."""
    url: str
    """Address to call."""
    timeout: ShortDuration | None = None
    """Time to wait for the answer; ten seconds where absent."""
    retries: int = 0
    """Repeats of a call that failed."""
    metadata: dict[str, str] | None = None
    """Values to send along."""
    mute_alert: bool = False
    """Sends no alert about this hook."""
    disable_tls: bool = msgspec.field(default=False, name="disableTLS")
    """Accepts any certificate."""

    @property
    def hook(self) -> HookType:
        """The type, with rollout in place of the empty one."""
        return HookType.ROLLOUT if self.type is HookType.UNSET else self.type


class CanaryAlert(Struct, frozen=True, kw_only=True):
    """Where messages about the rollout go."""

    name: str
    """Name of the alert."""
    severity: AlertSeverity = AlertSeverity.UNSET
    """Least severity of a message; info where empty."""
    provider_ref: CrossNamespaceReference
    """AlertProvider to send through."""


class SessionAffinity(Struct, frozen=True, kw_only=True):
    """Keeps a caller on the version it first got, by a cookie."""

    cookie_name: str
    """Name of the cookie that marks callers of the canary."""
    primary_cookie_name: str | None = None
    """Name of the cookie that marks callers of the primary; none is set where absent."""
    domain: str | None = None
    """Domain of the cookies."""
    http_only: bool = False
    """Hides the cookies from scripts."""
    max_age: Annotated[int, schema(default=86400)] = 86400
    """Lifetime of the cookies in seconds."""
    partitioned: bool = False
    """Keeps the cookies apart for each top-level site."""
    path: str | None = None
    """Path of the cookies."""
    same_site: Annotated[str, schema(enum=["Strict", "Lax", "None"])] | None = None
    """When browsers send the cookies along from other sites."""
    secure: bool = False
    """Sends the cookies over TLS only."""


class CanaryAnalysis(Struct, frozen=True, kw_only=True):
    """How a new revision gets traffic and is judged: iterations, or one of stepWeight and stepWeights."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "oneOf": [
            {"required": ["interval", "threshold", "iterations"]},
            {"required": ["interval", "threshold", "stepWeight"]},
            {"required": ["interval", "threshold", "stepWeights"]},
        ]
    }

    interval: ShortDuration = ""
    """Time between two checks; at least ten seconds."""
    threshold: int = 0
    """Failed checks that end the run."""
    iterations: int = 0
    """Checks to pass, where traffic does not move in steps."""
    max_weight: int = 0
    """Percentage of traffic at which the canary is promoted; 100 where absent."""
    step_weight: int = 0
    """Percentage points to add after each good check."""
    step_weights: tuple[int, ...] = ()
    """Percentages to go through, in place of stepWeight."""
    step_weight_promotion: int = 0
    """Percentage points by which traffic returns to the primary after promotion; all at once where absent."""
    mirror: bool = False
    """Sends the canary copies of requests before it gets any of its own."""
    mirror_weight: int = 0
    """Percentage of requests to copy, with Istio."""
    match: tuple[AnalysisMatch, ...] = ()
    """Requests that go to the canary, which with iterations makes the run an A/B test."""
    primary_ready_threshold: int | None = None
    """Percentage of replicas of the primary that have to be ready; 100 where absent."""
    canary_ready_threshold: int | None = None
    """Percentage of replicas of the canary that have to be ready; 100 where absent."""
    session_affinity: SessionAffinity | None = None
    """Keeps callers on the version they first got."""
    metrics: tuple[CanaryMetric, ...] = ()
    """Numbers that the canary is judged by."""
    webhooks: tuple[CanaryWebhook, ...] = ()
    """Calls to other programs."""
    alerts: tuple[CanaryAlert, ...] = ()
    """Where messages about the rollout go."""

    @property
    def strategy(self) -> Strategy:
        """The strategy that the fields amount to, before the provider has its say."""
        if self.iterations < 1:
            return Strategy.CANARY
        return Strategy.AB_TESTING if self.match else Strategy.BLUE_GREEN

    @property
    def effective_threshold(self) -> int:
        """Failed checks that end the run; at least one."""
        return max(self.threshold, 1)

    @property
    def effective_max_weight(self) -> int:
        """Percentage at which the canary is promoted; the last of stepWeights takes the place of maxWeight."""
        if self.step_weights:
            return min(100, self.step_weights[-1])
        return self.max_weight or 100

    @property
    def primary_ready_percent(self) -> int:
        return 100 if self.primary_ready_threshold is None else self.primary_ready_threshold

    @property
    def canary_ready_percent(self) -> int:
        return 100 if self.canary_ready_threshold is None else self.canary_ready_threshold
