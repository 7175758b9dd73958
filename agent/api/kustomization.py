"""The Kustomization kind (kustomize.toolkit.fluxcd.io/v1), field for field as Flux defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from agent.api.duration import parse_duration
from agent.api.meta import (
    AGE_COLUMN,
    READY_COLUMN,
    STATUS_COLUMN,
    Condition,
    CrdOptions,
    Duration,
    Int64,
    LocalObjectReference,
    Resource,
    Time,
    schema,
)
from agent.api.meta import ApiStruct as Struct

FIELD_MANAGER = "kustomize-controller"
"""Flux's field manager for applied objects; `flux diff` compares as the same one."""

MINIMUM_TIMEOUT = 30.0
"""Seconds; shorter timeouts are raised to it, and a derived one leaves as much of the interval free."""

Affix = Annotated[str, schema(minLength=1, maxLength=200)]


class SourceReference(Struct, frozen=True, kw_only=True):
    """The source whose artifact holds the manifests."""

    api_version: str | None = None
    """API version of the source."""
    kind: Annotated[str, schema(enum=["OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"])]
    """Kind of the source."""
    name: str
    """Name of the source."""
    namespace: str | None = None
    """Namespace of the source; the Kustomization's own where absent."""


class Dependency(Struct, frozen=True, kw_only=True):
    """A Kustomization that has to be ready first."""

    name: str
    """Name of the other Kustomization."""
    namespace: str | None = None
    """Namespace of the other Kustomization; the own one where absent."""
    ready_expr: str | None = None
    """CEL expression over self and dep that says when the other one is ready, in place of the usual checks."""


class KubeConfigSecretReference(Struct, frozen=True, kw_only=True):
    """A Secret that holds a kubeconfig."""

    name: str
    """Name of the Secret."""
    key: str | None = None
    """Key in the Secret; value, then value.yaml, where absent."""


class KubeConfigReference(Struct, frozen=True, kw_only=True):
    """Access to another cluster: a kubeconfig in a Secret, or the settings for a cloud identity in a ConfigMap."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {
                "rule": "has(self.configMapRef) || has(self.secretRef)",
                "message": "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified",
            },
            {
                "rule": "!has(self.configMapRef) || !has(self.secretRef)",
                "message": "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified",
            },
        ]
    }

    config_map_ref: LocalObjectReference | None = None
    """ConfigMap with provider, cluster, address and the like."""
    secret_ref: KubeConfigSecretReference | None = None
    """Secret with a self-contained kubeconfig; programs for credentials and files it names are not used."""


class Decryption(Struct, frozen=True, kw_only=True):
    """How encrypted manifests are read."""

    provider: Annotated[str, schema(enum=["sops"])]
    """Format of the encryption."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the private keys or static cloud credentials."""
    service_account_name: str | None = None
    """ServiceAccount in the same namespace whose cloud identity may use the key service."""


class CommonMetadata(Struct, frozen=True, kw_only=True):
    """Metadata that all applied objects get."""

    annotations: dict[str, str] | None = None
    """Annotations that win over those in the manifests."""
    labels: dict[str, str] | None = None
    """Labels that win over those in the manifests."""


class Selector(Struct, frozen=True, kw_only=True):
    """Picks objects; every field given must match. Names are regular expressions for the whole name."""

    group: str | None = None
    """API group."""
    version: str | None = None
    """API version without its group."""
    kind: str | None = None
    """Kind."""
    name: str | None = None
    """Name."""
    namespace: str | None = None
    """Namespace."""
    label_selector: str | None = None
    """Label selector expression."""
    annotation_selector: str | None = None
    """Annotation selector expression, written like a label selector."""


class Patch(Struct, frozen=True, kw_only=True):
    """A strategic merge or JSON 6902 patch, in YAML, and the objects it is for."""

    patch: str
    """The patch."""
    target: Selector | None = None
    """Objects to patch; where absent, the one that the patch itself names."""


class Image(Struct, frozen=True, kw_only=True):
    """Replaces parts of a container image's reference."""

    name: str
    """Image name to look for, without tag."""
    new_name: str | None = None
    """Name to put in its place."""
    new_tag: str | None = None
    """Tag to put in its place."""
    digest: str | None = None
    """Digest to put in its place; wins over the tag."""


class IgnoreRule(Struct, frozen=True, kw_only=True):
    """Fields whose drift is left alone."""

    paths: tuple[str, ...]
    """JSON pointers to the fields."""
    target: Selector | None = None
    """Objects that the rule is for; all of them where absent."""


