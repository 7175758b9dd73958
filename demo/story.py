"""Four chapters: a good model, a worse one, its way out of Git, and one that hardly anybody asks for. Each is told
while it happens and checked at its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demo.clients import Clients, Tally
from demo.screen import Screen
from demo.stage import NAMESPACE, Stage
from testbed.kube import Object, condition

FLUX = "toolkit.fluxcd.io/v1"
CANARY = "flagger.app/v1beta1"
REVISIONS = {"v1": "1" * 40, "v2": "2" * 40, "v3": "3" * 40, "v4": "4" * 40}
_POLL = 0.25


class UnexpectedError(Exception):
    """The demo did not go as it should."""


@dataclass(frozen=True)
class Chapter:
    """A line of the summary."""

    what: str
    verdict: str
    serving: str
    requests: int
    failed: int
    seconds: float


def _held(status: Object) -> bool:
    """The judge waits for requests."""
    return any(item["reason"] == "TooFewRequests" for item in status.get("conditions", []))


class Story:
    """Commits, watches and tells."""

    def __init__(self, stage: Stage, clients: Clients, screen: Screen) -> None:
        self._stage = stage
        self._clients = clients
        self._screen = screen
        self._told: set[str] = set()
        self._weights: tuple[int, int] | None = None
        self._requests = 0
        self.chapters: list[Chapter] = []

    async def prologue(self) -> None:
        """The first model: nothing to compare it with, so it is served at once."""
        self._screen.title("The repository serves greeter v1")
        self._stage.model(REVISIONS["v1"], "v1")
        self._stage.git.commit(self._stage.manifests(REVISIONS["v1"]), "Serve greeter v1")
        await self._stage.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await self._objects()
        await self._phase("Initialized", "Succeeded", within=60)
        self._screen.line("the canary is initialized: chat-primary serves, clients may come", "good")

    async def better(self) -> None:
        """A good model is promoted."""
        self._stage.model(REVISIONS["v2"], "v2")
        await self._chapter(
            "a better model", "v2", "Serve greeter v2", expect="Succeeded", verdict="promoted", serving="v2"
        )

    async def worse(self) -> None:
        """A worse model is rolled back, and stays so when an unrelated commit comes."""
        self._stage.model(REVISIONS["v3"], "v3", error_rate=0.3, latency_ms=400)
        await self._chapter(
            "a worse model", "v3", "Serve greeter v3", expect="Failed", verdict="rolled back", serving="v2"
        )
        self._screen.line("an unrelated commit: the rejected model must not run again")
        commit = self._stage.git.commit({"chat/notes.md": "v3 was slow"}, "Notes")
        await self._pull(commit)
        await self._stays("Failed", seconds=4)
        self._screen.line("still rejected, and the fields are left in peace", "good")

    async def written_back(self) -> None:
        """Weir may write to Git: it puts the good model back, and nothing has to be proven again."""
        began, before = time.monotonic(), self._clients.tally.copy()
        self._screen.title("The owner of the repository lets Weir put rejected models back")
        rejected = self._stage.git.head()
        metadata = {"name": "weir-writes", "namespace": NAMESPACE}
        data = {"username": "weir", "password": "of-the-demo"}
        await self._stage.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
        allowed = {"write-back": "commit", "write-back-branch": "main", "write-back-secret": "weir-writes"}
        annotations = {f"weir.dev/{name}": value for name, value in allowed.items()}
        patch = {"metadata": {"annotations": annotations}}
        await self._stage.admin.patch(CANARY, "Canary", NAMESPACE, "chat", patch)
        commit = await self._commit_after(rejected)
        await self._watch(lambda status: status.get("phase") == "Succeeded", 60, "the canary to leave Failed")
        await self._tell_changes(commit)
        await self._stays("Succeeded", seconds=4)
        await self._serves("v2")
        self._close("Weir's own", "no new run", "v2", began, before)

    async def _commit_after(self, rejected: str) -> str:
        """Wait for a commit that is not ours, and show it as `git log` does."""
        deadline = time.monotonic() + 60
        while self._stage.git.head() == rejected:
            if time.monotonic() > deadline:
                status = await self._stage.admin.find(CANARY, "Canary", NAMESPACE, "chat")
                raise UnexpectedError(
                    f"no commit of Weir's came; {(status or {}).get('metadata', {}).get('annotations')}"
                )
            await asyncio.sleep(_POLL)
        commit = self._stage.git.head()
        subject, *rest = self._stage.git.message(commit).splitlines()
        self._screen.line(f"git log: {commit[:8]} {subject}", "good")
        for line in rest:
            if line.startswith(("Weir-Rejected: ", "Weir-Restored: ", "Weir-Verdict: ")):
                self._screen.line(f"         {line}", "dim")
        return commit

    async def unproven(self) -> None:
        """A model that gets hardly any requests is neither promoted nor blamed: its judge waits for more of them."""
        began, before = time.monotonic(), self._clients.tally.copy()
        self._screen.title("At night somebody commits a model, with a judge that counts: Serve greeter v4")
        self._clients.quiet = True
        self._stage.model(REVISIONS["v4"], "v4")
        files = self._stage.manifests(REVISIONS["v4"], judge="guarded")
        commit = self._stage.git.commit(files, "Serve greeter v4, judged guarded")
        await self._pull(commit)
        await self._tell_changes(commit)
        await self._phase("Progressing", within=30)
        await self._watch(_held, 60, "the judge to hold for want of requests")
        held = await self._status()
        for finding in held["judge"]["findings"]:
            self._screen.line(f"held: {finding['metric']}: {finding['reason']}")
        await self._stays("Progressing", "Waiting", seconds=6)
        status = await self._status()
        if (status["canaryWeight"], status.get("failedChecks", 0)) != (held["canaryWeight"], 0):
            raise UnexpectedError(f"a step without evidence should wait, but the status is {status}")
        self._screen.line("no step, no failed check, nobody is blamed", "good")
        self._screen.line("morning: the clients come back")
        self._clients.quiet = False
        await self._phase("Succeeded", within=90)
        await self._serves("v4")
        for finding in (await self._status())["judge"]["findings"]:
            self._screen.line(f"proven: {finding['metric']} by {finding['samples']:.0f} requests: {finding['reason']}")
        self._close("a model at night", "held, promoted", "v4", began, before)

    async def _chapter(self, what: str, version: str, message: str, *, expect: str, verdict: str, serving: str) -> None:
        began, before = time.monotonic(), self._clients.tally.copy()
        self._screen.title(f"Somebody commits {what}: {message}")
        commit = self._stage.git.commit(self._stage.manifests(REVISIONS[version]), message)
        await self._pull(commit)
        await self._tell_changes(commit)
        await self._phase("Progressing", "Promoting", within=30)
        await self._phase(expect, within=90)
        await self._serves(serving)
        self._close(what, verdict, serving, began, before)

    async def _objects(self) -> None:
        repository = {"url": self._stage.git_url, "interval": "1m", "ref": {"branch": "main"}}
        kustomization = {
            "interval": "10m",
            "path": "./chat",
            "prune": True,
            "targetNamespace": NAMESPACE,
            "sourceRef": {"kind": "GitRepository", "name": "serving"},
        }
        for group, kind, name, spec in (
            ("source", "GitRepository", "serving", repository),
            ("kustomize", "Kustomization", "chat", kustomization),
        ):
            metadata = {"name": name, "namespace": NAMESPACE}
            await self._stage.admin.create(
                {"apiVersion": f"{group}.{FLUX}", "kind": kind, "metadata": metadata, "spec": spec}
            )

    async def _pull(self, commit: str) -> None:
        """Ask Weir to look now, as a webhook or `flux reconcile` would, and wait until the commit is applied."""
        self._requests += 1
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(self._requests)}}}
        began = time.monotonic()
        await self._stage.admin.patch(f"source.{FLUX}", "GitRepository", NAMESPACE, "serving", patch)

        def applied(found: Object | None) -> bool:
            status = (found or {}).get("status", {})
            return condition(found, "Ready") == "True" and commit in status.get("lastAppliedRevision", "")

        await self._stage.admin.wait_for(f"kustomize.{FLUX}", "Kustomization", NAMESPACE, "chat", applied, timeout=30)
        self._screen.line(f"pulled, built and applied {commit[:8]} in {time.monotonic() - began:.1f} s")

    async def _tell_changes(self, commit: str) -> None:
        page = await self._stage.ask(f"/api/v1/changes?kustomization={NAMESPACE}/chat&kind=model&limit=20")
        texts = [item["text"] for item in page["items"] if commit in item["revision"]]
        if not texts:
            raise UnexpectedError(f"commit {commit[:8]} changes the model, but no change record says so")
        for text in texts:
            self._screen.line(f"detected: {text}", "good")

    async def _phase(self, *phases: str, within: float) -> None:
        await self._watch(lambda status: status.get("phase") in phases, within, f"the canary to be {phases[0]}")

    async def _stays(self, *phases: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            status = await self._status()
            if status.get("phase") not in phases:
                raise UnexpectedError(f"the canary is {status.get('phase')}, but should have stayed {phases[0]}")
            await asyncio.sleep(_POLL)

    async def _watch(self, done: Callable[[Object], bool], within: float, what: str) -> None:
        """Tell what happens until the canary's status is as wanted."""
        deadline = time.monotonic() + within
        before = self._clients.tally.copy()
        while True:
            status = await self._status()
            before = await self._tell(before)
            if done(status):
                return
            if status.get("phase") == "Failed" and "Failed" not in what:
                raise UnexpectedError("the canary failed")
            if time.monotonic() > deadline:
                raise UnexpectedError(f"waited {within:.0f} s for {what}; its status is {status}")
            await asyncio.sleep(_POLL)

    async def _status(self) -> Object:
        found = await self._stage.admin.find(CANARY, "Canary", NAMESPACE, "chat")
        return dict((found or {}).get("status", {}))

    async def _tell(self, before: Tally) -> Tally:
        """New judgements, and the weights if they moved."""
        page = await self._stage.ask(f"/api/v1/rollouts?namespace={NAMESPACE}")
        for rollout in page["items"]:
            for judgement in rollout["judgements"]:
                self._tell_judgement(judgement)
        weights = await self._route_weights()
        if weights is None or weights == self._weights:
            return before
        self._weights = weights
        recent = self._clients.tally - before
        answers = f"; answers: {recent.shares()}" if recent.versions.total() else ""
        self._screen.line(f"traffic: stable {weights[0]} %, canary {weights[1]} %{answers}, failed {recent.failures}")
        return self._clients.tally.copy()

    def _tell_judgement(self, judgement: dict[str, Any]) -> None:
        key = repr(sorted(judgement.items(), key=lambda pair: pair[0]))
        if key in self._told:
            return
        self._told.add(key)
        verdict = str(judgement.get("verdict", ""))
        value = judgement.get("value")
        shown = "no data" if value is None else f"{value:.4g}"
        mood = {"pass": "good", "inconclusive": "dim"}.get(verdict, "bad")
        why = f" ({judgement['text']})" if verdict == "inconclusive" else ""
        self._screen.line(f"judged: {judgement.get('metric')} = {shown}: {verdict}{why}", mood)

    async def _route_weights(self) -> tuple[int, int] | None:
        route = await self._stage.admin.find("gateway.networking.k8s.io/v1", "HTTPRoute", NAMESPACE, "chat")
        if route is None:
            return None
        backends = {item["name"]: item.get("weight", 1) for item in route["spec"]["rules"][0]["backendRefs"]}
        return backends.get("chat-primary", 0), backends.get("chat-canary", 0)

    async def _serves(self, version: str) -> None:
        """From now on only this model answers."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            before = self._clients.tally.copy()
            await asyncio.sleep(1)
            recent = self._clients.tally - before
            if set(recent.versions) == {version} and recent.failures == 0:
                self._screen.line(f"all clients are answered by {version}", "good")
                return
        raise UnexpectedError(f"clients should be answered by {version} alone, but got {recent.shares()}")

    def _close(self, what: str, verdict: str, serving: str, began: float, before: Tally) -> None:
        recent = self._clients.tally - before
        self.chapters.append(
            Chapter(what, verdict, serving, recent.requests, recent.failures, time.monotonic() - began)
        )
