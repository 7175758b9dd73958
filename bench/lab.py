"""One implementation in a world of its own: a fresh control plane, a Git server, its definitions, its controllers."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.implementation import Implementation, Running, running
from bench.observer import Watched, watching
from bench.repository import NAMESPACE, app
from bench.scrape import dry_runs, histogram, quantile, requests_by_verb
from bench.usage import Peak, core_wait, cpu_seconds, watched
from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer, GitRepository
from testbed.kube import Admin

KS = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
REPO = ("source.toolkit.fluxcd.io/v1", "GitRepository")
LAG = "weir_event_loop_lag_seconds"
_REQUESTED = "reconcile.fluxcd.io/requestedAt"


@dataclass(slots=True)
class Cost:
    """What happened while something was measured. Times in seconds, memory in MiB.

    The event loop's lag holds the time in which its process waited for a core, `core_wait` in all.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    api_cpu: float = 0.0
    peak: float = 0.0
    last: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    dry_runs: int = 0
    lag_p99: float | None = None
    core_wait: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """For the results."""
        row: dict[str, Any] = {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu, 2),
            "api_server_cpu_seconds": round(self.api_cpu, 2),
            "peak_pss_mib": round(self.peak),
            "last_pss_mib": round(self.last),
            "pss_by_program_mib": {name: round(size) for name, size in sorted(self.parts.items())},
            "requests": dict(sorted(self.requests.items())),
            "dry_runs": self.dry_runs,
            "core_wait_seconds": round(self.core_wait, 2),
        }
        return row if self.lag_p99 is None else row | {"loop_lag_p99_below_ms": self.lag_p99 * 1000}


