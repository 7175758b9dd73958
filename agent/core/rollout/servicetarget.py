"""A core Service as a target: primary and canary are copies of it, and a change of its spec is what is rolled out.

Its pods belong to others, so nothing is scaled and nothing has to become ready. Clients are told apart from the copies
by the router alone: who calls the target itself gets what it selects now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.api.canary import Canary
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.changes import identity
from agent.core.rollout.hashing import content_hash
from agent.core.rollout.judgesettings import JudgeMode
from agent.core.rollout.objects import owner_reference, unmarked
from agent.core.rollout.plan import SERVICE_KIND, Plan
from agent.core.rollout.readiness import READY
from agent.core.rollout.snapshot import Workload

_ALLOTTED = frozenset({"clusterIP", "clusterIPs", "healthCheckNodePort"})
"""What the API server gives to one Service and to no other; it keeps these where a write leaves them out."""
_NOT_COPIED = "kubectl.kubernetes.io/last-applied-configuration"
_HEADLESS = "None"


class Copies(msgspec.Struct, frozen=True):
    """The target, and the copy that serves; None if that is not there or was not read."""

    target: Manifest
    primary: Manifest | None = None


def refused_service(canary: Canary, plan: Plan) -> tuple[str, str] | None:
    """(reason, text) where the Canary asks for what there is not for a Service."""
    if canary.spec.autoscaler_ref is not None:
        return "AutoscalerNotSupported", "a Service has no replicas: remove autoscalerRef"
    if plan.service != plan.target:
        text = f"the target is the clients' Service: remove spec.service.name, or set it to {plan.target}"
        return "TargetNotSupported", text
    if plan.judging.mode not in {None, JudgeMode.COMPATIBILITY}:
        text = "requests are counted by the pods of a workload, which a Service does not have: remove weir.dev/judge"
        return "JudgeNotSupported", text
    return None


def wanted_spec(canary: Canary, target: Mapping[str, Any]) -> dict[str, Any]:
    """The spec that a copy of the target should have, without what the API server allots."""
    spec = bare(target["spec"])
    service = canary.spec.service
    if service is not None and service.traffic_distribution:
        spec["trafficDistribution"] = service.traffic_distribution
    return spec


def bare(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Service's spec without what the API server allots; that it has no address of its own is kept."""
    kept = {name: value for name, value in spec.items() if name not in _ALLOTTED}
    if spec.get("clusterIP") == _HEADLESS:
        kept["clusterIP"] = _HEADLESS
    if spec.get("ports"):
        kept["ports"] = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec["ports"]]
    return kept


def new_copy(canary: Canary, target: Mapping[str, Any], name: str) -> Manifest:
    """A copy that does not exist yet, with the target's labels and annotations but for the marks of its applier."""
    annotations = {key: value for key, value in unmarked(annotations_of(target)).items() if key != _NOT_COPIED}
    return {
        "apiVersion": "v1",
        "kind": SERVICE_KIND,
        "metadata": {
            "name": name,
            "namespace": canary.namespace,
            "labels": unmarked(labels_of(target)),
            "annotations": annotations,
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": wanted_spec(canary, target),
    }


def copy_patch(canary: Canary, target: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch that gives a copy the target's spec; empty where nothing differs."""
    want, have = wanted_spec(canary, target), bare(live["spec"])
    change = {name: value for name, value in want.items() if have.get(name) != value}
    if "selector" in change:
        change["selector"] = {**dict.fromkeys(have.get("selector") or {}), **change["selector"]}
    change |= dict.fromkeys(have.keys() - want.keys())
    return {"spec": change} if change else {}


def facts(canary: Canary, copies: Copies, plan: Plan) -> tuple[Workload, Workload | None, bool]:
    """What the machine has to know of target and primary, and whether the primary is what the target would make it."""
    spec = wanted_spec(canary, copies.target)
    revision = content_hash(spec)
    target = Workload(hash=revision, replicas=1, ready=READY, images=(revision,))
    if copies.primary is None:
        return target, None, False
    serving = content_hash(bare(copies.primary["spec"]))
    matches = serving == revision
    primary = Workload(
        hash=serving,
        replicas=1,
        ready=READY,
        images=(serving,),
        identity=identity(plan, revision, {}) if matches else "",
    )
    return target, primary, matches
