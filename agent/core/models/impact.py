"""Who is affected by a change, from names alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agent.core.models.extract.kserve import FRAMEWORKS
from agent.core.models.record import Impact
from agent.core.models.rendered import Object, RenderedSet
from agent.core.models.uses import components, used_by
from agent.core.objects import ObjectKey, split_api_version

_KSERVE: Final = "serving.kserve.io"
RUNTIMES: Final = frozenset({"ServingRuntime", "ClusterServingRuntime"})
_SERVICES: Final = ("InferenceService", "LLMInferenceService", "LLMInferenceServiceConfig")
_SPECIAL: Final = re.compile(r"[\\^$.|?*+()\[\]{}]")
_STEPS: Final = 8
"""Longest chain of uses that is followed."""


UsersElsewhere = Callable[[ObjectKey, Object], Mapping[str, Iterable[ObjectKey]]]
"""(key, object) -> the objects of other builds that use it, by their Kustomization (``namespace/name``, or empty)."""


class ImpactIndex:
    """Canaries by target, and objects by what they use; made once per comparison and only when something changed."""

    def __init__(
        self,
        rendered: RenderedSet,
        kustomization: str,
        canaries: Iterable[Object] = (),
        elsewhere: UsersElsewhere | None = None,
        before: RenderedSet | None = None,
    ) -> None:
        """*canaries* are those of the cluster; the ones in *rendered* are found here.

        *elsewhere* knows who uses an object from other builds. *before* is the build as it was: who used an object for
        what it offered then is affected as well.
        """
        self.kustomizations = (kustomization,) if kustomization else ()
        self._rendered = rendered
        self._builds = (rendered,) if before is None else (rendered, before)
        self._elsewhere = elsewhere
        self._users: dict[ObjectKey, set[ObjectKey]] | None = None
        self._canaries: dict[ObjectKey, set[str]] = {}
        for canary in (*canaries, *(obj for _, obj in rendered.of_kind("flagger.app", "Canary"))):
            self._add_canary(canary)

    def of(self, key: ObjectKey) -> Impact:
        """The impact of a change in the object *key*: whoever uses it, whoever uses those, and all their canaries."""
        reached = self.users_of(key)
        others: set[str] = set()
        for one in (key, *sorted(reached)):
            entry = self._rendered.entries.get(one)
            if entry is None or self._elsewhere is None:
                continue
            for kustomization, users in self._elsewhere(one, entry.object).items():
                others.add(kustomization)
                reached |= set(users)
        canaries = set().union(*(self._canaries.get(one, set()) for one in (key, *reached)))
        names = (*self.kustomizations, *sorted(others - {*self.kustomizations, ""}))
        return Impact(names, tuple(sorted(canaries)), tuple(sorted(map(str, reached))))

    def is_canaried(self, key: ObjectKey) -> bool:
        """Whether a Canary targets the object itself."""
        return key in self._canaries

    def users_of(self, key: ObjectKey) -> set[ObjectKey]:
        """The objects of the build that use this one, in one or several steps."""
        if self._users is None:
            self._users = self._index()
        reached: set[ObjectKey] = set()
        edge = {key}
        for _ in range(_STEPS):
            edge = set().union(*(self._users.get(one, set()) for one in edge)) - reached - {key}
            if not edge:
                break
            reached |= edge
        return reached

    def _index(self) -> dict[ObjectKey, set[ObjectKey]]:
        users: dict[ObjectKey, set[ObjectKey]] = {}
        # kustomize gives a namespace to objects of kinds that it does not know, also to those that have none.
        spelled = {
            key._replace(namespace=""): key
            for key in self._rendered.entries
            if key.namespace and key.kind.startswith("Cluster")
        }
        for key, entry in self._rendered.entries.items():
            for used in self._preferred(set(used_by(entry.object))):
                users.setdefault(spelled.get(used) or self._rendered.paired(used), set()).add(key)
        for used, user in (*self._chosen_runtimes(), *self._by_address(), *self._by_selector()):
            users.setdefault(used, set()).add(user)
        return users

    def _preferred(self, used: set[ObjectKey]) -> set[ObjectKey]:
        """*used* without the runtimes of the cluster that one of the namespace goes before."""
        nearer = {one.name for one in used if one.kind == "ServingRuntime" and one in self._rendered.entries}
        return (
            {one for one in used if one.kind != "ClusterServingRuntime" or one.name not in nearer} if nearer else used
        )

    def _chosen_runtimes(self) -> Iterable[tuple[ObjectKey, ObjectKey]]:
        """Services that name no runtime get one by the format of their model: each candidate may be it."""
        offered: dict[str, set[ObjectKey]] = {}
        for kind in RUNTIMES:
            for key, runtime in self._of_kind(kind):
                for form in _items(_map(runtime, "spec"), "supportedModelFormats"):
                    if form.get("autoSelect"):
                        offered.setdefault(str(form.get("name")), set()).add(key)
        for key, service in self._rendered.of_kind(_KSERVE, "InferenceService") if offered else ():
            for wanted in _formats(service):
                for runtime_key in offered.get(wanted, ()):
                    if _in_reach(runtime_key, key):
                        yield runtime_key, key

    def _of_kind(self, kind: str) -> Iterable[tuple[ObjectKey, Object]]:
        """The objects of a kind of KServe as they are and as they were."""
        return (found for build in self._builds for found in build.of_kind(_KSERVE, kind))

    def _by_address(self) -> Iterable[tuple[ObjectKey, ObjectKey]]:
        """Caches of a model, and containers that fetch an address, are used by services with such an address."""
        whole = [
            (key, f"{address.rstrip('/')}/")
            for kind in ("LocalModelCache", "LocalModelNamespaceCache")
            for key, cache in self._of_kind(kind)
            if (address := str(_map(cache, "spec").get("sourceModelUri") or ""))
        ]
        beginnings = [
            (key, beginning)
            for key, container in self._of_kind("ClusterStorageContainer")
            for form in _items(_map(container, "spec"), "supportedUriFormats")
            if (beginning := _beginning(form))
        ]
        services = (found for kind in _SERVICES for found in self._rendered.of_kind(_KSERVE, kind))
        for key, service in services if whole or beginnings else ():
            for address in _addresses(service):
                # A cache holds what is below its address, too.
                caches = (used for used, wanted in whole if f"{address}/".startswith(wanted))
                yield from ((used, key) for used in caches if _in_reach(used, key))
                yield from ((used, key) for used, beginning in beginnings if address.startswith(beginning))

    def _by_selector(self) -> Iterable[tuple[ObjectKey, ObjectKey]]:
        """Adapters and models that are placed into the pods of workloads with such labels."""
        placed = [
            (key, _map(_map(_map(obj, "spec"), "podSelector"), "matchLabels"))
            for kind in ("ModelAdapter", "ModelClaim")
            for key, obj in self._rendered.of_kind("model.aibrix.ai", kind)
        ]
        for user, labels in placed:
            for key, entry in self._rendered.entries.items() if labels else ():
                spec = _map(entry.object, "spec") if key.namespace == user.namespace else {}
                own = _map(_map(_map(spec, "template"), "metadata"), "labels")
                if own and labels.items() <= own.items():
                    yield key, user

    def _add_canary(self, canary: Object) -> None:
        metadata, spec = _map(canary, "metadata"), _map(canary, "spec")
        target = _map(spec, "targetRef")
        namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
        group, _ = split_api_version(str(target.get("apiVersion") or "apps/v1"))
        key = ObjectKey(group, str(target.get("kind") or ""), namespace, str(target.get("name") or ""))
        self._canaries.setdefault(key, set()).add(f"Canary/{namespace}/{name}" if namespace else f"Canary/{name}")


def _map(parent: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = parent.get(field)
    return value if isinstance(value, Mapping) else {}


def _items(parent: Mapping[str, Any], field: str) -> Iterable[Mapping[str, Any]]:
    value = parent.get(field)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _in_reach(used: ObjectKey, user: ObjectKey) -> bool:
    """Whether *used* is of the cluster, even where kustomize gave it a namespace, or of the namespace of *user*."""
    return used.kind in {"ClusterServingRuntime", "LocalModelCache"} or used.namespace in {"", user.namespace}


def _formats(service: Object) -> Iterable[str]:
    """The formats of a service's models for which it names no runtime."""
    for component in components(service):
        model = _map(component, "model")
        if model and not model.get("runtime"):
            yield str(_map(model, "modelFormat").get("name"))
        yield from (name for name in FRAMEWORKS if isinstance(component.get(name), Mapping))


def _addresses(service: Object) -> Iterable[str]:
    """What a service of KServe loads, as written."""
    model = _map(_map(service, "spec"), "model")  # of LLMInferenceService and its configs
    blocks = [model, *_items(_map(model, "lora"), "adapters")]
    for component in components(service):
        blocks += [block for block in component.values() if isinstance(block, Mapping)]
        blocks += _items(component, "storageUris")
    found = (block.get(field) for block in blocks for field in ("storageUri", "uri"))
    return [address for address in found if isinstance(address, str)]


def _beginning(form: Mapping[str, Any]) -> str:
    """The text that fitting addresses begin with. Nobody else's expression is evaluated: it may take for ever."""
    if form.get("prefix"):
        return str(form["prefix"])
    return _SPECIAL.split(str(form.get("regex") or "").removeprefix("^"), maxsplit=1)[0]
