"""Clients of ours to the real control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, load
from agent.adapters.kube.discovery import Discovery
from testbed.controlplane import ControlPlane


@pytest.fixture(scope="session")
async def cluster(control_plane: ControlPlane) -> Cluster:
    return await load(str(control_plane.kubeconfig))


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster) as client:
        yield client


@pytest.fixture
async def discovery(client: KubeClient) -> Discovery:
    return Discovery(client)
