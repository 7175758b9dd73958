"""The DataTrigger kind (weir.dev/v1alpha1): work that starts when data, or a model, changes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from agent.api.changepolicy import ChangeKind
from agent.api.duration import parse_duration
from agent.api.meta import (
    AGE_COLUMN,
    READY_COLUMN,
    STATUS_COLUMN,
    Condition,
    CrdOptions,
    Duration,
    PrinterColumn,
    Resource,
    Time,
    schema,
)
from agent.api.meta import ApiStruct as Struct

GROUP = "weir.dev"
RunState = Literal["Pending", "Running", "Succeeded", "Failed", "Replaced", "Lost"]
RUN_STATES: tuple[RunState, ...] = ("Pending", "Running", "Succeeded", "Failed", "Replaced", "Lost")
"""Pending: about to be created. Replaced: taken back for newer data. Lost: somebody deleted its object."""


class TriggerSource(Struct, frozen=True, kw_only=True):
    """Who brings the references: a Kustomization by its objects, a GitRepository by its files."""

    kind: Annotated[str, schema(enum=["Kustomization", "GitRepository"])]
    """Kind of the source of references."""
    name: str | None = None
    """Name of the object; absent: all of the kind in the namespace."""
    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels that the object has to have, with their values."""


class TriggerObject(Struct, frozen=True, kw_only=True):
    """The objects whose references count."""

    kind: str | None = None
    """Kind of the object, File for files of a repository; absent: any."""
    name: str | None = None
    """RE2 expression that the whole name, or path, has to fit; absent: any."""


class TriggerSelector(Struct, frozen=True, kw_only=True):
    """Which references a trigger watches; what is left out fits everything."""

    sources: tuple[TriggerSource, ...] = ()
    """Kustomizations and GitRepositories of the namespace that are looked at; none means all."""
    kinds: tuple[ChangeKind, ...] = ("data",)
    """Kinds of reference."""
    schemes: tuple[str, ...] = ()
    """Schemes of the canonical form, such as s3, hf, dvc, git-lfs."""
    objects: tuple[TriggerObject, ...] = ()
    """Objects that hold the reference."""
    pattern: str | None = None
    """RE2 expression that the whole canonical form has to fit."""


class DataTriggerSpec(Struct, frozen=True, kw_only=True):
    """What starts which work, and how often."""

    template: dict[str, Any]
    """The run: a Job (batch/v1), an Argo Workflow, a Tekton PipelineRun or a TrainJob. $(weir.uri) and the like are
    filled in. Its name is made from the trigger and the data."""
    selector: TriggerSelector = TriggerSelector()
    """References that are watched."""
    suspend: bool = False
    """Whether nothing is started; runs that go on are still followed."""
    settle_for: Duration = "10s"
    """For how long data has to stay the same before a run starts."""
    concurrency_policy: Annotated[str, schema(enum=["Allow", "Forbid", "Replace"])] = "Forbid"
    """Forbid: one run at a time, the newest data waits. Allow: side by side. Replace: side by side, but a run for data
    that nothing refers to any more is deleted."""
    on_first_sight: Annotated[str, schema(enum=["Record", "Run"])] = "Record"
    """What happens to the data that a source refers to when the trigger sees it first: it is noted, or run."""
    timeout: Duration | None = None
    """How long a run may take; absent: what the template says."""
    successful_runs_history_limit: Annotated[int, schema(minimum=0, maximum=50)] = 3
    """How many runs that succeeded keep their objects."""
    failed_runs_history_limit: Annotated[int, schema(minimum=0, maximum=50)] = 3
    """How many other finished runs keep their objects."""
    service_account_name: str | None = None
    """ServiceAccount of the namespace in whose name runs are created, read and deleted."""
    report_config_map: str | None = None
    """ConfigMap with the report of a run under report.json; $(weir.run) and the like are filled in."""


class PendingData(Struct, frozen=True, kw_only=True):
    """Data that was seen in a slot and for which nothing has been started yet."""

    reference: str
    """Canonical form."""
    digest: str | None = None
    """Digest of the content, where it is known."""
    validator: str | None = None
    """What the digest is made over, and from what."""
    spelling: str | None = None
    """Text in Git, where it is not the canonical form."""
    revision: str | None = None
    """Revision that refers to it."""
    since: Time
    """When it was seen first."""


