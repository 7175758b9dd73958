"""Everything that the demo runs on: a control plane, a node, a gateway, Prometheus, a Git server, and Weir by Helm."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import aiohttp

from demo.screen import Screen
from testbed.binaries import crd_files, ensure
from testbed.controlplane import ControlPlane
from testbed.gateway import CONTROLLER, ProcessGateway
from testbed.git import GitHTTPServer, GitRepository
from testbed.kube import Admin, condition
from testbed.node import Access, ProcessNode, python_module
from testbed.prometheus import Prometheus, Target

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = Path(__file__).parent / "repository"
WEIR_NAMESPACE = "flux-system"
NAMESPACE = "models"
GATEWAY_API = "gateway.networking.k8s.io/v1"
API_PORT = "9980"
_LOG_LINES = 30


@dataclass
class Stage:
    """What the story plays on."""

    admin: Admin
    git: GitRepository
    git_url: str
    gateway: ProcessGateway
    prometheus: Prometheus
    models: Path
    workdir: Path
    kubeconfig: Path
    node: ProcessNode

    def model(self, revision: str, version: str, **chaos: float) -> None:
        """Publish a model on the hub that this demo plays: a folder."""
        folder = self.models / "acme" / "greeter" / revision
        folder.mkdir(parents=True)
        model = {"name": "greeter", "version": version, "weights": [1, 2], "chaos": chaos}
        (folder / "model.json").write_text(json.dumps(model))

    def manifests(self, revision: str, *, judge: str = "compatibility") -> dict[str, str]:
        """The repository's files with the model reference at a revision, and how rollouts are judged."""
        known = {
            "revision": revision,
            "judge": judge,
            "model_root": str(self.models),
            "prometheus": self.prometheus.url,
        }
        return {
            str(path.relative_to(MANIFESTS)): Template(path.read_text()).substitute(known)
            for path in sorted(MANIFESTS.rglob("*.yaml"))
        }

    async def api(self) -> str:
        """Where Weir's JSON API is: the Pod's port, as the node maps it."""
        for pod in await self.admin.list("v1", "Pod", WEIR_NAMESPACE):
            ports = json.loads(pod["metadata"].get("annotations", {}).get("process-node/ports", "{}"))
            if API_PORT in ports and condition(pod, "Ready") == "True":
                return f"http://127.0.0.1:{ports[API_PORT]}"
        raise LookupError("Weir's Pod is not ready")

    async def ask(self, path: str) -> Any:
        """An answer of Weir's JSON API."""
        async with aiohttp.ClientSession() as session, session.get(await self.api() + path) as response:
            return await response.json()

    async def footprint(self) -> str:
        """What Weir needs: resident memory of its process, and requests to the API server by verb."""
        async with aiohttp.ClientSession() as session, session.get(await self.api() + "/metrics") as response:
            lines = (await response.text()).splitlines()
        resident = 0.0
        requests: Counter[str] = Counter()
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name == "process_resident_memory_bytes":
                resident = float(value)
            elif name.startswith("weir_api_requests_total{"):
                requests[name.partition('verb="')[2].partition('"')[0]] += int(float(value))
        counts = ", ".join(f"{verb} {count}" for verb, count in requests.most_common())
        return f"{resident / 2**20:.0f} MiB resident; API requests: {counts}"


@asynccontextmanager
async def stage(screen: Screen) -> AsyncIterator[Stage]:
    """Build it up, in the order in which a person would, and tear it down."""
    async with AsyncExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-demo-")))
        plane = await stack.enter_async_context(ControlPlane())
        screen.line("Kubernetes API server, etcd and controller manager are up")
        access = Access(plane.url, plane.admin_token, plane.ca_file)
        admin = await stack.enter_async_context(Admin(plane.url, plane.ca_file, plane.admin_token))
        await admin.apply_files(await asyncio.to_thread(crd_files, "gateway-api"))
        images = {"model-server": python_module("testbed.model_server"), "weir": python_module("agent.cli")}
        node = ProcessNode(access, workdir=workdir / "node", images=images)
        await stack.enter_async_context(node)
        gateway = await stack.enter_async_context(ProcessGateway(access))
        await _gateway_class(admin)
        prometheus = await stack.enter_async_context(Prometheus(interval=1.0))
        await prometheus.set_targets("gateway", [Target(f"127.0.0.1:{gateway.metrics_port}")])
        group = await stack.enter_async_context(asyncio.TaskGroup())
        follower = group.create_task(prometheus.follow_pods(access))
        stack.callback(follower.cancel)
        screen.line(f"a node, a gateway at {gateway.url}, Prometheus at {prometheus.url}")
        server = await stack.enter_async_context(GitHTTPServer(workdir / "git"))
        screen.line(f"a Git server with {server.url('serving')}")
        try:
            await _install_weir(plane, admin, prometheus, workdir)
        except TimeoutError:
            await _show_weirs_log(admin, node, screen)
            raise
        screen.line("helm install weir: the agent runs as a Pod with its own ServiceAccount")
        yield Stage(
            admin=admin,
            git=server.repository("serving"),
            git_url=server.url("serving"),
            gateway=gateway,
            prometheus=prometheus,
            models=workdir / "hub",
            workdir=workdir,
            kubeconfig=plane.kubeconfig,
            node=node,
        )


async def _gateway_class(admin: Admin) -> None:
    await admin.apply(
        {
            "apiVersion": GATEWAY_API,
            "kind": "GatewayClass",
            "metadata": {"name": "process"},
            "spec": {"controllerName": CONTROLLER},
        }
    )


async def _install_weir(plane: ControlPlane, admin: Admin, prometheus: Prometheus, workdir: Path) -> None:
    helm = (await asyncio.to_thread(ensure, "helm"))["helm"]
    values = {
        "bindAddress": "127.0.0.1",
        "metricsServer": prometheus.url,
        "leaderElection": False,
        "podAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        "extraArgs": ["--minimum-analysis-interval=2s"],
    }
    file = workdir / "values.json"
    file.write_text(json.dumps(values))
    await _helm(
        *(str(helm), "install", "weir", str(ROOT / "charts" / "weir"), "--values", str(file)),
        *("--namespace", WEIR_NAMESPACE, "--create-namespace"),
        environment={"KUBECONFIG": str(plane.kubeconfig), "HOME": str(workdir)},
    )
    await admin.wait_for(
        "apps/v1",
        "Deployment",
        WEIR_NAMESPACE,
        "weir",
        lambda found: condition(found, "Available") == "True",
        timeout=60,
    )


async def _show_weirs_log(admin: Admin, node: ProcessNode, screen: Screen) -> None:
    for pod in await admin.list("v1", "Pod", WEIR_NAMESPACE):
        log = node.log_path(WEIR_NAMESPACE, pod["metadata"]["name"], "manager")
        for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []:
            screen.line(line, "dim")


async def _helm(*command: str, environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**environment, "PATH": os.environ.get("PATH", "")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"helm failed: {output.decode(errors='replace')}")
