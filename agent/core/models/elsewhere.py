"""Who uses an object from another build: a service its runtime, a workload a ConfigMap that another team applies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from agent.core.models.impact import ImpactIndex
from agent.core.models.rendered import Object, RenderedSet
from agent.core.models.uses import used_by
from agent.core.objects import ObjectKey

BY_MEANING: Final = frozenset(
    {
        "ServingRuntime",
        "ClusterServingRuntime",
        "ClusterStorageContainer",
        "LocalModelCache",
        "LocalModelNamespaceCache",
    }
)
"""Kinds that services may use without naming them: by format, or by address."""
SHARED: Final = BY_MEANING | frozenset(
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
_ANY_SERVICE: Final = ObjectKey("serving.kserve.io", "InferenceService", "", "")
_SERVICES: Final = frozenset({"InferenceService", "LLMInferenceService", "LLMInferenceServiceConfig"})
_WITHOUT_EDGES: Final = frozenset({"ConfigMap", "Secret"})


class Build(NamedTuple):
    """What a Kustomization has applied, one JSON document each; the keys under which each, and all, may be found."""

    documents: tuple[bytes, ...]
    named_by: Mapping[bytes, frozenset[ObjectKey]]
    looked_up_by: frozenset[ObjectKey]


class AppliedBuilds:
    """What the Kustomizations of one cluster have applied, each as `namespace/name`, found by what they use.

    Written by one thread. Others may `read` and look meanwhile: the sets that they find are replaced, never changed.
    """

    def __init__(self) -> None:
        self._builds: dict[str, Build] = {}
        self._users: dict[ObjectKey, frozenset[str]] = {}

    def read(self, kustomization: str, documents: tuple[bytes, ...]) -> Build:
        """What these objects use, one JSON document each; what cannot be read uses nothing.

        A large build takes a while, but only what differs from what the Kustomization has applied is decoded.
        """
        known = self._builds.get(kustomization)
        if known is not None and known.documents == documents:
            return known
        before = known.named_by if known is not None else {}
        named_by = {
            document: before[document] if document in before else frozenset(_named_by(document))
            for document in documents
        }
        return Build(documents, named_by, frozenset[ObjectKey]().union(*named_by.values()))

    def put(self, kustomization: str, build: Build) -> None:
        """A Kustomization has applied this."""
        known = self._builds.get(kustomization)
        if build is known:
            return
        self._move(kustomization, known.looked_up_by if known else frozenset(), build.looked_up_by)
        self._builds[kustomization] = build

    def forget(self, kustomization: str) -> None:
        """What it had applied is gone, or is on another cluster now."""
        known = self._builds.pop(kustomization, None)
        if known is not None:
            self._move(kustomization, known.looked_up_by, frozenset())

    def candidates(self, key: ObjectKey, obj: Object) -> Iterator[tuple[str, tuple[bytes, ...]]]:
        """The builds that may use an object: all that do, and few others."""
        wanted = {key, key._replace(name=str(obj["metadata"]["name"]))}  # a key has no generated hash in its name
        if key.kind in BY_MEANING:
            wanted.add(_ANY_SERVICE._replace(namespace=key.namespace))
        for kustomization in sorted(frozenset[str]().union(*(self._users.get(one, ()) for one in wanted))):
            build = self._builds.get(kustomization)
            if build is not None:
                yield kustomization, build.documents

    def _move(self, kustomization: str, old: frozenset[ObjectKey], new: frozenset[ObjectKey]) -> None:
        for key in old - new:
            others = self._users[key] - {kustomization}
            if others:
                self._users[key] = others
            else:
                del self._users[key]
        for key in new - old:
            self._users[key] = self._users.get(key, frozenset()) | {kustomization}


class Elsewhere:
    """The builds of all Kustomizations of a cluster but one. Asked again for the same object, it says the same."""

    def __init__(self, builds: AppliedBuilds, kustomization: str) -> None:
        self._builds = builds
        self._kustomization = kustomization
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
        found = {}
        for kustomization, documents in self._builds.candidates(key, obj):
            if kustomization == self._kustomization:
                continue
            rendered = RenderedSet([obj, *_decoded(documents)])
            if users := ImpactIndex(rendered, "").users_of(key):
                found[kustomization] = frozenset(users)
        return found


def _named_by(document: bytes) -> Iterator[ObjectKey]:
    """Shared objects that an object names, or a list of them, and for services the namespaces in which they are."""
    for key, entry in RenderedSet.from_json((document,)).entries.items():
        if key.kind in _WITHOUT_EDGES:
            continue
        yield from (used for used in used_by(entry.object) if used.kind in SHARED and used.name)
        if key.group == _ANY_SERVICE.group and key.kind in _SERVICES:
            yield from (_ANY_SERVICE, _ANY_SERVICE._replace(namespace=key.namespace))


def _decoded(documents: Iterable[bytes]) -> list[object]:
    found = []
    for document in documents:
        try:
            found.append(msgspec.json.decode(document))
        except (msgspec.DecodeError, RecursionError):
            continue
    return found
