"""A node for the Pods of Jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.node import Access, Image, ProcessNode


@asynccontextmanager
async def job_node(control_plane: ControlPlane, admin: Admin, folder: Path, name: str) -> AsyncIterator[ProcessNode]:
    """Runs the scripts of Pods of the image `shell` as processes, and is no node of the cluster any more at the end."""
    access = Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)
    images = {"shell": Image(entrypoint=("/bin/sh", "-c"))}
    async with ProcessNode(access, workdir=folder, images=images, name=name) as running:
        yield running
    await admin.delete("v1", "Node", None, name)
