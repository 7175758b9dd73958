"""The `weir` command as a process that tests start, kill and stop."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import aiohttp

from testbed.ports import free_port
from testbed.processes import Process, start, until

WEIR = Path(sys.executable).with_name("weir")


class AgentProcess:
    """One replica over one namespace. Ports and storage stay the same over restarts."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path, *flags: str, name: str = "weir") -> None:
        self.storage = folder / f"{name}-storage"
        self.log = folder / f"{name}.log"
        self.health, self.metrics = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._api, self._files = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self.flags = flags
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    async def start(self) -> None:
        """Start the process without waiting for anything."""
        argv = [
            WEIR,
            "run",
            f"--kubeconfig={self._kubeconfig}",
            f"--runtime-namespace={self._namespace}",
            "--watch-all-namespaces=false",
            "--controllers=source,kustomize",
            f"--health-addr={self.health.removeprefix('http://')}",
            f"--metrics-addr={self.metrics.removeprefix('http://')}",
            f"--api-addr={self._api}",
            f"--storage-path={self.storage}",
            f"--storage-addr={self._files}",
            f"--storage-adv-addr={self._files}",
            "--interval-jitter-percentage=0",
            "--requeue-dependency=1s",
            "--renderers=1",
            *self.flags,
        ]
        self._process = await start(argv, log=self.log, name="weir")

    async def probe(self, path: str) -> int:
        """Status of `/healthz` or `/readyz`; 0 while nobody listens."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"{self.health}{path}") as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def ready(self, timeout: float = 60.0) -> None:
        """Wait for `/readyz`."""

        async def is_ready() -> bool:
            return await self.probe("/readyz") == 200

        await until(is_ready, timeout=timeout, what="the agent is ready", process=self.process)

    async def kill(self) -> None:
        """SIGKILL to the process and everything that it has started."""
        if self._process is not None:
            await self._process.kill()
            self._process = None

    async def terminate(self, grace: float) -> int:
        """SIGTERM; the exit status, or -9 if it took longer than `grace` seconds."""
        status = await self.process.stop(grace)
        self._process = None
        return status

    async def writes(self) -> float:
        """How many requests it has made that change objects; its lease is not counted."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.metrics}/metrics") as answer:
            text = await answer.text()
        total = 0.0
        for line in text.splitlines():
            counted = line.startswith("weir_api_requests_total{") and 'resource="leases"' not in line
            if counted and any(f'verb="{verb}"' in line for verb in ("apply", "patch", "create", "update", "delete")):
                total += float(line.rpartition(" ")[2])
        return total

    def lose_storage(self) -> None:
        """What an emptyDir does."""
        shutil.rmtree(self.storage)

    def entries(self, message: str) -> list[dict[str, Any]]:
        """The log lines with that message."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("msg") == message]

    def crashed(self) -> str:
        """The traceback lines of the log, if there are any."""
        text = self.log.read_text() if self.log.exists() else ""
        return "\n".join(line for line in text.splitlines() if "Traceback" in line)
