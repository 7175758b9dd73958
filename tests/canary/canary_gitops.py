"""The whole agent over a repository that holds a Canary and its target, and a hook that judges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.adapters.kube.config import load
from agent.app import serve
from agent.settings import Address, Settings
from testbed.controlplane import ControlPlane
from testbed.ports import free_port

KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
REPOSITORY = ("source.toolkit.fluxcd.io/v1", "GitRepository")


class Judge:
    """A hook that refuses some versions of the model."""

    def __init__(self) -> None:
        self.refuses = False

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(status=500 if self.refuses else 200, text="worse than before")


@asynccontextmanager
async def whole_agent(control_plane: ControlPlane, namespace: str, folder: Path, **changed: Any) -> AsyncIterator[str]:
    """An agent with all roles for one namespace until the block ends; the address of its API."""
    addresses = [Address(host="127.0.0.1", port=free_port()) for _ in range(4)]
    settings = Settings(
        storage_path=folder,
        watch_all_namespaces=False,
        runtime_namespace=namespace,
        storage_addr=addresses[0],
        storage_adv_addr=str(addresses[0]),
        health_addr=addresses[1],
        metrics_addr=addresses[2],
        api_addr=addresses[3],
        mesh_provider="kubernetes",
        minimum_analysis_interval=0.3,
        interval_jitter=0.0,
        renderers=1,
        **changed,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(settings, await load(str(control_plane.kubeconfig)), stop))
        try:
            yield f"http://{addresses[3]}"
        finally:
            stop.set()
