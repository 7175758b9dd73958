"""A real registry of images and artifacts on loopback, in memory, and a client that pushes small artifacts to it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from testbed.binaries import ensure
from testbed.ports import free_port
from testbed.webserver import web_server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = b"{}"


class OciRegistry:
    """A running registry; `url` is its address without a path."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def push(
        self,
        repository: str,
        tag: str,
        layers: Mapping[str, bytes],
        *,
        artifact_type: str = "application/vnd.cncf.model.manifest.v1+json",
        claimed: int | None = None,
    ) -> str:
        """Push an artifact whose layers are given by media type; the digest of its manifest.

        `claimed` bytes are what the manifest says of each layer, which the registry does not check: large models are
        told of without being made.
        """
        said = {} if claimed is None else {"size": claimed}
        described = [{**await self._blob(repository, data, kind), **said} for kind, data in layers.items()]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": await self._blob(repository, _EMPTY, "application/vnd.oci.empty.v1+json"),
            "layers": described,
        }
        body = json.dumps(manifest).encode()
        url = f"{self.url}/v2/{repository}/manifests/{tag}"
        async with self._http.put(url, data=body, headers={"Content-Type": MANIFEST}) as response:
            response.raise_for_status()
        return _digest(body)

    async def delete(self, repository: str, reference: str) -> None:
        """Take a tag or a manifest away."""
        async with self._http.delete(f"{self.url}/v2/{repository}/manifests/{reference}") as response:
            response.raise_for_status()

    async def _blob(self, repository: str, data: bytes, kind: str) -> dict[str, object]:
        digest = _digest(data)
        url = f"{self.url}/v2/{repository}/blobs/uploads/"
        async with self._http.post(url, params={"digest": digest}, data=data) as response:
            response.raise_for_status()
        return {"mediaType": kind, "digest": digest, "size": len(data)}


@asynccontextmanager
async def oci_registry(folder: Path) -> AsyncIterator[OciRegistry]:
    """A registry that logs into `folder`. Raises ProcessError or BuildError."""
    binary = (await asyncio.to_thread(ensure, "registry"))["registry"]
    port = free_port()
    argv: list[str | Path] = [binary, f"--port={port}"]
    url = f"http://localhost:{port}"
    log = folder / "registry.log"
    async with web_server(argv, name="registry", log=log, probe=f"{url}/v2/", timeout=120) as http:
        yield OciRegistry(url, http)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
