"""A real Prometheus on loopback for tests and demos, scraping quickly.

What it is not: there is no service discovery in the binary; targets are given by hand or by ``follow_pods``, which
writes them into the configuration and has it reloaded.
"""

import asyncio
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from testbed.binaries import ensure
from testbed.node.kubeapi import Access, KubeApi, Mirror, Obj
from testbed.node.ports import local_port
from testbed.ports import free_port
from testbed.processes import Process, current_run, start, until

_log = logging.getLogger(__name__)
_READY_SECONDS = 180.0
_SETTLE_SECONDS = 0.1
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What to scrape: ``host:port``, labels for all its series, and the path of its metrics."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = "/metrics"


class Prometheus:
    """One Prometheus; use it as an async context manager or with start and stop.

    ``url`` is its base URL. ``interval`` is the scrape interval in seconds.
    """

    def __init__(self, workdir: Path | None = None, *, interval: float = 1.0) -> None:
        """``workdir`` is kept at the end; without one, a temporary folder is used and removed."""
        self.url = ""
        self._given = workdir
        self._workdir = Path()
        self._interval = interval
        self._jobs: dict[str, tuple[Target, ...]] = {}
        self._process: Process | None = None
        self._http: aiohttp.ClientSession | None = None
        self._reloading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it; returns once it is ready. Raises ProcessError or BuildError."""
        binary = (await asyncio.to_thread(ensure, "prometheus"))["prometheus"]
        self._workdir = await asyncio.to_thread(_make_folder, self._given)
        await asyncio.to_thread(self._write_configuration, self._jobs)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        argv = [
            str(binary),
            f"--config.file={self._workdir / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._workdir / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            "--storage.tsdb.retention.time=1d",
            "--log.level=warn",
        ]
        self._process = await start(argv, name="prometheus", log=self._workdir / "prometheus.log", cwd=self._workdir)
        try:
            await until(self._ready, timeout=_READY_SECONDS, what="Prometheus is ready", process=self._process)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop it and remove the working folder unless it was given. May be repeated."""
        if self._http is not None:
            await self._http.close()
            self._http = None
        if self._process is not None:
            await self._process.stop(grace=2)
            self._process = None
        if self._given is None and self._workdir != Path():
            await asyncio.to_thread(shutil.rmtree, self._workdir, ignore_errors=True)

    async def set_targets(self, job: str, targets: Iterable[Target]) -> None:
        """Scrape exactly these targets under the label ``job`` from now on."""
        wanted = tuple(targets)
        async with self._reloading:
            if self._jobs.get(job) == wanted:
                return
            jobs = {**self._jobs, job: wanted}
            await asyncio.to_thread(self._write_configuration, jobs)
            async with self._session().post(f"{self.url}/-/reload") as response:
                response.raise_for_status()
            self._jobs = jobs

    async def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """The instant vector of a PromQL expression: (labels, value) per series."""
        async with self._session().get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            answer: dict[str, Any] = await response.json()
        if answer["status"] != "success":
            raise ValueError(f"{expression}: {answer.get('error')}")
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    async def follow_pods(self, access: Access, job: str = "pods") -> None:
        """Scrape for ever the Pods with the annotation ``prometheus.io/scrape: "true"``; cancel it to end.

        ``prometheus.io/port`` names the container port (default: the first declared one), ``prometheus.io/path`` the
        path (default /metrics). Series get the labels kubernetes_namespace, kubernetes_pod_name, namespace, pod
        and app (the Pod's label, if it has one).
        """
        changed = asyncio.Event()
        pods = Mirror(changed.set)
        async with KubeApi(access) as api, asyncio.TaskGroup() as group:
            group.create_task(api.follow("/api/v1/pods", pods.note))
            while True:
                await changed.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
                changed.clear()
                found = [target for pod in pods.items.values() if (target := pod_target(pod)) is not None]
                try:
                    await self.set_targets(job, sorted(found, key=lambda target: target.address))
                except (aiohttp.ClientError, TimeoutError) as error:
                    _log.warning("Prometheus did not take its targets: %s", error)
                    await asyncio.sleep(_RETRY_SECONDS)
                    changed.set()

    async def _ready(self) -> bool:
        try:
            async with self._session().get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("Prometheus is not running")
        return self._http

    def _write_configuration(self, jobs: Mapping[str, Iterable[Target]]) -> None:
        # JSON is YAML, so no emitter is needed
        draft = self._workdir / "prometheus.yml.draft"
        draft.write_text(json.dumps(configuration(jobs, self._interval), indent=1))
        draft.replace(self._workdir / "prometheus.yml")


def configuration(jobs: Mapping[str, Iterable[Target]], interval: float) -> dict[str, Any]:
    """The configuration file: one scrape job per name, every target with its labels and path."""
    every = f"{int(interval * 1000)}ms"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": [
            {
                "job_name": name,
                "static_configs": [
                    {
                        "targets": [target.address],
                        "labels": {**target.labels, "__metrics_path__": target.path},
                    }
                    for target in targets
                ],
            }
            for name, targets in jobs.items()
        ],
    }


def pod_target(pod: Obj) -> Target | None:
    """How to scrape a Pod on this machine; None when it does not ask for it or does not run."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get("prometheus.io/scrape") != "true" or pod.get("status", {}).get("phase") != "Running":
        return None
    declared = [p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or []]
    wanted = annotations.get("prometheus.io/port") or str(declared[0] if declared else "")
    local = local_port(pod, int(wanted)) if wanted.isdigit() else None
    if local is None:
        return None
    labels = {
        "kubernetes_namespace": metadata["namespace"],
        "kubernetes_pod_name": metadata["name"],
        "namespace": metadata["namespace"],
        "pod": metadata["name"],
    }
    app = (metadata.get("labels") or {}).get("app")
    if app:
        labels["app"] = app
    return Target(f"127.0.0.1:{local}", labels, annotations.get("prometheus.io/path") or "/metrics")


def _make_folder(given: Path | None) -> Path:
    if given is None:
        return current_run().temporary_folder("weir-prometheus-")
    given.mkdir(parents=True, exist_ok=True)
    return given