class Lab:
    """Where a scenario is played. Everything is in the namespace `bench`."""

    def __init__(
        self, plane: ControlPlane, admin: Admin, server: GitHTTPServer, agent: Running, repositories: Watched
    ) -> None:
        self.plane = plane
        self.admin = admin
        self.server = server
        self.agent = agent
        self.repositories = repositories
        self.kustomizations = Watched()
        self.config_maps = Watched()
        self._asked = itertools.count(time.time_ns())

    def repository(self, name: str = "repo") -> GitRepository:
        """A repository of the Git server."""
        return self.server.repository(name)

    async def source(self, name: str = "repo", *, interval: str = "60m") -> None:
        """A GitRepository object for it."""
        spec = {"url": self.server.url(name), "interval": interval, "ref": {"branch": "main"}, "timeout": "5m"}
        await self._apply(REPO, name, spec)

    async def kustomizations_of(self, numbers: range, *, source: str = "repo", **fields: Any) -> None:
        """One Kustomization an app; `fields` are added to each spec."""
        limit = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            spec = {
                "interval": "60m",
                "retryInterval": "10s",
                "prune": True,
                "path": f"./apps/{app(number)}",
                "targetNamespace": NAMESPACE,
                "sourceRef": {"kind": "GitRepository", "name": source.format(number=number)},
            }
            async with limit:
                await self._apply(KS, app(number), spec | fields)

        await asyncio.gather(*(one(number) for number in numbers))

    async def _apply(self, kind: tuple[str, str], name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name, "namespace": NAMESPACE}
        await self.admin.apply({"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec})

    async def request(self, name: str = "repo", kind: tuple[str, str] = REPO) -> float:
        """Ask for a pass, as a webhook or `flux reconcile` does; the moment at which it was asked."""
        moment = time.monotonic()
        patch = {"metadata": {"annotations": {_REQUESTED: str(next(self._asked))}}}
        await self.admin.patch(*kind, NAMESPACE, name, patch)
        return moment

    async def all_ready(self, numbers: range, commit: str, timeout: float) -> float:
        """Wait until the Kustomizations of these apps are Ready at a commit; the moment at which they were."""
        names = [app(number) for number in numbers]

        def holds() -> bool:
            seen = self.kustomizations.objects
            while names and names[-1] in seen and seen[names[-1]].is_ready(commit):
                names.pop()
            return not names

        return await self.kustomizations.until(holds, timeout)

    async def stored(self, name: str, commit: str, timeout: float) -> float:
        """Wait until a GitRepository has the artifact of a commit; the moment at which it had."""

        def holds() -> bool:
            seen = self.repositories.objects.get(name)
            return seen is not None and seen.status.artifact is not None and commit in seen.status.artifact.revision

        return await self.repositories.until(holds, timeout)

    async def value(self, name: str, wanted: str, timeout: float) -> float:
        """Wait until a ConfigMap has a value; the moment at which it had."""

        def holds() -> bool:
            seen = self.config_maps.objects.get(name)
            return seen is not None and seen.data.get("value") == wanted

        return await self.config_maps.until(holds, timeout)

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[Cost]:
        """What the block costs; complete when it has ended."""
        cost, pids = Cost(), self.agent.pids
        api = [process.pid for process in self.plane.processes if process.name == "kube-apiserver"]
        text, own = await self.api_metrics(), await self.agent.metrics()
        cpu, api_cpu, started = cpu_seconds(pids), cpu_seconds(api), time.monotonic()
        waited = core_wait(pids)
        peak: Peak
        async with watched(pids) as peak:
            yield cost
            cost.seconds = time.monotonic() - started
            cost.cpu, cost.api_cpu = cpu_seconds(pids) - cpu, cpu_seconds(api) - api_cpu
            cost.core_wait = core_wait(pids) - waited
        self.agent.complain()
        now = await self.api_metrics()
        cost.requests = dict(requests_by_verb(now) - requests_by_verb(text))
        cost.dry_runs = dry_runs(now) - dry_runs(text)
        cost.peak, cost.parts, cost.last = peak.total, peak.parts, peak.last
        if own:
            cost.lag_p99 = quantile(0.99, histogram(own, LAG), histogram(await self.agent.metrics(), LAG))

    async def api_metrics(self) -> str:
        """The API server's own metrics. A scrape takes it some 0.1 s of CPU."""
        return await self.admin.text("/metrics")


@asynccontextmanager
async def lab(implementation: Implementation) -> AsyncIterator[Lab]:
    """A laboratory with the implementation running, and nothing for it to do yet."""
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as name:
        folder = Path(name)
        async with ControlPlane() as plane, GitHTTPServer(folder) as server, _admin(plane) as admin:
            await _prepare(admin, implementation)
            repos = f"/apis/{REPO[0]}/namespaces/{NAMESPACE}/gitrepositories"
            kustomizations = f"/apis/{KS[0]}/namespaces/{NAMESPACE}/kustomizations"
            config_maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
            async with (
                watching(plane, repos) as seen,
                watching(plane, kustomizations) as seen_kustomizations,
                watching(plane, config_maps) as seen_config_maps,
                running(implementation, plane.kubeconfig, folder) as agent,
            ):
                found = Lab(plane, admin, server, agent, seen)
                found.kustomizations, found.config_maps = seen_kustomizations, seen_config_maps
                await _quiet(agent)  # its start is no part of what is measured
                yield found


def _admin(plane: ControlPlane) -> Admin:
    return Admin(plane.url, plane.ca_file, plane.admin_token)


async def _quiet(agent: Running) -> None:
    """Wait until it has started and found nothing to do: hardly any CPU time for two seconds."""
    quiet, before = 0, 0.0
    async with asyncio.timeout(120):
        while quiet < 2:
            await asyncio.sleep(1.0)
            agent.complain()
            now = cpu_seconds(agent.pids)
            calm = before and now - before < 0.15 and await agent.answers()
            quiet = quiet + 1 if calm else 0
            before = now


async def _prepare(admin: Admin, implementation: Implementation) -> None:
    files = [path for folder in implementation.crds for path in sorted(folder.glob("*.yaml"))]
    await admin.apply_files(path for path in files if path.name != "kustomization.yaml")
    for namespace in (NAMESPACE, "flux-system"):
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
