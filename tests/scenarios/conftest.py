"""One running agent against the shared control plane, a Git server, and words to tell stories with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.adapters.kube.config import load
from agent.app import serve
from agent.settings import Address, Settings
from agent.telemetry import logging
from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer, GitRepository
from testbed.kube import Admin, condition
from testbed.ports import free_port

KS = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
REPO = ("source.toolkit.fluxcd.io/v1", "GitRepository")
CRDS = Path(__file__).parents[2] / "config" / "crd"
OWN_AGENT = "weir.dev/own-agent"
"""Label of the objects that the shared agent leaves to another one."""
PATIENCE = 120.0
"""Seconds to wait for what has to come. Much more than it takes, also on a machine that is busy with something else."""
Object = dict[str, Any]


@pytest.fixture(scope="session")
async def crds(admin: Admin) -> None:
    """Weir's own definitions."""
    await admin.apply_files(sorted(CRDS.glob("*.*_*.yaml")))


@dataclass
class RunningAgent:
    """The agent's addresses."""

    health: str
    metrics: str
    api: str
    log: Path

    async def get(self, path: str, enough: Callable[[Any], bool] = lambda _answer: True) -> Any:
        """A JSON answer of the API; the first one that is `enough`, since a watch may tell the agent later than us."""
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{self.api}{path}") as response:
                    answer = json.loads(await response.text())
                if enough(answer):
                    return answer
                await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Wait until its readiness probe says so."""
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get(f"{self.health}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def exposition(self) -> str:
        """The metrics as text."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.metrics}/metrics") as response:
            return await response.text()

    async def requests(self) -> dict[str, float]:
        """API server requests so far, by `verb resource`."""
        text = await self.exposition()
        counts: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("weir_api_requests_total{"):
                labels, _, value = line.rpartition(" ")
                parts = dict(part.split("=", 1) for part in labels.partition("{")[2].rstrip("}").split(","))
                key = f"{parts['verb']} {parts['resource']}".replace('"', "")
                counts[key] = counts.get(key, 0.0) + float(value)
        return counts


@asynccontextmanager
async def running(control_plane: ControlPlane, folder: Path, **changes: Any) -> AsyncIterator[RunningAgent]:
    """An agent in this process, with settings for tests and `changes` of them, until the block ends."""
    ports = [free_port() for _ in range(4)]
    health, metrics, api, storage = (Address(host="127.0.0.1", port=port) for port in ports)
    settings = Settings(
        storage_path=folder,
        storage_addr=storage,
        storage_adv_addr=str(storage),
        health_addr=health,
        metrics_addr=metrics,
        api_addr=api,
        requeue_dependency=1.0,
        mesh_provider="kubernetes",
        interval_jitter=0.0,
    )
    settings = replace(settings, **changes)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(settings, await load(str(control_plane.kubeconfig)), stop))
        try:
            yield RunningAgent(f"http://{health}", f"http://{metrics}", f"http://{api}", folder / "log.jsonl")
        finally:
            stop.set()
    assert task.result() == 0


@pytest.fixture(scope="session")
async def weir(
    control_plane: ControlPlane, crds: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningAgent]:
    """The agent that most tests share. It works on all namespaces, but for what a test has an agent of its own for."""
    folder = tmp_path_factory.mktemp("weir")
    with (folder / "log.jsonl").open("w", buffering=1) as stream:
        logging.configure("debug", stream)
        async with running(control_plane, folder, watch_label_selector=f"!{OWN_AGENT}") as agent:
            yield agent


@pytest.fixture(scope="session")
async def git_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitHTTPServer]:
    """Anonymous smart HTTP."""
    async with GitHTTPServer(tmp_path_factory.mktemp("git")) as server:
        yield server


