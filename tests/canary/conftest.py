"""A namespace with everything a rollout needs: pods that run, a gateway with clients, a Prometheus, our CRDs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from canary_cluster import CRDS, GATEWAY_API, Rollouts
from canary_gitops import Judge
from loopback import listening

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import load
from testbed.binaries import crd_files
from testbed.controlplane import ControlPlane
from testbed.gateway import CONTROLLER, ProcessGateway
from testbed.kube import Admin, condition
from testbed.node import Access, Image, ProcessNode, python_module
from testbed.prometheus import Prometheus, Target


@pytest.fixture(scope="module")
def access(control_plane: ControlPlane) -> Access:
    return Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)


@pytest.fixture(scope="module")
async def kube(control_plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient(await load(str(control_plane.kubeconfig))) as client:
        yield client


@pytest.fixture(scope="module")
async def node(access: Access, admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessNode]:
    await admin.apply_files(sorted(CRDS.glob("flagger.app_*.yaml")))
    images = {
        "model-server": python_module("testbed.model_server"),
        "sleeper": Image(entrypoint=("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done")),
    }
    workdir = tmp_path_factory.mktemp("node")
    async with ProcessNode(access, workdir=workdir, images=images, name="canary-tests") as running:
        yield running


@pytest.fixture(scope="module")
async def gateway(access: Access, admin: Admin, node: ProcessNode) -> AsyncIterator[ProcessGateway]:
    await admin.apply_files(await asyncio.to_thread(crd_files, "gateway-api"))
    gateway_class = {
        "apiVersion": GATEWAY_API,
        "kind": "GatewayClass",
        "metadata": {"name": "process"},
        "spec": {"controllerName": CONTROLLER},
    }
    async with ProcessGateway(access) as running:
        await admin.apply(gateway_class)
        yield running
        await admin.delete(GATEWAY_API, "GatewayClass", None, "process")


@pytest.fixture(scope="module")
async def prometheus(gateway: ProcessGateway, access: Access) -> AsyncIterator[Prometheus]:
    async with Prometheus(interval=0.25) as running, asyncio.TaskGroup() as group:
        await running.set_targets("gateway", [Target(f"127.0.0.1:{gateway.metrics_port}")])
        follower = group.create_task(running.follow_pods(access))
        yield running
        follower.cancel()


@pytest.fixture
def rollouts(admin: Admin, namespace: str, node: ProcessNode, tmp_path: Path) -> Rollouts:
    """The test's namespace, without a gateway."""
    return Rollouts(admin, namespace, tmp_path)


@pytest.fixture
async def edge(rollouts: Rollouts, gateway: ProcessGateway) -> ProcessGateway:
    """A programmed Gateway named edge in the test's namespace."""
    await rollouts.admin.create(
        {
            "apiVersion": GATEWAY_API,
            "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": rollouts.namespace},
            "spec": {"gatewayClassName": "process", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
        }
    )
    await rollouts.admin.wait_for(
        GATEWAY_API, "Gateway", rollouts.namespace, "edge", lambda found: condition(found, "Programmed") == "True"
    )
    return gateway


@pytest.fixture
async def judge() -> AsyncIterator[tuple[Judge, str]]:
    found = Judge()
    async with listening(found.answer) as url:
        yield found, f"{url}/judge"
