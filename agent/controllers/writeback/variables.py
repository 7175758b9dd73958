"""Where the variables of a Kustomization come from that applies a target: its own spec, and ConfigMaps.

A reference that is put together from variables stands in no file of the build. It stands where the Kustomization object
or the ConfigMap does, if another Kustomization applies that from the same repository.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import CONFIG_MAPS, SECRETS
from agent.api.kustomization import Kustomization, PostBuild
from agent.core.models import RenderedSet
from agent.core.normalize import OWNER_NAME, OWNER_NAMESPACE
from agent.core.objects import ObjectKey, labels_of
from agent.core.rollout.quarantine import Rejected
from agent.runtime.store import Store

_SHORTEST = 2
Replaced = Mapping[tuple[str, str], Mapping[str, str]]
"""Variables of ConfigMaps by (kind, name), in place of those that the cluster has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An object that holds variables, and the Kustomization that applies it from the same source.

    Without one, `problem` says why nothing can be written there: a relative clause.
    """

    key: ObjectKey
    applied_by: Kustomization | None = None
    problem: str = ""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def names(self, entry: Rejected) -> str:
        """The first variable that is part of the rejected reference and not of the earlier one; empty if none is."""
        found = (
            name
            for name, value in self.values.items()
            if len(value) >= _SHORTEST and value in entry.rejected and value not in entry.restore
        )
        return next(found, "")


async def origins_of(
    kustomization: Kustomization, client: KubeClient, others: Store[Kustomization]
) -> tuple[Origin, ...]:
    """Where its variables come from. What cannot be read has no variables here; a build says so itself."""
    post = kustomization.spec.post_build
    if post is None:
        return ()
    found: list[Origin] = []
    namespace = kustomization.namespace
    for reference in post.substitute_from:
        resource = SECRETS if reference.kind == SECRETS.kind else CONFIG_MAPS
        key = ObjectKey("", resource.kind, namespace, reference.name)
        try:
            obj = await client.find(resource, namespace, reference.name)
        except ApiError:
            obj = None
        if obj is None:
            continue
        data = obj.get("data") or {}
        if resource is SECRETS:
            values = {name: base64.b64decode(value).decode(errors="replace") for name, value in data.items()}
            found.append(Origin(key=key, problem="whose values are not written to Git", values=values))
            continue
        values = {name: str(value) for name, value in data.items()}
        origin = _applied(key, labels_of(obj), values, kustomization, others)
        found.append(_unshared(origin, kustomization, others))
    if post.substitute:
        key = ObjectKey(Kustomization.GROUP, Kustomization.KIND, namespace, kustomization.name)
        found.append(_applied(key, kustomization.metadata.labels, post.substitute, kustomization, others))
    return tuple(found)


def given(kustomization: Kustomization, origin: Origin, build: RenderedSet) -> tuple[Kustomization, Replaced]:
    """The Kustomization, and variables of ConfigMaps, as a build of whoever applies the origin has them."""
    obj = build.get(*origin.key)
    if obj is None:
        return kustomization, {}
    if origin.key.kind == CONFIG_MAPS.kind:
        values = {name: str(value) for name, value in (obj.get("data") or {}).items()}
        return kustomization, {(origin.key.kind, origin.key.name): values}
    try:
        post = msgspec.convert((obj.get("spec") or {}).get("postBuild"), PostBuild | None)
    except msgspec.ValidationError:
        return kustomization, {}
    spec = msgspec.structs.replace(kustomization.spec, post_build=post)
    return msgspec.structs.replace(kustomization, spec=spec), {}


def source_of(kustomization: Kustomization) -> tuple[str, str, str]:
    """Kind, namespace and name of its source."""
    source = kustomization.spec.source_ref
    return source.kind, kustomization.source_namespace, source.name


def _applied(
    key: ObjectKey,
    labels: Mapping[str, str],
    values: Mapping[str, str],
    kustomization: Kustomization,
    others: Store[Kustomization],
) -> Origin:
    parent = others.get(labels.get(OWNER_NAMESPACE, ""), labels.get(OWNER_NAME, ""))
    if parent is None:
        return Origin(key=key, values=values, problem="which no Kustomization here applies")
    if source_of(parent) != source_of(kustomization):
        kind, namespace, name = source_of(parent)
        problem = f"which Kustomization {parent.namespace}/{parent.name} applies from {kind} {namespace}/{name}"
        return Origin(key=key, values=values, problem=problem)
    return Origin(key=key, values=values, applied_by=parent)


def _unshared(origin: Origin, kustomization: Kustomization, others: Store[Kustomization]) -> Origin:
    """With a problem if a Kustomization of another source takes variables from the same ConfigMap."""
    for other in others.list(kustomization.namespace):
        post = other.spec.post_build
        names = {(one.kind, one.name) for one in post.substitute_from} if post is not None else set()
        if source_of(other) != source_of(kustomization) and (origin.key.kind, origin.key.name) in names:
            problem = f"which Kustomization {other.namespace}/{other.name} of another source uses as well"
            return Origin(key=origin.key, values=origin.values, problem=problem)
    return origin