class SubstituteReference(Struct, frozen=True, kw_only=True):
    """A ConfigMap or Secret whose data are variables."""

    kind: Annotated[str, schema(enum=["Secret", "ConfigMap"])]
    """Secret or ConfigMap."""
    name: Annotated[str, schema(minLength=1, maxLength=253)]
    """Name, in the same namespace."""
    optional: Annotated[bool, schema(default=False)] = False
    """Goes on without the variables if the object does not exist."""


class PostBuild(Struct, frozen=True, kw_only=True):
    """What happens to the rendered manifests before they are applied."""

    substitute: dict[str, str] | None = None
    """Variables for ${name} expressions; they win over those of substituteFrom."""
    substitute_from: tuple[SubstituteReference, ...] = ()
    """Sources of variables; later ones win."""
    substitute_strategy: Annotated[str, schema(enum=["WithVariables", "Always"])] | None = None
    """Whether expressions are evaluated only where variables are given (WithVariables, the default) or Always."""


class HealthCheck(Struct, frozen=True, kw_only=True):
    """An object that has to become healthy."""

    api_version: str | None = None
    """API version; apps/v1 where absent."""
    kind: str
    """Kind."""
    name: str
    """Name."""
    namespace: str | None = None
    """Namespace."""


class HealthCheckExpr(Struct, frozen=True, kw_only=True):
    """CEL expressions that judge the health of a custom kind."""

    api_version: str
    """API version of the kind."""
    kind: str | None = None
    """Kind; the whole group where absent."""
    current: str
    """Says when an object is healthy."""
    in_progress: str | None = None
    """Says when an object is on its way; looked at first."""
    failed: str | None = None
    """Says when an object has failed; looked at second."""


class KustomizationSpec(Struct, frozen=True, kw_only=True):
    """Which manifests to build from which source, how to change them, and how to apply and check them."""

    interval: Duration
    """Time between two passes without any other cause."""
    source_ref: SourceReference
    """The source of the manifests."""
    prune: bool
    """Deletes objects from the cluster that are no longer among the manifests."""
    path: str | None = None
    """Folder of the kustomization.yaml, or of plain manifests, in the source; its root where absent."""
    deletion_policy: Annotated[str, schema(enum=["MirrorPrune", "Delete", "WaitForTermination", "Orphan"])] | None = (
        None
    )
    """What happens to the applied objects when the Kustomization is deleted; as prune says, where absent."""
    retry_interval: Duration | None = None
    """Time until the next pass after a failure; the interval where absent."""
    timeout: Duration | None = None
    """Longest wait for health or for the end of deleted objects; the interval less 30 seconds where absent."""
    depends_on: tuple[Dependency, ...] = ()
    """Kustomizations that have to be ready first."""
    wait: bool = False
    """Waits for all applied objects to become healthy."""
    health_checks: tuple[HealthCheck, ...] = ()
    """Objects that have to become healthy; not looked at when wait is true."""
    health_check_exprs: tuple[HealthCheckExpr, ...] = ()
    """How to judge kinds that do not report their health in the usual conditions."""
    force: Annotated[bool, schema(default=False)] = False
    """Deletes and creates an object again when a change touches an immutable field."""
    suspend: bool = False
    """Leaves the Kustomization alone for as long as it is true."""
    service_account_name: str | None = None
    """ServiceAccount in the same namespace in whose name objects are applied."""
    kube_config: KubeConfigReference | None = None
    """Another cluster to apply to."""
    target_namespace: Annotated[str, schema(minLength=1, maxLength=63)] | None = None
    """Namespace to put all namespaced objects in; it has to exist."""
    name_prefix: Affix | None = None
    """Text to put before all names."""
    name_suffix: Affix | None = None
    """Text to put after all names."""
    common_metadata: CommonMetadata | None = None
    """Labels and annotations for all objects."""
    components: tuple[str, ...] = ()
    """Kustomize components to build in, as paths relative to the folder."""
    ignore_missing_components: bool = False
    """Goes on without components that do not exist."""
    patches: tuple[Patch, ...] = ()
    """Patches to build in."""
    images: tuple[Image, ...] = ()
    """Images to replace."""
    build_metadata: tuple[Annotated[str, schema(enum=["originAnnotations", "transformerAnnotations"])], ...] = ()
    """Annotations about their own making for kustomize to leave on the objects."""
    post_build: PostBuild | None = None
    """Substitution of variables in the rendered manifests."""
    decryption: Decryption | None = None
    """Decryption of the manifests."""
    ignore: tuple[IgnoreRule, ...] = ()
    """Fields that other parties may change without being corrected."""


