"""`weir models` and `weir changes`: what serves what, and what changed, by the agent's records and the live objects."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.resource import CANARIES
from agent.api.canary import Canary
from agent.console import output
from agent.console.session import Session
from agent.core.console.served import (
    Applied,
    Seen,
    Served,
    changes_table,
    may_serve,
    models_table,
    moment,
    parts,
    served,
)
from agent.core.inventory import parse_id
from agent.core.objects import ObjectKey

_VERIFIED = "SourceVerified"


async def changes(session: Session, chosen: argparse.Namespace) -> int:
    """The changes that the agent has a record of, the newest first."""
    namespace = "" if chosen.all_namespaces else session.namespace
    found = await session.api.list("changes", namespace=namespace, name=chosen.name or "", kind=chosen.kind)
    found = found[: chosen.limit]
    if chosen.output == "json":
        output.document(found)
    elif found:
        output.lines(changes_table(found, datetime.now(UTC)))
    else:
        output.lines(["the agent has no record of such a change"])
    return 0


async def models(session: Session, chosen: argparse.Namespace) -> int:
    """What serves which model."""
    namespace = "" if chosen.all_namespaces else session.namespace
    applied, seen, verified, canaries = await asyncio.gather(
        _applied(session, namespace, chosen.name or ""),
        brought(session, namespace),
        _verified(session),
        _canaries(session, namespace),
    )
    discovery, records = Discovery(session.client), _Records(seen, verified, canaries)
    answers = await asyncio.gather(*(_of(session, discovery, one, records) for one in applied))
    found = sorted((one for some in answers for one in some), key=lambda one: (one.namespace, one.object, one.slot))
    if chosen.output == "json":
        output.document(found)
    elif found:
        output.lines(models_table(found, datetime.now(UTC)))
    else:
        output.lines(["no object of a Kustomization serves a model there"])
    return 0


@dataclass(frozen=True, slots=True)
class _Records:
    """What is known beside the objects themselves."""

    seen: Sequence[Seen]
    verified: Mapping[str, bool]
    canaries: Sequence[Canary]


async def _of(session: Session, discovery: Discovery, applied: Applied, records: _Records) -> list[Served]:
    """What one applied object serves, by itself or by what a rollout made of it; nothing if it may not be read."""
    key = applied.key
    mine = [change for change in records.seen if change.key == key]
    found: list[Served] = []
    try:
        resource = await discovery.preferred(key.group, key.kind)
        for name, weight in parts(key, records.canaries):
            obj = await session.client.find(resource, key.namespace or None, name)
            if obj is not None:
                found += served(applied, obj, weight, mine, records.verified)
    except (NotFound, Forbidden):
        return []
    return found


async def _applied(session: Session, namespace: str, name: str) -> list[Applied]:
    applied = []
    for kustomization in await session.api.list("kustomizations"):
        for key in _keys(kustomization.get("objects") or ()):
            if not may_serve(key) or (namespace and key.namespace != namespace) or (name and key.name != name):
                continue
            applied.append(
                Applied(
                    key=key,
                    kustomization=f"{kustomization['namespace']}/{kustomization['name']}",
                    source=str(kustomization.get("source", "")),
                    revision=str(kustomization.get("lastAppliedRevision") or ""),
                    stale=_stale(kustomization, key),
                )
            )
    return applied


def _stale(kustomization: Mapping[str, Any], key: ObjectKey) -> dict[str, list[str]]:
    """Pods that run something else than an object of the Kustomization asks for, by slot."""
    name = f"{key.kind}/{key.namespace}/{key.name}"
    found = (entry for entry in kustomization.get("stale") or () if entry.get("object") == name)
    return {str(entry.get("slot")): [str(pod) for pod in entry.get("pods") or ()] for entry in found}


def _keys(ids: Iterable[str]) -> Iterable[ObjectKey]:
    for text in ids:
        try:
            yield parse_id(text)
        except ValueError:
            continue


async def brought(session: Session, namespace: str) -> list[Seen]:
    """The changes that brought references, the newest first; of all namespaces without one. Raises NoAnswerError."""
    found = []
    for entry in await session.api.list("changes", namespace=namespace):
        record: Mapping[str, Any] = entry.get("record") or {}
        target, new, at = record.get("object") or {}, record.get("new") or {}, moment(entry)
        if not new or at is None:
            continue
        key = ObjectKey(
            str(target.get("group", "")),
            str(target.get("kind", "")),
            str(target.get("namespace", "")),
            str(target.get("name", "")),
        )
        slot, canonical = str(record.get("slot", "")), str(new.get("canonical", ""))
        found.append(Seen(key=key, slot=slot, canonical=canonical, at=at, revision=str(entry.get("revision", ""))))
    return found


async def _verified(session: Session) -> dict[str, bool]:
    verified = {}
    for source in await session.api.list("sources"):
        name = f"{source.get('kind')}/{source.get('namespace')}/{source.get('name')}"
        for condition in source.get("conditions") or ():
            if condition.get("type") == _VERIFIED:
                verified[name] = condition.get("status") == "True"
    return verified


async def _canaries(session: Session, namespace: str) -> list[Canary]:
    """The Canaries that can be read; none where there are no Canaries, or no right to see them."""
    try:
        page = await session.client.list(CANARIES, namespace or None)
    except (NotFound, Forbidden):
        return []
    canaries = []
    for stored in page.items:
        try:
            canaries.append(Canary.from_object(stored))
        except msgspec.ValidationError:
            continue
    return canaries
