"""A Pod's volumes as plain folders, filled and refreshed as the kubelet does.

configMap, secret, downwardAPI and projected (with serviceAccountToken by TokenRequest) are written file by
file, each replaced atomically; emptyDir is an empty folder, hostPath the path itself, persistentVolumeClaim a
folder shared by all Pods that name the claim, an image volume the ``content`` folder of the Image.
"""

import asyncio
import base64
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.node.environment import Lookup, SourceKind, entries_of
from testbed.node.images import Image, find_image
from testbed.node.kubeapi import KubeApi, Obj
from testbed.node.mounts import MountMap
from testbed.node.podfields import FieldError, field_value, resource_value

_TOKEN_SECONDS = 3607  # what the ServiceAccount admission plug-in asks for
_TOKEN_AGE_LIMIT = 0.8  # the kubelet replaces a token once it has lived four fifths of its time


class VolumeError(Exception):
    """A volume cannot be set up now (the kubelet's FailedMount); the message says which and why."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float


class PodVolumes:
    """The volumes of one Pod under ``folder``."""

    def __init__(
        self,
        api: KubeApi,
        pod: Obj,
        folder: Path,
        *,
        lookup: Lookup,
        images: Mapping[str, Image],
        claims: Path,
        allocatable: dict[str, str],
    ) -> None:
        self._api = api
        self._pod = pod
        self._folder = folder
        self._lookup = lookup
        self._images = images
        self._claims = claims
        self._allocatable = allocatable
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._roots: dict[str, Path] = {}

    async def sync(self, pod: Obj) -> None:
        """Create or refresh every volume for the Pod's present state; VolumeError where one cannot be."""
        self._pod = pod
        for volume in pod["spec"].get("volumes") or []:
            try:
                self._roots[volume["name"]] = await self._sync_volume(volume)
            except (VolumeError, FieldError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}": {error}') from error

    def mounts_of(self, container: Obj) -> MountMap:
        """Where the container's mount paths are on this machine."""
        folders: dict[str, Path] = {}
        for mount in container.get("volumeMounts") or []:
            root = self._roots[mount["name"]]
            sub_path = mount.get("subPath")
            folders[mount["mountPath"]] = root / sub_path if sub_path else root
        return MountMap(folders)

    def token_file(self, container: Obj) -> Path | None:
        """Where the container's ServiceAccount token for the API server is, None when it mounts none."""
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes") or []}
        for mount in container.get("volumeMounts") or []:
            projected = volumes[mount["name"]].get("projected") or {}
            for source in projected.get("sources") or []:
                token = source.get("serviceAccountToken")
                if token and not token.get("audience"):
                    return self._roots[mount["name"]] / str(token["path"])
        return None

    async def _sync_volume(self, volume: Obj) -> Path:
        root = self._folder / str(volume["name"])
        if "emptyDir" in volume:
            await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
            return root
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        if "persistentVolumeClaim" in volume:
            claim = str(volume["persistentVolumeClaim"]["claimName"])
            shared = self._claims / str(self._pod["metadata"]["namespace"]) / claim
            await asyncio.to_thread(shared.mkdir, parents=True, exist_ok=True)
            return shared
        if "image" in volume:
            return self._image_content(volume["image"]["reference"])
        files = await self._files_of(volume)
        await asyncio.to_thread(_write_tree, root, files)
        return root

    def _image_content(self, reference: str) -> Path:
        image = find_image(self._images, reference)
        if image is None or image.content is None:
            raise VolumeError(f'failed to pull image "{reference}": not found')
        return image.content

    async def _files_of(self, volume: Obj) -> dict[str, _File]:
        for kind in ("configMap", "secret", "downwardAPI", "projected"):
            if kind in volume:
                break
        else:
            raise VolumeError("this node does not know its type")
        source: Obj = volume[kind]
        mode = int(source.get("defaultMode") or 0o644)
        if kind != "projected":
            return await self._source_files(kind, source, mode)
        files: dict[str, _File] = {}
        for part in source.get("sources") or []:
            for part_kind, part_source in part.items():
                files |= await self._source_files(part_kind, part_source, mode)
        return files

    async def _source_files(self, kind: str, source: Obj, mode: int) -> dict[str, _File]:
        if kind == "configMap":
            return await self._object_files("configmaps", source["name"], source, mode)
        if kind == "secret":
            name = source.get("secretName") or source["name"]
            return await self._object_files("secrets", name, source, mode)
        if kind == "downwardAPI":
            items = source.get("items") or []
            return {i["path"]: _File(self._downward(i).encode(), int(i.get("mode") or mode)) for i in items}
        if kind == "serviceAccountToken":
            return {source["path"]: _File((await self._token(source)).encode(), mode)}
        raise VolumeError(f"projected source {kind} is not supported")

    async def _object_files(self, kind: SourceKind, name: str, source: Obj, mode: int) -> dict[str, _File]:
        found = await self._lookup(kind, name)
        optional = bool(source.get("optional"))
        if found is None:
            if optional:
                return {}
            raise VolumeError(f'{kind.removesuffix("s")} "{name}" not found')
        entries = entries_of(found)
        if not source.get("items"):
            return {key: _File(content, mode) for key, content in entries.items()}
        files: dict[str, _File] = {}
        for item in source["items"]:
            if item["key"] in entries:
                files[item["path"]] = _File(entries[item["key"]], int(item.get("mode") or mode))
            elif not optional:
                raise VolumeError(f'references non-existent {kind.removesuffix("s")} key: "{item["key"]}"')
        return files

    def _downward(self, item: Obj) -> str:
        if "fieldRef" in item:
            return field_value(self._pod, item["fieldRef"]["fieldPath"])
        selector = item["resourceFieldRef"]
        container = next(c for c in self._pod["spec"]["containers"] if c["name"] == selector["containerName"])
        return resource_value(container, selector, self._allocatable)

    async def _token(self, source: Obj) -> str:
        key = (source["path"], source.get("audience", ""))
        known = self._tokens.get(key)
        if known is not None and time.monotonic() < known.renew_at:
            return known.text
        metadata = self._pod["metadata"]
        seconds = int(source.get("expirationSeconds") or _TOKEN_SECONDS)
        spec: Obj = {
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        }
        if source.get("audience"):
            spec["audiences"] = [source["audience"]]
        account = self._pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._api.create(path, request)
        token = _Token(answer["status"]["token"], time.monotonic() + seconds * _TOKEN_AGE_LIMIT)
        self._tokens[key] = token
        return token.text


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically, leaving it alone when it already holds the content."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    draft.chmod(mode)
    draft.replace(path)


def kubeconfig(url: str, ca: bytes, token_file: Path, namespace: str) -> Obj:
    """A kubeconfig that reads its token from ``token_file`` each time, for the Pod's programs."""
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "service-account", "user": {"tokenFile": str(token_file)}}],
        "contexts": [
            {"name": "pod", "context": {"cluster": "cluster", "user": "service-account", "namespace": namespace}}
        ],
        "current-context": "pod",
    }


def _write_tree(root: Path, files: dict[str, _File]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        write_file(root / name, file.content, file.mode)
    for path in root.rglob("*"):
        if path.is_file() and str(path.relative_to(root)) not in files:
            path.unlink()