class Story:
    """One namespace, one repository, one Kustomization after another."""

    def __init__(self, admin: Admin, namespace: str, server: GitHTTPServer, since: str = "") -> None:
        """`since` is a resource version from before anything was told in the namespace; `told` needs it."""
        self.admin = admin
        self.namespace = namespace
        self.server = server
        self.since = since
        self.git: GitRepository = server.repository(namespace)
        self.labels: dict[str, str] = {}

    async def source(self, name: str = "repo", **spec: Any) -> Object:
        """Create or change the GitRepository."""
        body = {"url": self.server.url(self.namespace), "interval": "10m", "ref": {"branch": "main"}, **spec}
        return await self._apply(REPO, name, body)

    async def kustomization(self, name: str = "app", **spec: Any) -> Object:
        """Create or change a Kustomization."""
        body = {
            "interval": "10m",
            "retryInterval": "2s",
            "prune": True,
            "path": "./",
            "targetNamespace": self.namespace,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            **spec,
        }
        return await self._apply(KS, name, body)

    async def suspend(self, name: str = "app", **spec: Any) -> Object:
        """Suspend a Kustomization that is Ready. The agent knows it when this returns."""
        generation = (await self.kustomization(name, **spec, suspend=True))["metadata"]["generation"]
        return await self.until(
            KS, name, lambda found: (found or {}).get("status", {}).get("observedGeneration") == generation
        )

    async def _apply(self, kind: tuple[str, str], name: str, spec: Object) -> Object:
        metadata = {"name": name, "namespace": self.namespace, "labels": self.labels}
        return await self.admin.apply({"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec})

    async def request(self, kind: tuple[str, str], name: str, value: str) -> None:
        """What `flux reconcile` does."""
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": value}}}
        await self.admin.patch(kind[0], kind[1], self.namespace, name, patch)

    async def pull(self, value: str) -> None:
        """Make the agent look at the repository now."""
        await self.request(REPO, "repo", value)

    async def look(self, *values: str) -> None:
        """Have the agent look at the repository once for each value. When it begins the next look, one has ended."""
        for value in values:
            await self.pull(value)
            await self.until(
                REPO,
                "repo",
                lambda found, value=value: (found or {}).get("status", {}).get("lastHandledReconcileAt") == value,
            )

    async def until(
        self, kind: tuple[str, str], name: str, predicate: Callable[[Object | None], bool], timeout: float = PATIENCE
    ) -> Object:
        """Wait for an object."""
        return await self.admin.wait_for(kind[0], kind[1], self.namespace, name, predicate, timeout=timeout)

    async def ready(self, name: str = "app", revision: str = "", timeout: float = PATIENCE) -> Object:
        """Wait until the Kustomization is Ready (at a commit)."""
        return await self.until(
            KS,
            name,
            lambda found: (
                condition(found, "Ready") == "True"
                and revision in (found or {}).get("status", {}).get("lastAppliedRevision", "")
            ),
            timeout,
        )

    async def failed(self, name: str = "app", text: str = "", kind: tuple[str, str] = KS) -> Object:
        """Wait until the object is not Ready for a reason whose message has `text`."""
        return await self.until(
            kind,
            name,
            lambda found: condition(found, "Ready") == "False" and text in message(found),
        )

    async def events(self, name: str) -> list[str]:
        """Event lines `reason: message` about an object of that name."""
        found = await self.admin.list("v1", "Event", self.namespace)
        about = [event for event in found if event["involvedObject"]["name"] == name]
        return [f"{event['reason']}: {event['message']}" for event in about]

    async def told(self, name: str, enough: Callable[[list[Object]], bool]) -> list[Object]:
        """All that was told about objects of that name, in order, up to the event with which it was `enough`.

        What is told again in the same words is counted in the Event that is there. Here it is found once more, as
        that Event was then: durations are often equal, and a second Event is not to be waited for.
        """
        async with asyncio.timeout(PATIENCE):
            while True:
                found: list[Object] = []
                async with contextlib.aclosing(self.admin.history("v1", "Event", self.namespace, self.since)) as told:
                    async for event in told:
                        if event["involvedObject"]["name"] == name:
                            found.append(event)
                            if enough(found):
                                return found
                await asyncio.sleep(0.2)  # the server ended the watch: from the beginning

    async def event(self, name: str, text: str) -> str:
        """Wait for an event about an object."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in await self.events(name):
                    if text in line:
                        return line
                await asyncio.sleep(0.1)


def message(found: Object | None, kind: str = "Ready") -> str:
    """The message of a condition."""
    for entry in (found or {}).get("status", {}).get("conditions", ()):
        if entry["type"] == kind:
            return str(entry["message"])
    return ""


def conditions(found: Object | None) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of each condition, by type, in the order in which they stand."""
    listed = (found or {}).get("status", {}).get("conditions", ())
    return {entry["type"]: (entry["status"], entry["reason"], entry["message"]) for entry in listed}


@pytest.fixture
async def story(weir: RunningAgent, admin: Admin, namespace: str, git_server: GitHTTPServer) -> AsyncIterator[Story]:
    """A fresh namespace and repository; its Kustomizations are gone before the namespace is."""
    since = (await admin.get("v1", "Namespace", None, namespace))["metadata"]["resourceVersion"]
    told = Story(admin, namespace, git_server, since)
    yield told
    if told.labels:
        return  # its own agent has ended; what is left goes with the namespace
    for kind in (KS, REPO):
        for found in await admin.list(kind[0], kind[1], namespace):
            await admin.delete(kind[0], kind[1], namespace, found["metadata"]["name"], missing_ok=True)
    for kind in (KS, REPO):
        for found in await admin.list(kind[0], kind[1], namespace):
            await admin.wait_for(kind[0], kind[1], namespace, found["metadata"]["name"], lambda left: left is None)


@pytest.fixture
def own_agent(
    control_plane: ControlPlane, story: Story, tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[RunningAgent]]:
    """`async with own_agent(concurrent=1):` an agent with other settings, for this story's objects alone."""
    story.labels = {OWN_AGENT: "true"}

    def start(**changes: Any) -> AbstractAsyncContextManager[RunningAgent]:
        home = {"watch_all_namespaces": False, "runtime_namespace": story.namespace}
        return running(control_plane, tmp_path / "weir", **home, **changes)

    return start
