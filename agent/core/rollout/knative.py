"""A Knative Service as a target: its revisions are the versions, so nothing is copied and nothing is scaled.

Which revision serves is noted on the Service under Flagger's annotation; `spec.traffic` splits between it and the
latest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from agent.api.canary import Canary
from agent.core.judge.queries import Fleet
from agent.core.models.serving import server_of
from agent.core.objects import Manifest, annotations_of, labels_of, split_api_version
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.changes import identity
from agent.core.rollout.hashing import PREFIX
from agent.core.rollout.plan import TOTAL_WEIGHT, Plan, Provider
from agent.core.rollout.readiness import READY, Readiness
from agent.core.rollout.snapshot import Workload

GROUP = "serving.knative.dev"
KIND = "Service"
PRIMARY = "flagger.app/primary-revision"
"""Annotation on the Service: the revision that serves when nothing is being rolled out."""
_BY_KNATIVE: Final = frozenset(
    f"{GROUP}/{name}"
    for name in (
        "configuration", "configurationGeneration", "configurationUID", "creator", "lastModifier", "routes",
        "routingState", "routingStateModified", "service", "serviceUID",
    )
)  # fmt: skip
"""Labels and annotations that Knative gives each revision."""
_LONGEST: Final = 63
_HEAD: Final = _LONGEST - 32
"""Characters that a name keeps where the rest is hashed."""


class Revisions(msgspec.Struct, frozen=True):
    """The Service, the latest revision and the one that serves; None for one that is not there."""

    service: Manifest
    latest: Manifest | None = None
    primary: Manifest | None = None


class Facts(msgspec.Struct, frozen=True):
    """What the machine has to know. `matches`: the latest revision is the one that serves."""

    target: Workload | None
    primary: Workload | None
    matches: bool


def is_knative(canary: Canary) -> bool:
    """Whether the target is a Knative Service."""
    reference = canary.spec.target_ref
    return reference.kind == KIND and split_api_version(reference.api_version)[0] == GROUP


def refused_knative(canary: Canary, plan: Plan) -> tuple[str, str] | None:
    """(reason, text) where provider and target do not go together, or the Canary asks for what there is not."""
    if not is_knative(canary):
        return "TargetNotSupported", f"provider knative needs a target of kind Service, apiVersion {GROUP}/v1"
    if plan.provider != Provider.KNATIVE:
        return "ProviderNotSupported", f"a Knative Service needs provider knative, not {plan.provider}"
    if canary.spec.autoscaler_ref is not None:
        return "AutoscalerNotSupported", "Knative scales its revisions itself: remove autoscalerRef"
    if plan.matched:
        return "ProviderNotSupported", "provider knative splits by weight only: remove analysis.match"
    return None


def child_name(parent: str, suffix: str) -> str:
    """The name of an object that belongs to `parent`, at most 63 characters, as Knative's libraries build it."""
    if len(parent) + len(suffix) <= _LONGEST:
        return parent + suffix
    if len(suffix) >= _HEAD:
        name = parent[:_HEAD] + _md5(parent + suffix)
        return name + suffix[: _LONGEST - len(name)]
    return parent[: _HEAD - len(suffix)] + _md5(parent) + suffix


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def revision_fleet(revision: str) -> Fleet:
    """The pods of a revision."""
    return Fleet(child_name(revision, "-deployment"))


def latest_name(service: Mapping[str, Any]) -> str:
    """The revision that was created last; empty before the first one."""
    return str((service.get("status") or {}).get("latestCreatedRevisionName") or "")


def primary_name(service: Mapping[str, Any]) -> str:
    """The revision that serves; empty if no rollout has taken the Service over."""
    return annotations_of(service).get(PRIMARY, "")


def before_and_after(revisions: Revisions) -> tuple[Manifest, Manifest] | None:
    """The Service as it was for the revision that serves, and as it is for the latest one; None if one is missing."""
    service, before, after = revisions.service, revisions.primary, revisions.latest
    if before is None or after is None:
        return None
    was, now = ({**service, "spec": {"template": _template(one)}} for one in (before, after))
    return was, now


def _template(revision: Manifest) -> Manifest:
    """What a revision was made of; how it is scaled stands in annotations."""
    noted = {
        name: {key: value for key, value in values.items() if key not in _BY_KNATIVE}
        for name, values in (("annotations", annotations_of(revision)), ("labels", labels_of(revision)))
    }
    return {"metadata": noted, "spec": revision["spec"]}


def serving(name: str, weights: Weights = HOME) -> dict[str, Any]:
    """JSON merge patch: `name` serves, and the latest revision gets the canary's share."""
    return {"metadata": {"annotations": {PRIMARY: name}}, **split(name, weights)}


def split(name: str, weights: Weights) -> dict[str, Any]:
    """JSON merge patch of the traffic alone."""
    traffic = [
        {"latestRevision": True, "percent": weights.canary},
        {"latestRevision": False, "revisionName": name, "percent": weights.primary},
    ]
    return {"spec": {"traffic": traffic}}


def released() -> dict[str, Any]:
    """JSON merge patch: Knative sends everything to the latest revision again, as without a Canary."""
    traffic = [{"latestRevision": True, "percent": TOTAL_WEIGHT}]
    return {"metadata": {"annotations": {PRIMARY: None}}, "spec": {"traffic": traffic}}


def weights_of(service: Mapping[str, Any]) -> Weights | None:
    """The share of the latest revision, as stored; None if the traffic was not split by a rollout."""
    entries = service["spec"].get("traffic") or ()
    if not any(entry.get("revisionName") for entry in entries):
        return None
    latest = sum(int(entry.get("percent") or 0) for entry in entries if entry.get("latestRevision"))
    return Weights(TOTAL_WEIGHT - latest, latest)


def revision_hash(name: str) -> str:
    """How a status names a revision."""
    return PREFIX + hashlib.sha256(name.encode()).digest()[:8].hex()


def facts(revisions: Revisions, plan: Plan, since: datetime | None, now: datetime) -> Facts:
    """`since`: when the Canary last moved, from which the deadline counts."""
    latest, primary = latest_name(revisions.service), primary_name(revisions.service)
    return Facts(
        _workload(latest, revisions.latest, plan, since, now) if latest else None,
        _workload(primary, revisions.primary, plan, since, now) if primary else None,
        bool(latest) and latest == primary,
    )


def _workload(name: str, found: Manifest | None, plan: Plan, since: datetime | None, now: datetime) -> Workload:
    revision = revision_hash(name)
    containers = ((found or {}).get("spec") or {}).get("containers") or ()
    return Workload(
        hash=revision,
        replicas=1,
        ready=_ready(name, found, plan, since, now),
        images=tuple(container.get("image", "") for container in containers),
        identity=identity(plan, revision, {}),
        server=server_of((found or {}).get("spec") or {}),
        fleet=revision_fleet(name),
    )


def _ready(name: str, found: Manifest | None, plan: Plan, since: datetime | None, now: datetime) -> Readiness:
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    if any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions):
        return READY
    state = "get query error: not found" if found is None else "is not ready"
    late = since is not None and since + timedelta(seconds=plan.deadline) < now
    return Readiness(f"Knative Revision {name}.{plan.namespace} {state}", retriable=not late)
