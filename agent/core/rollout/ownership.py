"""Which fields of Git's objects belong to a rollout as long as its Canary exists.

A GitOps agent that applies these fields fights with the rollout: it brings a rejected revision's pods back, points
clients past the primary, moves traffic. It has to leave them as they are and to leave them out of drift, while all
other fields of the same object stay Git's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.api.canary import Canary, CanaryPhase
from agent.core.objects import ObjectKey, split_api_version
from agent.core.rollout.hashing import STOP
from agent.core.rollout.kserve.content import GROUP as KSERVE_GROUP
from agent.core.rollout.kserve.content import KINDS, owned_pointers
from agent.core.rollout.plan import SERVICE_KIND, Provider

FIELD_MANAGER = "weir-canary"
"""Under this name the API server keeps what a rollout wrote, apart from what the applier did."""
ANALYSING = "weir.dev/analysing"
"""Annotation on a Canary: what is being judged, or was last; one line for each change."""
GATEWAY_GROUP = "gateway.networking.k8s.io"
ISTIO_GROUP = "networking.istio.io"
WANTED_REPLICAS = "weir.dev/replicas"
"""Annotation on a target by which the applier passes on the `spec.replicas` that Git asks for and it left out. The
rollout scales target and primary to it where no autoscaler is referenced."""

_SCALABLE = frozenset({"Deployment", "StatefulSet"})


def owned_fields(canaries: Iterable[Canary], *, default_provider: str = "") -> Mapping[ObjectKey, frozenset[str]]:
    """JSON pointers that rollouts own, by object.

    `default_provider` is the one for Canaries that name none. A Canary owns from the moment that its rollout is set up
    (a phase is in its status), which is before anything is scaled or rerouted; one that nobody acts on owns nothing.
    One that is being deleted owns nothing any more, unless its finalizer is at work.
    """
    owned: dict[ObjectKey, frozenset[str]] = {}
    for canary in canaries:
        if canary.status.phase is CanaryPhase.NONE or (canary.is_deleting and not canary.metadata.finalizers):
            continue
        for key, pointers in _of(canary, canary.spec.provider or default_provider):
            owned[key] = owned.get(key, frozenset()) | pointers
    return owned


def _of(canary: Canary, provider: str) -> Iterable[tuple[ObjectKey, frozenset[str]]]:
    target, namespace = canary.spec.target_ref, canary.namespace
    group, _ = split_api_version(target.api_version)
    if target.kind in _SCALABLE:
        yield ObjectKey(group, target.kind, namespace, target.name), frozenset({"/spec/replicas"})
    if target.kind == "DaemonSet":
        stop = f"/spec/template/spec/nodeSelector/{STOP.replace('/', '~1')}"
        yield ObjectKey(group, target.kind, namespace, target.name), frozenset({stop})
    if provider == Provider.KSERVE:
        if target.kind in KINDS:
            yield ObjectKey(KSERVE_GROUP, target.kind, namespace, target.name), owned_pointers(target.kind)
        return
    if provider == Provider.KNATIVE:
        yield ObjectKey(group, target.kind, namespace, target.name), frozenset({"/spec/traffic"})
        return
    if canary.spec.service is None:
        return
    if target.kind != SERVICE_KIND:  # a Service that is the target is what Git changes
        service = ObjectKey("", SERVICE_KIND, namespace, canary.service_name)
        yield service, frozenset({"/spec/selector", "/spec/ports"})
    if provider == Provider.GATEWAY_API:
        route = ObjectKey(GATEWAY_GROUP, "HTTPRoute", namespace, canary.service_name)
        yield route, frozenset({"/spec/rules", "/spec/parentRefs", "/spec/hostnames"})
    if provider == Provider.ISTIO:
        mesh = ObjectKey(ISTIO_GROUP, "VirtualService", namespace, canary.service_name)
        yield mesh, frozenset({"/spec/http", "/spec/tcp", "/spec/hosts", "/spec/gateways"})
