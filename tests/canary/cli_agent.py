"""The agent as a cluster has it, behind a Service, and people with rights of their own who use the `weir` command."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agent.adapters.kube.config import load
from agent.app import serve
from agent.settings import Address, Settings
from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.ports import free_port

RBAC = "rbac.authorization.k8s.io/v1"


def machine_address() -> str:
    """An address of this machine that an EndpointSlice may hold: loopback ones are refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses where one would send from
        return str(probe.getsockname()[0])


@asynccontextmanager
async def agent_behind_service(
    control_plane: ControlPlane, admin: Admin, namespace: str, folder: Path, **changes: Any
) -> AsyncIterator[str]:
    """An agent for the Canaries of one namespace until the block ends; the address of its API."""
    host = machine_address()
    api = Address(host=host, port=free_port())
    local = [Address(host="127.0.0.1", port=free_port()) for _ in range(3)]
    settings = Settings(
        **{
            "storage_path": folder,
            "controllers": ("canary",),
            "watch_all_namespaces": False,
            "runtime_namespace": namespace,
            "storage_addr": local[0],
            "storage_adv_addr": str(local[0]),
            "health_addr": local[1],
            "metrics_addr": local[2],
            "api_addr": api,
            "minimum_analysis_interval": 0.3,
            **changes,
        }
    )
    await _service(admin, namespace, api)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(settings, await load(str(control_plane.kubeconfig)), stop))
        try:
            yield f"http://{api}"
        finally:
            stop.set()


async def passes(api: str) -> float:
    """How often the agent has looked at a Canary so far."""
    return await requests(api, "get")


async def requests(api: str, verb: str) -> float:
    """How many such requests the agent has made about Canaries so far."""
    async with aiohttp.ClientSession() as http, http.get(f"{api}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    wanted = ("weir_api_requests_total", f'verb="{verb}"', 'resource="canaries"')
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))


async def _service(admin: Admin, namespace: str, address: Address) -> None:
    await admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "weir", "namespace": namespace},
            "spec": {"ports": [{"name": "api", "port": 9980, "targetPort": address.port}]},
        }
    )
    # The API server's proxy goes by Endpoints alone, and only to addresses of Pods of the namespace.
    await admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "weir", "namespace": namespace},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "weir", "image": "weir:test"}]},
        }
    )
    status = {"status": {"podIP": address.host, "podIPs": [{"ip": address.host}]}}
    await admin.patch("v1", "Pod", namespace, "weir", status, subresource="status")
    pod = {"kind": "Pod", "name": "weir", "namespace": namespace}
    await admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "weir", "namespace": namespace},
            "subsets": [
                {
                    "addresses": [{"ip": address.host, "targetRef": pod}],
                    "ports": [{"name": "api", "port": address.port}],
                }
            ],
        }
    )


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Person:
    """Somebody with a kubeconfig."""

    kubeconfig: Path
    namespace: str

    async def weir(self, *arguments: str) -> Result:
        """Run the command, as from a shell."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent.cli",
            *arguments,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        return Result(process.returncode or 0, out.decode(), err.decode())

    async def at_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run the command on a terminal of its own; exit status and all that was drawn there."""
        ours, theirs = pty.openpty()
        drawn = bytearray()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agent.cli", *arguments),
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        reader = asyncio.create_task(asyncio.to_thread(_drain, ours, drawn))
        status = await process.wait()
        await reader
        os.close(ours)
        return status, drawn.decode()

    async def rollout(self, action: str, *arguments: str) -> Result:
        """`weir rollout` with the agent's Service of the namespace."""
        return await self.weir("rollout", action, "--agent", f"{self.namespace}/weir:api", *arguments)


def _drain(terminal: int, into: bytearray) -> None:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other side is gone
            return
        if not data:
            return
        into += data


async def person(
    control_plane: ControlPlane, admin: Admin, namespace: str, name: str, *rules: dict[str, list[str]]
) -> Person:
    """A ServiceAccount with these rights in the namespace."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    metadata = {"name": name, "namespace": namespace}
    role = {"kind": "Role", "name": name, "apiGroup": RBAC.partition("/")[0]}
    await admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await admin.apply({"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": list(rules)})
    await admin.apply(
        {"apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject], "roleRef": role}
    )
    token = await admin.token(namespace, name)
    return Person(control_plane.kubeconfig_for(token, name=f"{namespace}-{name}"), namespace)


def right(group: str, resource: str, *verbs: str) -> dict[str, list[str]]:
    """A rule of a Role."""
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


LOOK = (
    right("flagger.app", "canaries", "get", "list"),
    right("apps", "deployments", "get"),
    right("", "events", "list"),
    right("", "services/proxy", "get"),
)
COMMAND = right("flagger.app", "canaries", "get", "patch")
