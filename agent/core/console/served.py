"""Which object serves which model, since when and by which commit: from live objects and the agent's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from agent.api.canary import Canary
from agent.core.console.facts import Object, references
from agent.core.console.table import ago, safe, table
from agent.core.models.extract.registry import FAMILIES
from agent.core.models.extract.workloads import ROOTS
from agent.core.objects import ObjectKey
from agent.core.rollout.status import Phase

_SHORT = 10
_COLOURLESS = "-"


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a Kustomization's inventory, and what is known of the Kustomization: `source` as
    `Kind/namespace/name`, the revision that it last applied, and by slot the pods that run something else."""

    key: ObjectKey
    kustomization: str
    source: str
    revision: str
    stale: Mapping[str, Sequence[str]] = {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A change that brought a reference into a slot."""

    key: ObjectKey
    slot: str
    canonical: str
    at: datetime
    revision: str


class Served(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One model, adapter or the like that an object serves; what `weir models -o json` prints.

    `weight` is the share of the traffic in percent where a rollout divides it. `since` and `commit` are those of the
    change that brought the reference, null if the agent has no record of it; `revision` is what the
    Kustomization last applied, which is the latest that can have brought it. `verified`: whether the commit's signature
    was checked and is good; null if nobody asked for a check. `stale` are the pods that have run something
    else for long.
    """

    namespace: str
    object: str
    slot: str
    kind: str
    reference: str
    pinned: bool
    weight: int
    since: datetime | None
    commit: str | None
    revision: str
    kustomization: str
    source: str
    verified: bool | None
    stale: Sequence[str] = ()


def may_serve(key: ObjectKey) -> bool:
    """Whether objects of this kind can name a model."""
    kind = (key.group, key.kind)
    return (kind in FAMILIES or kind in ROOTS) and key.kind not in {"ConfigMap", "Secret"}


def parts(key: ObjectKey, canaries: Iterable[Canary]) -> Iterator[tuple[str, int]]:
    """Names of the objects that serve in the place of this one, with their share of the traffic in percent.

    A Deployment that is rolled out serves by its primary, and by itself while a run gives it traffic.
    """
    for canary in canaries:
        same = (canary.spec.target_ref.kind, canary.namespace, canary.target_name)
        if same == (key.kind, key.namespace, key.name) and canary.status.phase is not Phase.NONE:
            weight = canary.status.canary_weight
            yield canary.primary_name, 100 - weight
            if weight:
                yield key.name, weight
            return
    yield key.name, 100


def served(
    applied: Applied, obj: Object, weight: int, seen: Sequence[Seen], verified: Mapping[str, bool]
) -> Iterator[Served]:
    """What the live object serves. `seen` are the changes of the object's references, the newest first; `verified`
    says of sources by name whether their revision's signature is good."""
    metadata = obj["metadata"]
    for found in references(obj):
        brought = next(
            (change for change in seen if (change.slot, change.canonical) == (found.slot, found.canonical)), None
        )
        yield Served(
            namespace=str(metadata.get("namespace") or ""),
            object=f"{obj['kind']}/{metadata['name']}",
            slot=found.slot,
            kind=found.kind,
            reference=found.text,
            pinned=found.pinned,
            weight=weight,
            since=brought.at if brought else None,
            commit=brought.revision if brought else None,
            revision=applied.revision,
            kustomization=applied.kustomization,
            source=applied.source,
            verified=verified.get(applied.source),
            stale=tuple(applied.stale.get(found.slot, ())),
        )


def models_table(found: Sequence[Served], now: datetime) -> Iterator[str]:
    """For people. A commit after `≤` is the latest that can have brought the reference."""
    head = ("NAMESPACE", "OBJECT", "KIND", "REFERENCE", "PINNED", "TRAFFIC", "SINCE", "COMMIT", "VERIFIED", "STALE")
    yield from table(
        head,
        (
            (
                one.namespace,
                one.object,
                one.kind,
                one.reference,
                "yes" if one.pinned else "no",
                f"{one.weight}%",
                ago(one.since, now),
                short(one.commit) if one.commit else f"≤ {short(one.revision)}",
                {True: "yes", False: "no", None: _COLOURLESS}[one.verified],
                f"{len(one.stale)} pods" if one.stale else "no",
            )
            for one in found
        ),
    )


def changes_table(entries: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Change entries as `/api/v1/changes` has them, for people."""
    head = ("AGO", "OBJECT", "KIND", "CHANGE", "ACTION", "COMMIT", "KUSTOMIZATION", "RUN", "WHAT")
    yield from table(head, (_change(entry, now) for entry in entries))


def short(revision: str) -> str:
    """`main@9a20b1c3d4` for a revision such as `main@sha1:9a20…`."""
    branch, _, digest = revision.rpartition("@")
    commit = digest.rpartition(":")[2][:_SHORT]
    return f"{branch}@{commit}" if branch else commit or "-"


def _change(entry: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    record = entry.get("record") or {}
    target = record.get("object") or {}
    name = "/".join(filter(None, (target.get("kind"), target.get("namespace"), target.get("name"))))
    text = str(entry.get("text", ""))
    # The line names the object again: what comes behind it is what is new here.
    return (
        ago(moment(entry), now),
        name,
        str(record.get("kind", "")),
        str(record.get("op", "")),
        str(record.get("action", "")),
        short(str(entry.get("revision", ""))),
        str(entry.get("kustomization") or "-"),
        _runs(entry),
        safe(text.partition(f"{target.get('name')}: ")[2] or text),
    )


def _runs(entry: Mapping[str, Any]) -> str:
    """`retrain-0a1b2c Succeeded`, for each run of a DataTrigger that the change has started."""
    told = (f"{run.get('name')} {run.get('state')}" for run in entry.get("runs") or () if isinstance(run, Mapping))
    return safe(", ".join(told)) or "-"


def moment(entry: Mapping[str, Any]) -> datetime | None:
    """When a change was seen."""
    try:
        return datetime.fromisoformat(str(entry["at"]))
    except (KeyError, ValueError):
        return None