class TriggerSlot(Struct, frozen=True, kw_only=True):
    """One reference in its place."""

    source: str
    """Kind and name of who brings it."""
    object: str
    """The object that holds it, as Kind/namespace/name; files are File/path."""
    slot: str
    """Logical place in the object."""
    reference: str | None = None
    """Canonical form of the last data that was dealt with; absent while there was none."""
    digest: str | None = None
    """Digest of that content, where it is known."""
    validator: str | None = None
    """What the digest is made over, and from what; only like ones are compared."""
    revision: str | None = None
    """Revision that brought it."""
    run: str | None = None
    """The run for it; absent if there was none."""
    pending: PendingData | None = None
    """Newer data that waits to settle, or for another run."""
    sent: bool = False
    """Whether a rule of a ChangePolicy has it run, not the selector."""


class TriggerRun(Struct, frozen=True, kw_only=True):
    """One run, kept after its object is gone so that the same data is never run twice."""

    name: str
    """Name of the object."""
    kind: str
    """Kind of the object."""
    data: str
    """The digest that it is for; where that is not known, the canonical form."""
    state: Annotated[str, schema(enum=list(RUN_STATES))]
    """How it stands."""
    slots: tuple[str, ...] = ()
    """Places that referred to the data, as Kind/namespace/name slot; ten at most."""
    reference: str | None = None
    """Canonical form of the data."""
    spelling: str | None = None
    """Text in Git, where it is not the canonical form."""
    old_reference: str | None = None
    """Canonical form of what was there before."""
    old_digest: str | None = None
    """Digest of what was there before."""
    revision: str | None = None
    """Revision that brought the data."""
    old_revision: str | None = None
    """Revision that brought the data before."""
    uid: str | None = None
    """Identity of the object, once it exists."""
    started: Time | None = None
    """When the object was created."""
    finished: Time | None = None
    """When the end was seen."""
    message: str | None = None
    """What there is to say about it."""
    verdict: str | None = None
    """What the report says: pass, fail or unknown."""
    metrics: dict[str, float] | None = None
    """Numbers of the report."""
    removed: bool = False
    """Whether the object was deleted for the history limits."""


class SeenSource(Struct, frozen=True, kw_only=True):
    """A source of references, and how far it was looked at."""

    name: str
    """Kind and name."""
    revision: str
    """Of a GitRepository the last revision that was looked at, of a Kustomization the last one with news."""


class DataTriggerStatus(Struct, frozen=True, kw_only=True):
    """What the trigger has seen and started."""

    observed_generation: Annotated[int, schema(format="int64")] = 0
    """The generation that the conditions are about."""
    conditions: tuple[Condition, ...] = ()
    """Ready: runs can be created, and none is in the way. Reconciling: data settles, waits or is worked on."""
    last_handled_reconcile_at: str | None = None
    """The last request for a pass that was followed."""
    last_handled_rerun: str | None = None
    """The last weir.dev/rerun that was followed."""
    sources: tuple[SeenSource, ...] = ()
    """Sources that were looked at."""
    slots: tuple[TriggerSlot, ...] = ()
    """References that are watched."""
    runs: tuple[TriggerRun, ...] = ()
    """Runs, the oldest first."""


class DataTrigger(Resource, frozen=True, kw_only=True):
    """Work that starts when data, or a model, changes: one run for each content."""

    GROUP: ClassVar[str] = GROUP
    VERSION: ClassVar[str] = "v1alpha1"
    API_VERSION: ClassVar[str] = f"{GROUP}/v1alpha1"
    KIND: ClassVar[str] = "DataTrigger"
    PLURAL: ClassVar[str] = "datatriggers"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all",),
        columns=(
            PrinterColumn("Runs", ".spec.template.kind"),
            PrinterColumn("Suspended", ".spec.suspend", "boolean"),
            READY_COLUMN,
            STATUS_COLUMN,
            AGE_COLUMN,
        ),
    )

    spec: DataTriggerSpec
    status: DataTriggerStatus = DataTriggerStatus()

    @property
    def settle_for(self) -> float:
        """Seconds. Raises ValueError."""
        return parse_duration(self.spec.settle_for)

    @property
    def timeout(self) -> float | None:
        """Seconds. Raises ValueError."""
        return parse_duration(self.spec.timeout) if self.spec.timeout is not None else None
