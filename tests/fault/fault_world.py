"""What Git says and what the cluster has: a repository of several Kustomizations, its history made by dice."""

from __future__ import annotations

import random
from typing import Any

import yaml

from testbed.git import GitHTTPServer
from testbed.kube import Admin, condition
from testbed.processes import Process, ProcessError, until

Object = dict[str, Any]
Name = tuple[str, str]

KS = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
REPO = ("source.toolkit.fluxcd.io/v1", "GitRepository")
OWNER = "kustomize.toolkit.fluxcd.io/name"
KINDS = ("ConfigMap", "Secret", "Service", "ServiceAccount")
_VALUE = "example.org/value"


class World:
    """`content[kustomization][(kind, name)]` is the value that the object has at the tip of the branch."""

    def __init__(self, operator: Admin, namespace: str, server: GitHTTPServer) -> None:
        self.operator = operator
        self.namespace = namespace
        self.repository = server.repository(namespace)
        self.content: dict[str, dict[Name, int]] = {}
        self._url = server.url(namespace)
        self._written: set[str] = set()
        self._asked = 0

    def commit(self) -> str:
        """Make the branch say what `content` says."""
        files = {
            f"{folder}/{kind.lower()}-{name}.yaml": yaml.safe_dump(self._manifest(kind, name, value))
            for folder, objects in self.content.items()
            for (kind, name), value in objects.items()
        }
        gone: dict[str, str | None] = dict.fromkeys(self._written - files.keys())
        self._written = set(files)
        return self.repository.commit(files | gone)

    def _manifest(self, kind: str, name: str, value: int) -> Object:
        metadata = {"name": name, "namespace": self.namespace, "annotations": {_VALUE: str(value)}}
        body: Object = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
        match kind:
            case "ConfigMap":
                return body | {"data": {"value": str(value)}}
            case "Secret":
                return body | {"stringData": {"value": str(value)}}
            case "Service":
                return body | {"spec": {"selector": {"app": name}, "ports": [{"port": 1000 + value % 1000}]}}
        return body

    async def declare(self, *, interval: str = "2s", **fields: Object) -> None:
        """Create the GitRepository and one Kustomization a folder; `fields` are added to the spec of one of them."""
        source = {"url": self._url, "interval": interval, "ref": {"branch": "main"}}
        await self._apply(REPO, "repo", source)
        for folder in self.content:
            spec = {
                "interval": "10m",
                "retryInterval": "1s",
                "prune": True,
                "path": f"./{folder}",
                "sourceRef": {"kind": "GitRepository", "name": "repo"},
            }
            await self._apply(KS, folder, spec | fields.get(folder, {}))

    async def _apply(self, kind: tuple[str, str], name: str, spec: Object) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        await self.operator.apply({"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec})

    async def announce(self) -> None:
        """What a webhook does after a push."""
        self._asked += 1
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(self._asked)}}}
        await self.operator.patch(*REPO, self.namespace, "repo", patch)

    async def until_handled(self, timeout: float = 60.0) -> None:
        """Wait until the last announcement has been acted upon."""

        async def handled() -> bool:
            status = (await self.operator.get(*REPO, self.namespace, "repo")).get("status", {})
            return bool(status.get("lastHandledReconcileAt") == str(self._asked))

        await until(handled, timeout=timeout, what="the repository has been looked at")

    async def revision(self) -> int:
        """The number of writes that the API server has seen."""
        resource = await self.operator.resource("v1", "ConfigMap")
        answer = await self.operator.request("GET", resource.path(self.namespace), params={"limit": "1"})
        return int(answer["metadata"]["resourceVersion"])

    async def reason(self, kustomization: str) -> str:
        """The reason of its Ready condition."""
        status = (await self.operator.get(*KS, self.namespace, kustomization))["status"]
        return next((entry["reason"] for entry in status.get("conditions", ()) if entry["type"] == "Ready"), "")

    async def settled(self, commit: str) -> bool:
        """Whether everything is Ready at a commit."""
        found = await self.operator.list(*KS, self.namespace)
        return len(found) == len(self.content) and all(_at(entry, commit) for entry in found)

    async def until_settled(self, commit: str, process: Process | None = None, timeout: float = 90.0) -> None:
        """Wait until everything is Ready at a commit. `process` is who is to do it."""
        try:
            await until(lambda: self.settled(commit), timeout=timeout, what="all is Ready", process=process, every=0.1)
        except ProcessError:
            if process is not None and process.returncode is not None:
                raise
            found = await self.operator.list(*KS, self.namespace)
            late = {entry["metadata"]["name"]: entry.get("status") for entry in found if not _at(entry, commit)}
            raise AssertionError(f"not at {commit} after {timeout:g} s: {late}") from None

    async def owned(self) -> dict[str, dict[Name, int]]:
        """What exists with owner labels, by owner, with its value."""
        owned: dict[str, dict[Name, int]] = {folder: {} for folder in self.content}
        for kind in KINDS:
            for found in await self.operator.list("v1", kind, self.namespace, OWNER):
                metadata = found["metadata"]
                objects = owned.setdefault(metadata["labels"][OWNER], {})
                objects[kind, metadata["name"]] = int(metadata["annotations"][_VALUE])
        return owned

    async def inventories(self) -> dict[str, set[Name]]:
        """What the Kustomizations say that they own."""
        return {
            found["metadata"]["name"]: {
                _parsed(entry["id"]) for entry in (found["status"].get("inventory") or {}).get("entries", ())
            }
            for found in await self.operator.list(*KS, self.namespace)
        }

    async def assert_exact(self, timeout: float = 60.0) -> None:
        """Cluster, inventories and Git all say the same.

        Who gives an object away keeps it in the inventory until the other has it, so the last word may take a moment.
        """
        wanted = {folder: set(objects) for folder, objects in self.content.items()}
        owned = await self.owned()
        assert owned == self.content, f"{owned} instead of {self.content}"

        async def exact() -> bool:
            return await self.inventories() == wanted

        try:
            await until(exact, timeout=timeout, what="the inventories are exact", every=0.2)
        except ProcessError:
            found = await self.inventories()
            wrong = {folder: found.get(folder, set()) ^ names for folder, names in wanted.items()}
            raise AssertionError(f"missing or left over in inventories: {wrong}") from None
        assert await self.owned() == self.content


