"""What the JSON API shows: frozen values made from the stores, without secrets."""

from __future__ import annotations

from datetime import datetime

import msgspec

from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.api.meta import Condition
from agent.controllers.changelog import ChangeEntry
from agent.core import conditions as c
from agent.core.trigger.started import StartedRun, StartedRuns


class CountView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many objects of a kind there are."""

    total: int
    ready: int
    suspended: int


class AgentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent itself: `phase` is starting, standby, leading or stopping."""

    version: str
    phase: str
    controllers: tuple[str, ...]
    sources: CountView
    kustomizations: CountView
    rollouts: int


class ConditionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A status condition."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: datetime


class SourceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A source and the artifact that it offers."""

    kind: str
    namespace: str
    name: str
    url: str
    ready: str
    message: str
    suspended: bool
    revision: str | None
    digest: str | None
    artifact_url: str | None
    updated: datetime | None
    conditions: tuple[ConditionView, ...]


class SnapshotView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of a Kustomization's history."""

    digest: str
    status: str
    revision: str | None
    first_reconciled: datetime
    last_reconciled: datetime
    last_duration: str
    total: int


class ChangeView(ChangeEntry, frozen=True, kw_only=True, rename="camel"):
    """A change, and the runs of DataTriggers that it has started."""

    runs: tuple[StartedRun, ...] = ()


class StaleView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A reference of which `pods` have been running something else than Git asks for, for long, since `since`.

    `object` is `Kind/namespace/name`.
    """

    object: str
    slot: str
    text: str
    pods: tuple[str, ...]
    since: datetime


class KustomizationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A Kustomization, what it applied, what of it is stale in pods, and its history (newest first)."""

    namespace: str
    name: str
    source: str
    path: str
    ready: str
    reason: str
    message: str
    suspended: bool
    last_applied_revision: str | None
    last_attempted_revision: str | None
    objects: tuple[str, ...]
    stale: tuple[StaleView, ...]
    conditions: tuple[ConditionView, ...]
    history: tuple[SnapshotView, ...]


def _conditions(conditions: tuple[Condition, ...]) -> tuple[ConditionView, ...]:
    return tuple(
        ConditionView(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            last_transition_time=condition.last_transition_time,
        )
        for condition in conditions
    )


def change_view(entry: ChangeEntry, started: StartedRuns) -> ChangeView:
    """A change with its runs."""
    by = entry.kustomization or entry.source.partition("/")[2]
    fields = {name: getattr(entry, name) for name in ChangeEntry.__struct_fields__}
    return ChangeView(**fields, runs=started.by(entry.record, by.partition("/")[0]))


def source_view(repository: GitRepository, url: str) -> SourceView:
    """A GitRepository; `url` is its address without credentials."""
    ready = c.find(repository.status.conditions, c.READY)
    artifact = repository.status.artifact
    return SourceView(
        kind=GitRepository.KIND,
        namespace=repository.namespace,
        name=repository.name,
        url=url,
        ready=ready.status if ready else "Unknown",
        message=ready.message if ready else "waiting to be reconciled",
        suspended=repository.spec.suspend,
        revision=artifact.revision if artifact else None,
        digest=artifact.digest if artifact else None,
        artifact_url=artifact.url if artifact else None,
        updated=artifact.last_update_time if artifact else None,
        conditions=_conditions(repository.status.conditions),
    )


def kustomization_view(kustomization: Kustomization, stale: tuple[StaleView, ...] = ()) -> KustomizationView:
    """A Kustomization, and what of it pods do not run."""
    status, spec = kustomization.status, kustomization.spec
    ready = c.find(status.conditions, c.READY)
    return KustomizationView(
        namespace=kustomization.namespace,
        name=kustomization.name,
        source=f"{spec.source_ref.kind}/{kustomization.source_namespace}/{spec.source_ref.name}",
        path=spec.path or "./",
        ready=ready.status if ready else "Unknown",
        reason=ready.reason if ready else "",
        message=ready.message if ready else "waiting to be reconciled",
        suspended=spec.suspend,
        last_applied_revision=status.last_applied_revision,
        last_attempted_revision=status.last_attempted_revision,
        objects=tuple(entry.id for entry in status.inventory.entries) if status.inventory else (),
        stale=stale,
        conditions=_conditions(status.conditions),
        history=tuple(
            SnapshotView(
                digest=snapshot.digest,
                status=snapshot.last_reconciled_status,
                revision=(snapshot.metadata or {}).get("revision"),
                first_reconciled=snapshot.first_reconciled,
                last_reconciled=snapshot.last_reconciled,
                last_duration=snapshot.last_reconciled_duration,
                total=snapshot.total_reconciliations,
            )
            for snapshot in status.history
        ),
    )
