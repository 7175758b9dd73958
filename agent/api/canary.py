"""The Canary kind (flagger.app/v1beta1): Flagger's fields, with KServe targets in addition.

Every manifest that Flagger accepts is valid here. What goes beyond Flagger: the target kinds InferenceService and
LLMInferenceService, the provider kserve, `status.lastTrackedRevision` and `status.judge`.
"""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from agent.api.analysis import CanaryAnalysis, Strategy
from agent.api.judge import CanaryJudge
from agent.api.meta import ApiStruct as Struct
from agent.api.meta import CrdOptions, PrinterColumn, Resource, Time, schema
from agent.api.service import CanaryService

GROUP = "flagger.app"
VERSION = "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = "finalizer.flagger.app"
"""The finalizer of a Canary with revertOnDeletion."""

JUDGE_ANNOTATION = "weir.dev/judge"
"""Annotation that chooses how metrics are judged: compatibility, guarded or comparative."""

PROMOTED = "Promoted"
"""The one condition type of a Canary; its reason is the phase."""

DEFAULT_PROGRESS_DEADLINE = 600
"""Seconds."""

FLAGGER_PROVIDERS = (
    "apisix",
    "appmesh",
    "appmesh:v1beta2",
    "contour",
    "gatewayapi:v1",
    "gatewayapi:v1beta1",
    "gloo",
    "istio",
    "knative",
    "kubernetes",
    "kuma",
    "linkerd",
    "nginx",
    "osm",
    "skipper",
    "smi:v1alpha1",
    "smi:v1alpha2",
    "smi:v1alpha3",
    "traefik",
)
PROVIDERS = (*FLAGGER_PROVIDERS, "kserve")

FLAGGER_TARGET_KINDS = ("DaemonSet", "Deployment", "Service")
TARGET_KINDS = (*FLAGGER_TARGET_KINDS, "InferenceService", "LLMInferenceService")


class CanaryPhase(enum.StrEnum):
    """Where a Canary stands; the value is also the reason of its Promoted condition."""

    NONE = ""
    INITIALIZING = "Initializing"
    INITIALIZED = "Initialized"
    WAITING = "Waiting"
    PROGRESSING = "Progressing"
    WAITING_PROMOTION = "WaitingPromotion"
    PROMOTING = "Promoting"
    FINALISING = "Finalising"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"

    @property
    def initializing(self) -> bool:
        return self in {CanaryPhase.NONE, CanaryPhase.INITIALIZING}

    @property
    def resting(self) -> bool:
        """Nothing is being rolled out."""
        return self in {CanaryPhase.INITIALIZED, CanaryPhase.SUCCEEDED, CanaryPhase.FAILED}

    @property
    def analysing(self) -> bool:
        """A run that a new template restarts and a rollback may end."""
        return self in {CanaryPhase.PROGRESSING, CanaryPhase.WAITING_PROMOTION}

    @property
    def promoting(self) -> bool:
        """The verdict has fallen, the primary is being replaced."""
        return self in {CanaryPhase.PROMOTING, CanaryPhase.FINALISING}


class TargetReference(Struct, frozen=True, kw_only=True):
    """The workload whose changes are rolled out."""

    api_version: str
    """API version of the workload."""
    kind: Annotated[str, schema(enum=list(TARGET_KINDS))]
    """Kind of the workload."""
    name: str
    """Name of the workload, in the Canary's namespace."""


class ScalerReplicas(Struct, frozen=True, kw_only=True):
    """Bounds for the primary's scaler."""

    min_replicas: Annotated[int, schema(minimum=1)] | None = None
    """Least number of replicas."""
    max_replicas: Annotated[int, schema(minimum=1)] | None = None
    """Greatest number of replicas."""