def _at(kustomization: Object, commit: str) -> bool:
    status = kustomization.get("status", {})
    revision = f"main@sha1:{commit}"
    return (
        condition(kustomization, "Ready") == "True"
        and status.get("lastAppliedRevision") == revision
        and status.get("lastAttemptedRevision") == revision
        and status.get("observedGeneration") == kustomization["metadata"]["generation"]
        and condition(kustomization, "Reconciling") == ""
    )


def _parsed(entry: str) -> Name:
    _, name, group, kind = entry.split("_")
    assert group == ""
    return kind, name


class Dice:
    """Edits of a world's content: objects come, change, go, and move from one Kustomization to another."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._count = 0

    def fill(self, world: World, kustomizations: int, objects: int) -> None:
        """The first content."""
        for index in range(kustomizations):
            folder = f"part-{index}"
            world.content[folder] = {}
            for _ in range(objects):
                self._add(world, folder)

    def edit(self, world: World, edits: int) -> None:
        """Some edits; no Kustomization becomes empty."""
        for _ in range(edits):
            folder = self.random.choice(sorted(world.content))
            objects = world.content[folder]
            name = self.random.choice(sorted(objects))
            match self.random.choice(("add", "change", "change", "remove", "remove", "move")):
                case "add":
                    self._add(world, folder)
                case "change":
                    objects[name] = self._next()
                case "remove" if len(objects) > 1:
                    del objects[name]
                case "move" if len(objects) > 1:
                    other = self.random.choice(sorted(world.content.keys() - {folder}))
                    world.content[other][name] = objects.pop(name)

    def _add(self, world: World, folder: str) -> None:
        value = self._next()
        world.content[folder][self.random.choice(KINDS), f"thing-{value}"] = value

    def _next(self) -> int:
        self._count += 1
        return self._count
