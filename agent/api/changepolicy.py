"""The ChangePolicy kind (weir.dev/v1alpha1): what may be applied when models and data change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args

import msgspec

from agent.api.meta import (
    AGE_COLUMN,
    READY_COLUMN,
    STATUS_COLUMN,
    Condition,
    CrdOptions,
    Duration,
    LocalObjectReference,
    ObjectMeta,
    PrinterColumn,
    Resource,
    schema,
)
from agent.api.meta import ApiStruct as Struct

KindName = Literal[
    "model",
    "adapter",
    "tokenizer",
    "chat-template",
    "quantization",
    "data",
    "pipeline",
    "feature-store",
    "code-image",
    "runtime",
    "config",
    "traffic",
    "scale",
    "credential",
    "provenance",
]
OperationName = Literal[
    "added",
    "removed",
    "changed",
    "respelled",
    "metadata-only",
    "moved",
    "floated",
    "stale-serving",
    "pin-lost",
    "parse-error",
]
SCHEMES = (
    "hf",
    "oci",
    "ollama",
    "s3",
    "gs",
    "azure",
    "http",
    "mlflow",
    "lakefs",
    "dvc",
    "git-lfs",
    "git",
    "modelscope",
    "iceberg",
    "wandb",
    "ngc",
    "delta",
    "hdfs",
    "pachyderm",
    "model-registry",
)
ACTIONS = ("apply", "alert", "rollout", "canary", "hot-reload", "job", "gate", "hold")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TIME_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

GRAMMARS = (
    "generic",
    "kserve",
    "dynamo",
    "ome",
    "seldon",
    "kubeai",
    "aibrix",
    "hub id",
    "image",
    "ollama",
    "llama.cpp",
    "modelscope",
    "ngc",
    "wandb",
)
Grammar = Annotated[str, schema(enum=list(GRAMMARS))]
ChangeKind = Annotated[str, schema(enum=list(get_args(KindName)))]
Operation = Annotated[str, schema(enum=list(get_args(OperationName)))]
Day = Annotated[str, schema(enum=list(DAYS))]
TimeOfDay = Annotated[str, schema(pattern=TIME_PATTERN)]


class PolicySelector(Struct, frozen=True, kw_only=True):
    """Which Kustomizations of the namespace a policy is about."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels that a Kustomization has to have, with their values; none means every Kustomization."""


class ChangeRule(Struct, frozen=True, kw_only=True):
    """What is to be done about some changes. The first rule of a policy that fits a change counts."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {
                "rule": "!(self.action in ['job', 'gate']) || has(self.trigger)",
                "message": "job and gate need a trigger",
            }
        ],
    }

    action: Annotated[str, schema(enum=list(ACTIONS))]
    """apply: as usual. alert: apply, and a warning event. rollout: apply; where content changed with no commit, the
    pods are replaced. canary: rollout if a Canary covers the object, else hold. hot-reload: adapters are loaded into
    the pods that run, else rollout. job: apply, and the trigger runs, whatever its selector fits. gate: nothing of
    the revision is applied until the trigger has run well for the content. hold: nothing of the revision is applied
    until somebody approves it."""
    trigger: LocalObjectReference | None = None
    """DataTrigger of the policy's namespace, for job and gate."""
    kinds: tuple[ChangeKind, ...] = ()
    """Kinds of change; none means all."""
    operations: tuple[Operation, ...] = ()
    """Operations; none means all that may change content: added, removed, changed."""
    directions: tuple[Annotated[str, schema(enum=["forward", "revert", "unknown"])], ...] = ()
    """Directions; none means all. revert is the way back to what was served before."""


class SyncWindow(Struct, frozen=True, kw_only=True):
    """A span of the day in which changes may, or may not, be applied."""

    mode: Annotated[str, schema(enum=["allow", "deny"])]
    """allow: outside of all such windows nothing new is applied. deny: inside of it nothing new is applied."""
    start: TimeOfDay
    """Begin, as HH:MM."""
    end: TimeOfDay
    """End, as HH:MM; at or before start it is that time of the next day."""
    days: tuple[Day, ...] = ()
    """Days on which the window begins; none means every day."""
    time_zone: str = "UTC"
    """Name of the time zone in the IANA database, such as Europe/Berlin."""


class PruneGuard(Struct, frozen=True, kw_only=True):
    """How much may be deleted without being asked about."""

    max_percent: Annotated[int, schema(minimum=0, maximum=100)]
    """Largest share of the inventory that one pass may delete, in percent."""
    min_objects: Annotated[int, schema(minimum=1)] = 2
    """Deletions of fewer objects than this are never held."""