class AutoscalerReference(Struct, frozen=True, kw_only=True):
    """The scaler of the workload; the primary gets a copy of it."""

    api_version: str
    """API version of the scaler."""
    kind: Annotated[str, schema(enum=["HorizontalPodAutoscaler", "ScaledObject"])]
    """Kind of the scaler."""
    name: str
    """Name of the scaler."""
    primary_scaler_queries: dict[str, str] | None = None
    """Queries of the primary's ScaledObject, by trigger name."""
    primary_scaler_replicas: ScalerReplicas | None = None
    """Bounds for the primary's scaler in place of those of the original."""


class IngressReference(Struct, frozen=True, kw_only=True):
    """The Ingress that leads to the workload."""

    api_version: str
    """API version of the Ingress."""
    kind: Annotated[str, schema(enum=["Ingress"])]
    """Ingress."""
    name: str
    """Name of the Ingress."""


class RouteReference(Struct, frozen=True, kw_only=True):
    """The APISIX route that leads to the workload."""

    api_version: str
    """API version of the route."""
    kind: Annotated[str, schema(enum=["ApisixRoute"])]
    """ApisixRoute."""
    name: str
    """Name of the route."""


class UpstreamReference(Struct, frozen=True, kw_only=True):
    """The Gloo Upstream that is copied for primary and canary."""

    api_version: str
    """API version of the Upstream."""
    kind: Annotated[str, schema(enum=["Upstream"])]
    """Upstream."""
    name: str
    """Name of the Upstream."""
    namespace: str | None = None
    """Namespace of the Upstream; the Canary's own where absent."""


class CanarySpec(Struct, frozen=True, kw_only=True):
    """Which workload is rolled out, how traffic gets to it and how a new revision is judged."""

    provider: Annotated[str, schema(enum=list(PROVIDERS))] | None = None
    """What shifts the traffic; the agent's default where absent."""
    metrics_server: str | None = None
    """Address of the Prometheus that built-in metrics are asked from; the agent's default where absent."""
    target_ref: TargetReference
    """The workload."""
    autoscaler_ref: AutoscalerReference | None = None
    """The scaler of the workload."""
    ingress_ref: IngressReference | None = None
    """The Ingress that leads to the workload, for nginx and skipper."""
    route_ref: RouteReference | None = None
    """The route that leads to the workload, for apisix."""
    upstream_ref: UpstreamReference | None = None
    """The Upstream to copy, for gloo."""
    service: CanaryService | None = None
    """The Services and routes to make for the workload."""
    analysis: CanaryAnalysis
    """How a new revision gets traffic and is judged."""
    progress_deadline_seconds: int | None = None
    """Seconds that a workload may take to become ready; 600 where absent, and more for a model whose size is known."""
    skip_analysis: bool = False
    """Promotes without analysis."""
    revert_on_deletion: bool = False
    """Gives the workload its replicas and traffic back when the Canary is deleted."""
    suspend: bool = False
    """Leaves the Canary, and its traffic, as they are for as long as it is true."""


class CanaryCondition(Struct, frozen=True, kw_only=True):
    """One observed aspect of a Canary's state."""

    type: str
    """The aspect; always Promoted."""
    status: str
    """True, False or Unknown."""
    reason: str
    """The phase."""
    message: str | None = None
    """The phase, for people."""
    last_update_time: Time | None = None
    """When the condition was last written."""
    last_transition_time: Time | None = None
    """When its status last changed."""


class CanaryLoad(Struct, frozen=True, kw_only=True):
    """The model that was last tried, where its size is known."""

    bytes: int = 0
    """Its size; 0 where that is unknown."""
    rate: int = 0
    """Bytes a second of the last load that ended, start and warm-up included; 0 before the first."""
    loading: bool = False
    """It has not become ready yet."""


