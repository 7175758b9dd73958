"""Sources that another controller reconciles, played by the test: their kinds, their status, and a file server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from testbed.kube import Admin
from tests.scenarios.conftest import OWN_AGENT, Story

GROUP = "source.toolkit.fluxcd.io"
OTHERS = {"OCIRepository": "ocirepositories", "Bucket": "buckets", "ExternalArtifact": "externalartifacts"}
SPECS: dict[str, dict[str, Any]] = {
    "GitRepository": {"url": "https://git.example/models.git", "interval": "10m"},
    "OCIRepository": {"url": "oci://registry.example/models", "interval": "10m"},
    "Bucket": {"bucketName": "models", "endpoint": "s3.example", "interval": "10m"},
    "ExternalArtifact": {"sourceRef": {"apiVersion": "example.org/v1", "kind": "Pipeline", "name": "models"}},
}


def archive_of(files: Mapping[str, str], *, link: str = "") -> bytes:
    """A gzipped tar with entries for files alone, none for their folders; `link` adds a symbolic link out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    return buffer.getvalue()


class FileServer:
    """Files by path; `answers` are statuses that come first. Counts what it is asked for.

    With `closed_after`, whatever is asked for after so many requests is not answered before `open` is set.
    """

    def __init__(self) -> None:
        self.host = ""
        self.files: dict[str, bytes] = {}
        self.answers: list[int] = []
        self.asked = 0
        self.closed_after: int | None = None
        self.open = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """A file, or a status."""
        self.asked += 1
        if self.closed_after is not None and self.asked > self.closed_after:
            await self.open.wait()
        if self.answers:
            return web.Response(status=self.answers.pop(0))
        content = self.files.get(request.path)
        return web.Response(body=content) if content is not None else web.Response(status=404)


@asynccontextmanager
async def file_server() -> AsyncIterator[FileServer]:
    """A file server on loopback until the block ends."""
    server = FileServer()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.host = f"127.0.0.1:{runner.addresses[0][1]}"
    yield server
    server.open.set()
    await runner.cleanup()


async def install(admin: Admin, folder: Path) -> None:
    """Definitions of the kinds that Weir has no controller for: as much of them as the tests need."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema, "status": schema}}},
    }
    definitions = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                "versions": [version],
            },
        }
        for kind, plural in OTHERS.items()
    ]
    file = folder / "kinds.yaml"
    file.write_text(yaml.safe_dump_all(definitions))
    await admin.apply_files([file])


async def publish(
    story: Story,
    kind: str,
    revision: str,
    *,
    url: str,
    digest: str,
    name: str = "models",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """The source object, as its controller leaves it: nothing in the status but an artifact."""
    labels = {OWN_AGENT: "true"}
    source = {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": story.namespace, "labels": labels},
        "spec": SPECS[kind],
    }
    await story.admin.apply(source)
    artifact: dict[str, Any] = {
        "revision": revision,
        "digest": digest,
        "url": url,
        "path": url.rpartition("/")[2],
        "lastUpdateTime": "2026-01-02T03:04:05Z",
    }
    if metadata:
        artifact["metadata"] = dict(metadata)
    await story.admin.patch(
        f"{GROUP}/v1", kind, story.namespace, name, {"status": {"artifact": artifact}}, subresource="status"
    )


def sha256(content: bytes) -> str:
    """The digest, as controllers write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
