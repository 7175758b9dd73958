"""A control plane of these tests' own: they restart its API server, and no other agent may look at its objects."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_agent import AgentProcess
from fault_world import World

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Admin

CRDS = Path(__file__).parents[2] / "config" / "crd"


@pytest.fixture(scope="session")
async def own_plane() -> AsyncIterator[ControlPlane]:
    """Not the shared one."""
    async with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
async def operator(own_plane: ControlPlane) -> AsyncIterator[Admin]:
    """May do everything; the definitions are there."""
    async with Admin(own_plane.url, own_plane.ca_file, own_plane.admin_token) as client:
        await client.apply_files(sorted(CRDS.glob("*toolkit*.yaml")))
        yield client


@pytest.fixture(scope="session")
async def git(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitHTTPServer]:
    """Anonymous smart HTTP."""
    async with GitHTTPServer(tmp_path_factory.mktemp("fault-git")) as server:
        yield server


@pytest.fixture
async def world(operator: Admin, git: GitHTTPServer) -> World:
    """A namespace and a repository that nothing has been committed to."""
    namespace = f"fault-{secrets.token_hex(3)}"
    await operator.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    await operator.wait_for("v1", "ServiceAccount", namespace, "default", lambda found: found is not None)
    return World(operator, namespace, git)


@pytest.fixture
async def agent(own_plane: ControlPlane, world: World, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The command, not started yet, for the world's namespace; stopped in the end."""
    process = AgentProcess(own_plane.kubeconfig, world.namespace, tmp_path)
    yield process
    await process.kill()
