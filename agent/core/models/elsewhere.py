"""Who uses an object from another build: a service its runtime, a workload a ConfigMap that another team applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from agent.core.models.impact import ImpactIndex
from agent.core.models.rendered import Object, RenderedSet
from agent.core.objects import ObjectKey

_SERVICES: Final = b'"InferenceService"'
_BY_MEANING: Final = frozenset(
    {
        "ServingRuntime",
        "ClusterServingRuntime",
        "ClusterStorageContainer",
        "LocalModelCache",
        "LocalModelNamespaceCache",
    }
)
"""Kinds that services may use without naming them: by format, or by address."""
SHARED: Final = _BY_MEANING | frozenset(
    {
        "ConfigMap",
        "Secret",
        "PersistentVolumeClaim",
        "LLMInferenceServiceConfig",
        "InferenceService",
        "NIMCache",
        "BaseModel",
        "ClusterBaseModel",
        "FineTunedWeight",
    }
)
"""Kinds that objects of other builds are known to use."""


class OtherBuild(NamedTuple):
    """What another Kustomization has applied: its objects as JSON, and the namespaces that they are in."""

    objects: tuple[bytes, ...]
    namespaces: frozenset[str]


class Elsewhere:
    """The builds of other Kustomizations of the same cluster, by their `namespace/name`.

    Builds of other namespaces are not looked at, and nothing is decoded but what has the name in it, or may mean it.
    """

    def __init__(self, builds: Mapping[str, OtherBuild]) -> None:
        self._builds = builds
        self._found: dict[ObjectKey, dict[str, frozenset[ObjectKey]]] = {}

    def users_of(self, key: ObjectKey, obj: Object) -> Mapping[str, frozenset[ObjectKey]]:
        """The objects that use this one, in one or several steps, by Kustomization."""
        if key.kind not in SHARED:
            return {}
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = self._look(key, obj)
        return known

    def _look(self, key: ObjectKey, obj: Object) -> dict[str, frozenset[ObjectKey]]:
        name = msgspec.json.encode(key.name)
        found = {}
        for kustomization, (documents, namespaces) in self._builds.items():
            if key.namespace and key.namespace not in namespaces:
                continue
            if not any(_may_use(document, name, key) for document in documents):
                continue
            rendered = RenderedSet([obj, *_decoded(documents)])
            if users := ImpactIndex(rendered, "").users_of(key):
                found[kustomization] = frozenset(users)
        return found


def _may_use(document: bytes, name: bytes, key: ObjectKey) -> bool:
    return name in document or (key.kind in _BY_MEANING and _SERVICES in document)


def _decoded(documents: Iterable[bytes]) -> list[object]:
    found = []
    for document in documents:
        try:
            found.append(msgspec.json.decode(document))
        except (msgspec.DecodeError, RecursionError):
            continue
    return found