class CanaryStatus(Struct, frozen=True, kw_only=True):
    """Where the rollout stands."""

    phase: CanaryPhase = CanaryPhase.NONE
    """Where the rollout stands, in one word."""
    failed_checks: int = 0
    """Checks that failed during this run."""
    canary_weight: int = 0
    """Percentage of traffic that the canary gets."""
    iterations: int = 0
    """Checks passed so far, where the analysis counts them."""
    previous_session_affinity_cookie: str | None = None
    """Cookie of the last run, which is being expired."""
    session_affinity_cookie: str | None = None
    """Cookie that keeps callers on the canary during this run."""
    primary_session_affinity_cookie: str | None = None
    """Cookie that keeps callers on the primary during this run."""
    tracked_configs: dict[str, str] | None = None
    """Checksums of the ConfigMaps and Secrets that the workload uses."""
    last_applied_spec: str | None = None
    """Checksum of the workload that was last rolled out or tried."""
    last_promoted_spec: str | None = None
    """Checksum of the workload that was last promoted."""
    last_tracked_revision: str | None = None
    """Identity of the workload when its checksum was taken: uid, generation and, for a Deployment, its revision."""
    last_transition_time: Time | None = None
    """When the phase last changed."""
    judge: CanaryJudge | None = None
    """Where the judge of this run stands, unless it is Flagger's rule."""
    load: CanaryLoad | None = None
    """How large the model is and how fast it loads; from this follows the deadline if the spec sets none."""
    conditions: tuple[CanaryCondition, ...] = ()
    """The phase in the form that kubectl wait understands."""


class Canary(Resource, frozen=True, kw_only=True):
    """A workload whose new revisions get traffic step by step and are judged before they replace the old one."""

    GROUP: ClassVar[str] = GROUP
    VERSION: ClassVar[str] = VERSION
    API_VERSION: ClassVar[str] = API_VERSION
    KIND: ClassVar[str] = "Canary"
    PLURAL: ClassVar[str] = "canaries"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all",),
        columns=(
            PrinterColumn("Status", ".status.phase"),
            PrinterColumn("Weight", ".status.canaryWeight"),
            PrinterColumn("Suspended", ".spec.suspend", "boolean", 1),
            PrinterColumn("FailedChecks", ".status.failedChecks", "string", 1),
            PrinterColumn("Interval", ".spec.analysis.interval", "string", 1),
            PrinterColumn("Mirror", ".spec.analysis.mirror", "boolean", 1),
            PrinterColumn("StepWeight", ".spec.analysis.stepWeight", "string", 1),
            PrinterColumn("StepWeights", ".spec.analysis.stepWeights", "string", 1),
            PrinterColumn("MaxWeight", ".spec.analysis.maxWeight", "string", 1),
            PrinterColumn("LastTransitionTime", ".status.lastTransitionTime"),
        ),
    )

    spec: CanarySpec
    status: CanaryStatus = CanaryStatus()

    @property
    def target_name(self) -> str:
        return self.spec.target_ref.name

    @property
    def primary_name(self) -> str:
        """Name of the primary copy of the workload."""
        return f"{self.target_name}-primary"

    @property
    def service_name(self) -> str:
        """Name of the apex Service, and of the route: the field, else the target's name."""
        return (self.spec.service and self.spec.service.name) or self.target_name

    @property
    def primary_service_name(self) -> str:
        return f"{self.service_name}-primary"

    @property
    def canary_service_name(self) -> str:
        return f"{self.service_name}-canary"

    @property
    def baseline_service_name(self) -> str:
        """Name of the Service in front of the fresh copy of the primary, while there is one."""
        return f"{self.service_name}-baseline"

    def strategy(self, provider: str) -> Strategy:
        """How traffic moves under that provider (the field's value, or the agent's default).

        Plain Kubernetes can neither match nor weigh requests, so Flagger always runs blue/green there.
        """
        return Strategy.BLUE_GREEN if provider == "kubernetes" else self.spec.analysis.strategy

    def iterations(self, provider: str) -> int:
        """Checks to pass under that provider; 10 where plain Kubernetes has to count and the spec does not say."""
        wanted = self.spec.analysis.iterations
        return 10 if provider == "kubernetes" and wanted < 1 else wanted