class Registry(Struct, frozen=True, kw_only=True):
    """A hub, registry or store that is asked what references mean."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {
                "rule": "!has(self.provider) || self.provider == 'generic' || "
                "(!has(self.secretRef) && !has(self.endpoint))",
                "message": "with the identity of a cloud, secretRef and endpoint cannot be set",
            },
            {
                "rule": "!has(self.provider) || self.provider == 'generic' || "
                "(self.provider == 'aws' && self.scheme in ['s3', 'oci']) || "
                "(self.provider == 'azure' && self.scheme in ['azure', 'oci']) || "
                "(self.provider == 'gcp' && self.scheme in ['gs', 'oci'])",
                "message": "provider aws is for s3 and oci, azure for azure and oci, gcp for gs and oci",
            },
            {
                "rule": "!has(self.provider) || self.provider == 'generic' || self.scheme != 'oci' || has(self.host)",
                "message": "host is required for scheme oci with the identity of a cloud",
            },
            {
                "rule": "!has(self.serviceAccountName) || (has(self.provider) && self.provider != 'generic')",
                "message": "serviceAccountName is of use with a provider only: aws, azure or gcp",
            },
            {
                "rule": "!(self.scheme in ['http', 'git']) || !has(self.secretRef) || has(self.host)",
                "message": "host is required for http and git with a secretRef: it says who gets the credentials",
            },
            {
                "rule": "self.scheme != 'git-lfs' || !has(self.secretRef) || has(self.endpoint)",
                "message": "endpoint is required for git-lfs with a secretRef: it says who gets the credentials",
            },
            {
                "rule": "self.scheme == 'dvc' ? has(self.remote) : !has(self.remote) || self.scheme == 'delta'",
                "message": "remote is required for scheme dvc, may be set for delta, and is for no other",
            },
            {
                "rule": "self.scheme != 'delta' || !has(self.remote) || !has(self.endpoint)",
                "message": "delta has a remote, where tables lie, or an endpoint, of a sharing server",
            },
        ]
    }

    scheme: Annotated[str, schema(enum=list(SCHEMES))]
    """Which references it answers for."""
    host: str | None = None
    """Only references to this host, bucket, container or lakeFS repository; absent: all of the scheme."""
    endpoint: Annotated[str, schema(pattern=r"^https?://[^/?#@]+(/[^?#]*)?$")] | None = None
    """Address to ask instead of the public one; it may be in the cluster."""
    secret_ref: LocalObjectReference | None = None
    """Secret with credentials in the policy's namespace; absent: asked without."""
    provider: Annotated[str, schema(enum=["generic", "aws", "azure", "gcp"])] | None = None
    """Cloud whose workload identity logs in instead of a Secret (generic, the default)."""
    service_account_name: str | None = None
    """ServiceAccount of the policy's namespace that logs in with the provider; absent: the agent."""
    region: str | None = None
    """Region of the buckets, with provider aws; absent: that of the agent, or what S3 says it is."""
    remote: Annotated[str, schema(pattern=r"^(s3|gs|azure|https?|hdfs|lakefs)://.+$")] | None = None
    """Address of a DVC remote or of Delta tables, such as s3://bucket/folder; another entry answers for the store."""


class Resolution(Struct, frozen=True, kw_only=True):
    """What is asked about references whose text does not fix the content."""

    registries: Annotated[tuple[Registry, ...], schema(maxItems=100)]
    """Whom to ask; the first one that fits a reference counts, and nobody else is asked."""
    interval: Duration = "5m"
    """For how long an answer about a reference that floats is believed, and how often it is looked for again."""


class ReferenceField(Struct, frozen=True, kw_only=True):
    """A reference in a field of a kind that Weir does not know, or in one that it does not read."""

    group: str = ""
    """Group of the kind; empty for the core group."""
    kind: str
    """Kind of the objects."""
    path: Annotated[str, schema(pattern=r"^\$.+$", maxLength=512)]
    """JSONPath of names and [*], such as $.spec.models[*].uri."""
    slot: Annotated[str, schema(minLength=1, maxLength=64)]
    """Name of the reference in records; behind a wildcard with the name of the item."""
    role: ChangeKind = "model"
    """What the reference stands for."""
    grammar: Grammar = "generic"
    """Whose rules the text follows."""
    revision: str = ""
    """Field beside it that holds the revision."""


