"""Real Git over HTTP, real builds, and a writer between them."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.decryptor import Decryptor
from agent.adapters.forges import Forges
from agent.adapters.git import GitMirrors
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, FixedCredentials
from agent.adapters.renderer import RendererPool
from agent.controllers.kustomization.build import Builder
from agent.controllers.kustomization.decryption import Decryption
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.settings import Settings
from agent.telemetry.metrics import Metrics
from testbed.git import GitHTTPServer
from tests.writeback.writeback_repository import Rollback

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
async def renderer() -> AsyncIterator[RendererPool]:
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    pool = RendererPool(size=1, binary=hook.ensure(PROJECT, "renderer"), timeout=60)
    await pool.start()
    yield pool
    await pool.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitHTTPServer]:
    async with GitHTTPServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
async def rollback(tmp_path: Path, server: GitHTTPServer, renderer: RendererPool) -> AsyncIterator[Rollback]:
    """Nothing is asked of the API server, which is not there."""
    client = KubeClient(Cluster(server="http://127.0.0.1:9", credentials=FixedCredentials()))
    builder = Builder(renderer, Decryption(client, Decryptor(), Settings()), Shortcuts(Metrics(), verify=False))
    async with Forges() as forges:
        yield Rollback(
            git=server.repository("apps"),
            url=server.url("apps"),
            mirrors=GitMirrors(tmp_path / "cache"),
            builder=builder,
            forges=forges,
            client=client,
        )
