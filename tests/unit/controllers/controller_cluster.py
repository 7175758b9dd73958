"""An API server in memory, as far as the controllers' adapters ask: objects by path, and hooks to make it fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from agent.adapters.kube.errors import Conflict, NoMatch, NotFound
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.podnews import PodNews
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.target import Target
from agent.core.fingerprint import Fingerprint, fingerprint_of
from agent.core.objects import Manifest, ObjectKey

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
GADGETS = Resource("example.org", "v1", "gadgets", "Gadget", namespaced=False)
OWNER = ("team", "app")
LABELS = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "team"}


def config_map(name: str, value: str = "x", namespace: str = "team") -> Manifest:
    """A ConfigMap as the builder prepares it."""
    metadata: dict[str, Any] = {"name": name, "labels": dict(LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}


class FakeDiscovery:
    """Knows the four kinds above."""

    def __init__(self) -> None:
        self.kinds = {(r.api_version, r.kind): r for r in (CONFIG_MAPS, NAMESPACES, DEPLOYMENTS, GADGETS)}

    async def resource(self, api_version: str, kind: str) -> Resource:
        """The resource, or NoMatch."""
        if (api_version, kind) not in self.kinds:
            raise NoMatch(kind, api_version)
        return self.kinds[api_version, kind]

    async def preferred(self, group: str, kind: str) -> Resource:
        """Any version of the kind."""
        for resource in self.kinds.values():
            if (resource.group, resource.kind) == (group, kind):
                return resource
        raise NoMatch(kind, group)

    def invalidate(self, group: str) -> None:
        """Nothing is remembered."""


class FakeLive:
    """A live index that hears of what the applier observed, and of nothing else unless told."""

    def __init__(self) -> None:
        self.seen: dict[ObjectKey, Fingerprint] = {}
        self.versions: dict[ObjectKey, str] = {}
        self.heard: set[ObjectKey] = set()
        self.pods = PodNews(None, on_problem=lambda *_: None)  # type: ignore[arg-type]  # it does not run
        self.reliable = True

    async def follow(self, _resource: Resource) -> None:
        """Everything is watched."""

    def fingerprint(self, key: ObjectKey) -> Fingerprint | None:
        """What was seen last, unless the watch is broken."""
        return self.seen.get(key) if self.reliable else None

    def uid(self, key: ObjectKey) -> str | None:
        """That of what was seen last."""
        return self.seen[key].uid if key in self.seen else None

    def lacks(self, key: ObjectKey) -> bool:
        """True of what was not seen, unless the watch is broken."""
        return self.reliable and key not in self.seen

    def resource_version(self, key: ObjectKey) -> str | None:
        """The version that a test has set."""
        return self.versions.get(key)

    def hears(self, key: ObjectKey) -> bool:
        """Whether a test has said so."""
        return key in self.heard

    def observe(self, key: ObjectKey, live: Mapping[str, Any]) -> Fingerprint:
        """Take note."""
        self.seen[key] = fingerprint_of(live["metadata"])
        return self.seen[key]


class FakeCluster:
    """The client. `refuse(verb, manifest or name)` may raise; `after` is called when a write has been stored."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.calls: list[str] = []
        self.refuse: Callable[[str, str, Manifest], None] = lambda _verb, _name, _body: None
        self.after: Callable[[str, str], None] = lambda _verb, _name: None
        self.discovery = FakeDiscovery()
        self.live = FakeLive()
        self.memory = Memory()
        self.acting_as = ""
        self._versions = itertools.count(1)

    @property
    def target(self) -> Target:
        """What the controllers get."""
        return Target(self, self.discovery, self.live, self.memory)  # type: ignore[arg-type]  # duck-typed on purpose

    def put(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Store an object as somebody else would."""
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"])
        number = str(next(self._versions))
        kept = self.objects.get(path, {}).get("metadata", {}).get("uid") or f"uid-{number}"
        self.objects[path] = {**manifest, "metadata": {**metadata, "uid": kept, "resourceVersion": number}}
        return self.objects[path]

    async def find(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest | None:
        """The object or None."""
        self.calls.append(f"get {resource.kind}/{name}")
        return self.objects.get(resource.path(namespace, name))

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        """The object or NotFound."""
        found = await self.find(resource, namespace, name)
        if found is None:
            raise NotFound(f'{resource.plural} "{name}" not found', status=404)
        return found

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Manifest,
        *,
        field_manager: str,
        dry_run: bool = False,
    ) -> Manifest:
        """Server-side apply, of whole objects."""
        verb = "dry-run" if dry_run else "apply"
        self.calls.append(f"{verb} {resource.kind}/{name}")
        self.refuse(verb, name, body)
        path = resource.path(namespace, name)
        live = self.objects.get(path)
        if dry_run:
            known = (live or {}).get("metadata", {})
            identity = {key: known[key] for key in ("uid", "resourceVersion") if key in known}
            return {**body, "metadata": {**body["metadata"], **identity}}
        stored = self.put(resource, body)
        self.after(verb, name)
        return stored

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete at once, if the preconditions hold."""
        self.calls.append(f"delete {resource.kind}/{name}")
        self.refuse("delete", name, {})
        metadata = self.objects.get(resource.path(namespace, name), {}).get("metadata", {})
        if uid not in (None, metadata.get("uid")) or resource_version not in (None, metadata.get("resourceVersion")):
            raise Conflict("the object has changed", status=409)
        if self.objects.pop(resource.path(namespace, name), None) is None:
            raise NotFound(f'{resource.plural} "{name}" not found', status=404)
