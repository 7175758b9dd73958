"""Helm itself, and a control plane of this folder's own: other tests install the same CRDs without Helm."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from testbed.binaries import ensure
from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from tests.chart.helm import Helm


@pytest.fixture(scope="session")
async def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    program = (await asyncio.to_thread(ensure, "helm"))["helm"]
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[ControlPlane]:
    """A control plane that no other test file has written to."""
    async with ControlPlane() as running:
        yield running


@pytest.fixture(scope="module")
async def cluster_admin(cluster: ControlPlane) -> AsyncIterator[Admin]:
    async with Admin(cluster.url, cluster.ca_file, cluster.admin_token) as client:
        yield client


@pytest.fixture(scope="module")
def installer(helm: Helm, cluster: ControlPlane) -> Helm:
    """Helm as cluster administrator."""
    return Helm(helm.program, helm.home, cluster.kubeconfig)