class ReferenceArgument(Struct, frozen=True, kw_only=True):
    """A reference in a flag or a variable of containers."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {"rule": "has(self.flag) || has(self.env)", "message": "flag or env has to be set"},
        ]
    }

    container: Annotated[str, schema(minLength=1)]
    """Glob that the container's name fits."""
    slot: Annotated[str, schema(minLength=1, maxLength=64)]
    """Name of the reference in records, after that of the container."""
    flag: str = ""
    """Flag of the command line; it counts before the variable."""
    env: str = ""
    """Variable of the environment."""
    role: ChangeKind = "model"
    """What the reference stands for."""
    grammar: Grammar = "generic"
    """Whose rules the text follows."""


class ReferenceFile(Struct, frozen=True, kw_only=True):
    """Files in Git (DVC, Git LFS and the like) that stand for something else than data."""

    path: Annotated[str, schema(minLength=1)]
    """Glob of paths; * crosses folders."""
    role: ChangeKind
    """What they stand for."""


class References(Struct, frozen=True, kw_only=True):
    """Where references stand that Weir would not look for."""

    objects: Annotated[tuple[ReferenceField, ...], schema(maxItems=100)] = ()
    """Fields of kinds."""
    containers: Annotated[tuple[ReferenceArgument, ...], schema(maxItems=100)] = ()
    """Flags and variables of containers."""
    files: Annotated[tuple[ReferenceFile, ...], schema(maxItems=100)] = ()
    """Files in Git."""


class ServingWatch(Struct, frozen=True, kw_only=True):
    """How closely pods that serve models are looked at: what they run is held against what Git resolves to."""

    interval: Duration = "5m"
    """Time between two looks."""
    after: Duration = "10m"
    """For how long pods may differ from Git before that is told: a rollout takes its time."""


class ChangePolicySpec(Struct, frozen=True, kw_only=True):
    """Rules for the Kustomizations of the namespace."""

    selector: PolicySelector = PolicySelector()
    """Kustomizations that the policy is about."""
    suspend: bool = False
    """Whether the policy is switched off."""
    require_pinned: tuple[ChangeKind, ...] = ()
    """Kinds of reference that have to name immutable content; with one that floats nothing is applied."""
    rules: Annotated[tuple[ChangeRule, ...], schema(maxItems=64)] = ()
    """What is to be done about which changes; what no rule fits is applied."""
    windows: tuple[SyncWindow, ...] = ()
    """When new revisions may be applied."""
    prune: PruneGuard | None = None
    """When deletions wait for an approval."""
    resolution: Resolution | None = None
    """Whom to ask what references mean; absent: nobody."""
    references: References = References()
    """Where references stand that Weir would not look for."""
    serving: ServingWatch | None = None
    """How closely pods that serve models are looked at; absent: with the defaults."""


class ChangePolicyStatus(Struct, frozen=True, kw_only=True):
    """Whether the policy can be followed."""

    observed_generation: Annotated[int, schema(format="int64")] = 0
    """The metadata.generation that was looked at last."""
    conditions: tuple[Condition, ...] = ()
    """Ready: whether all that the policy names is there and can be read."""


class _Head(Struct, frozen=True, kw_only=True):
    """As much of a policy as is read where its spec cannot be."""

    metadata: ObjectMeta
    status: ChangePolicyStatus = ChangePolicyStatus()


class ChangePolicy(Resource, frozen=True, kw_only=True):
    """What may be applied when models and data change."""

    GROUP: ClassVar[str] = "weir.dev"
    VERSION: ClassVar[str] = "v1alpha1"
    API_VERSION: ClassVar[str] = "weir.dev/v1alpha1"
    KIND: ClassVar[str] = "ChangePolicy"
    PLURAL: ClassVar[str] = "changepolicies"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all",),
        columns=(
            PrinterColumn("Suspended", ".spec.suspend", "boolean"),
            READY_COLUMN,
            STATUS_COLUMN,
            AGE_COLUMN,
        ),
    )

    spec: ChangePolicySpec
    status: ChangePolicyStatus = ChangePolicyStatus()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The policy in a JSON document, an UnreadablePolicy if it does not fit its type."""
        return cls.from_object(msgspec.json.decode(data))

    @classmethod
    def from_object(cls, value: Mapping[str, Any]) -> Self:
        """The policy in a parsed document, an UnreadablePolicy if it does not fit its type."""
        try:
            return super().from_object(value)
        except msgspec.ValidationError as error:
            head = msgspec.convert(value, _Head)
            unreadable = UnreadablePolicy(
                metadata=head.metadata, spec=ChangePolicySpec(), status=head.status, problem=str(error)
            )
            return cast("Self", unreadable)


class UnreadablePolicy(ChangePolicy, frozen=True, kw_only=True):
    """A stored policy that does not fit its type. Nobody knows whom it is about: it stops the whole namespace."""

    problem: str
    """What is wrong, and at which field."""
