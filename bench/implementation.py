"""What is measured: the controllers of an implementation, as commands, with the folder of its definitions."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from testbed.ports import free_port
from testbed.processes import Process, start

_CRDS = Path(__file__).parents[1] / "config" / "crd"
_PORT = re.compile(r"\{port:(\w+)\}")


@dataclass(frozen=True, slots=True)
class Implementation:
    """Commands may hold `{kubeconfig}`, `{folder}` and `{port:name}`; KUBECONFIG and RUNTIME_NAMESPACE are set.

    `metrics` is the name of the port at which event-loop lag and passes are counted, "" if there is none.
    """

    name: str
    commands: tuple[str, ...]
    crds: tuple[Path, ...]
    metrics: str = ""


def weir(*flags: str) -> Implementation:
    """This repository's agent, with its defaults but for addresses and folders."""
    command = [
        str(Path(sys.executable).with_name("weir")),
        "run --controllers=source,kustomize --log-level=error --storage-path={folder}/data",
        "--storage-addr=127.0.0.1:{port:files} --storage-adv-addr=127.0.0.1:{port:files}",
        "--health-addr=127.0.0.1:{port:health} --metrics-addr=127.0.0.1:{port:metrics} --api-addr=127.0.0.1:{port:api}",
        *flags,
    ]
    return Implementation("weir", (" ".join(command),), (_CRDS,), "metrics")


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of an implementation."""

    name: str
    processes: tuple[Process, ...]
    metrics_url: str

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the controllers themselves; `bench.usage` finds their children."""
        return tuple(process.pid for process in self.processes)

    async def metrics(self) -> str:
        """What it exports, "" if that is not known."""
        if not self.metrics_url:
            return ""
        async with aiohttp.ClientSession() as http, http.get(self.metrics_url) as answer:
            return await answer.text()

    async def answers(self) -> bool:
        """Whether its metrics can be had by now; always, if it is not known where."""
        try:
            await self.metrics()
        except aiohttp.ClientError:
            return False
        return True

    def complain(self) -> None:
        """Raises RuntimeError if a process has ended."""
        for process in self.processes:
            if process.returncode is not None:
                raise RuntimeError(f"{process.name} ended with {process.returncode}:\n{process.tail()}")


@asynccontextmanager
async def running(implementation: Implementation, kubeconfig: Path, folder: Path) -> AsyncIterator[Running]:
    """The implementation's controllers, stopped when the block ends."""
    ports: dict[str, int] = {}
    environment = dict(os.environ) | {"KUBECONFIG": str(kubeconfig), "RUNTIME_NAMESPACE": "flux-system"}
    async with AsyncExitStack() as stack:
        processes = []
        for number, command in enumerate(implementation.commands):
            text = command.replace("{kubeconfig}", str(kubeconfig)).replace("{folder}", str(folder))
            text = _PORT.sub(lambda name: str(ports.setdefault(name[1], free_port())), text)
            log = folder / f"{implementation.name}-{number}.log"
            process = await start(shlex.split(text), log=log, env=environment, cwd=folder)
            stack.push_async_callback(process.stop)
            processes.append(process)
        url = f"http://127.0.0.1:{ports[implementation.metrics]}/metrics" if implementation.metrics else ""
        yield Running(implementation.name, tuple(processes), url)