class InventoryEntry(Struct, frozen=True, kw_only=True):
    """One applied object."""

    id: str
    """Namespace, name, group and kind, joined by underscores."""
    v: str
    """API version without its group."""


class Inventory(Struct, frozen=True, kw_only=True):
    """The objects that the Kustomization owns."""

    entries: tuple[InventoryEntry, ...]
    """One entry for each object."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """A set of manifests that was once applied, and how it went."""

    digest: str
    """Checksum of the rendered manifests."""
    first_reconciled: Time
    """When they were first applied."""
    last_reconciled: Time
    """When they were last applied."""
    last_reconciled_duration: str
    """How long that took."""
    last_reconciled_status: str
    """How it ended, as the reason of the Ready condition."""
    total_reconciliations: Int64
    """How often they were applied with that ending."""
    metadata: dict[str, str] | None = None
    """The revision that they came from."""


class KustomizationStatus(Struct, frozen=True, kw_only=True):
    """What was applied last and how it went."""

    observed_generation: Int64 = 0
    """The last metadata.generation that was acted upon."""
    conditions: tuple[Condition, ...] = ()
    """State of the Kustomization; Ready says whether the last pass went well."""
    last_applied_revision: str | None = None
    """The last revision that was applied and found healthy."""
    last_applied_origin_revision: str | None = None
    """The revision that the artifact's producer says it came from."""
    last_attempted_revision: str | None = None
    """The last revision that was tried."""
    inventory: Inventory | None = None
    """The objects that the Kustomization owns."""
    history: tuple[Snapshot, ...] = ()
    """The last few sets of manifests, newest first."""
    last_handled_reconcile_at: str | None = None
    """The last value of the annotation reconcile.fluxcd.io/requestedAt that was acted upon."""


class Kustomization(Resource, frozen=True, kw_only=True):
    """Manifests from a source that are to be built and applied to a cluster."""

    GROUP: ClassVar[str] = "kustomize.toolkit.fluxcd.io"
    VERSION: ClassVar[str] = "v1"
    API_VERSION: ClassVar[str] = "kustomize.toolkit.fluxcd.io/v1"
    KIND: ClassVar[str] = "Kustomization"
    PLURAL: ClassVar[str] = "kustomizations"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all", "fluxcd", "fluxcd-appliers"),
        short_names=("ks",),
        columns=(AGE_COLUMN, READY_COLUMN, STATUS_COLUMN),
        status_default={"observedGeneration": -1},
        annotations={"kustomize.toolkit.fluxcd.io/substitute": "disabled"},
    )

    spec: KustomizationSpec
    status: KustomizationStatus = KustomizationStatus()

    @property
    def interval(self) -> float:
        """Seconds between two passes. Raises ValueError if the field is no duration."""
        return parse_duration(self.spec.interval)

    @property
    def retry_interval(self) -> float:
        """Seconds until the next pass after a failure. Raises ValueError if the field is no duration."""
        return parse_duration(self.spec.retry_interval or self.spec.interval)

    def effective_timeout(self) -> float:
        """Seconds to wait for health, as Flux reckons them: the field, else 30 less than the interval; at least 30.

        Raises ValueError if the field is no duration.
        """
        wanted = parse_duration(self.spec.timeout) if self.spec.timeout else self.interval - MINIMUM_TIMEOUT
        return max(wanted, MINIMUM_TIMEOUT)

    @property
    def source_namespace(self) -> str:
        return self.spec.source_ref.namespace or self.namespace

    def dependency_key(self, dependency: Dependency) -> tuple[str, str]:
        """Namespace and name of a Kustomization that this one depends on."""
        return dependency.namespace or self.namespace, dependency.name

    @property
    def deletes_objects(self) -> bool:
        """Whether deleting the Kustomization deletes what it applied."""
        policy = self.spec.deletion_policy or "MirrorPrune"
        return policy in {"Delete", "WaitForTermination"} or (policy == "MirrorPrune" and self.spec.prune)

    @property
    def waits_for_termination(self) -> bool:
        """Whether its deletion waits until the deleted objects are gone."""
        return self.spec.deletion_policy == "WaitForTermination"
