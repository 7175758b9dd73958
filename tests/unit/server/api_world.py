"""What the API answers from in these tests: a few of everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from agent.core.models import ChangeRecord, Commit, Impact, Location, ObjectId, Reason, parse
from agent.core.rollout.judgement import Judgement
from agent.core.rollout.ledger import LedgerEntry
from agent.core.rollout.quarantine import Reference
from agent.core.rollout.status import Phase
from agent.core.rollout.view import RolloutView
from agent.server.api import routes
from agent.server.listeners import serving
from agent.server.views import (
    AgentView,
    ChangeView,
    ConditionView,
    CountView,
    KustomizationView,
    SnapshotView,
    SourceView,
)
from agent.settings import Address
from testbed.ports import free_port

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONDITION = ConditionView(type="Ready", status="True", reason="Succeeded", message="fine", last_transition_time=WHEN)


def source(name: str, *, ready: str = "True", namespace: str = "flux-system") -> SourceView:
    return SourceView(
        kind="GitRepository",
        namespace=namespace,
        name=name,
        url="https://git.example/models",
        ready=ready,
        message="stored artifact",
        suspended=False,
        revision="main@sha1:abc" if ready == "True" else None,
        digest=None,
        artifact_url=None,
        updated=WHEN if ready == "True" else None,
        conditions=(CONDITION,),
    )


def kustomization(name: str, *, ready: str = "True") -> KustomizationView:
    history = SnapshotView(
        digest="sha256:abc",
        status="ReconciliationSucceeded",
        revision="main@sha1:abc",
        first_reconciled=WHEN,
        last_reconciled=WHEN,
        last_duration="1.2s",
        total=3,
    )
    return KustomizationView(
        namespace="flux-system",
        name=name,
        source="GitRepository/flux-system/repo",
        path="./apps",
        ready=ready,
        reason="ReconciliationSucceeded",
        message="Applied revision",
        suspended=False,
        last_applied_revision="main@sha1:abc",
        last_attempted_revision=None,
        objects=("serving_chat_apps_Deployment",),
        stale=(),
        conditions=(CONDITION,),
        history=(history,),
    )


def change(number: int, *, kind: Any = "model", name: str = "chat") -> ChangeView:
    old, new = parse(f"hf://org/m@{'a' * 40}"), parse(f"hf://org/m@{number:040x}")
    record = ChangeRecord(
        id=f"{number:064x}",
        kind=kind,
        op="changed",
        object=ObjectId("apps", "v1", "Deployment", "serving", name),
        slot="container[server].model",
        location=Location("$.spec"),
        old=old,
        new=new,
        cause="commit",
        commit=Commit(old="main@sha1:a", new="main@sha1:b"),
        direction="forward",
        impact=Impact(canaries=("Canary/serving/chat",)),
        action="rollout",
        reason=Reason("reference", "another revision"),
    )
    return ChangeView(
        at=WHEN,
        kustomization="flux-system/app",
        source="GitRepository/flux-system/repo",
        revision="main@sha1:b",
        text=record.describe(),
        record=record,
    )


def rollout(
    name: str,
    *,
    phase: Phase = Phase.PROGRESSING,
    judgements: Sequence[Judgement] = (),
    finished: datetime | None = None,
) -> RolloutView:
    return RolloutView(
        namespace="serving",
        name=name,
        target="Deployment/chat",
        primary="Deployment/chat-primary",
        provider="gatewayapi:v1",
        strategy="canary",
        phase=phase,
        weight=20,
        changes=("model changed",),
        judgements=tuple(judgements),
        started=WHEN,
        finished=finished,
    )


def period(revision: str, since: int | None, until: int | None, canary: str = "serving/chat") -> LedgerEntry:
    """A primary that served between these hours after WHEN."""
    times = [None if hours is None else WHEN + timedelta(hours=hours) for hours in (since, until)]
    outcome = "" if until is None else "replaced"
    model = Reference(slot="server.model", kind="model", spelling=f"hf://org/m@{revision}", digest=revision)
    return LedgerEntry(
        canary=canary,
        role="primary",
        revision=revision,
        since=times[0],
        until=times[1],
        outcome=outcome,
        models=(model,),
    )


@dataclass
class World:
    """Implements the API's `Knowledge`; tests change the lists."""

    all_sources: list[SourceView] = field(default_factory=list)
    all_kustomizations: list[KustomizationView] = field(default_factory=list)
    all_changes: list[ChangeView] = field(default_factory=list)
    all_rollouts: list[RolloutView] = field(default_factory=list)
    all_runs: list[RolloutView] = field(default_factory=list)
    all_periods: list[LedgerEntry] = field(default_factory=list)

    def sources(self) -> Sequence[SourceView]:
        return self.all_sources

    def kustomizations(self) -> Sequence[KustomizationView]:
        return self.all_kustomizations

    def changes(self) -> Sequence[ChangeView]:
        return self.all_changes

    def rollouts(self) -> Sequence[RolloutView]:
        return self.all_rollouts

    def runs(self) -> Sequence[RolloutView]:
        return self.all_runs

    def ledger(self) -> Sequence[LedgerEntry]:
        return self.all_periods

    def status(self) -> AgentView:
        counts = CountView(total=len(self.all_sources), ready=0, suspended=0)
        return AgentView(
            version="1.2.3",
            phase="leading",
            controllers=("source", "kustomize"),
            sources=counts,
            kustomizations=counts,
            rollouts=len(self.all_rollouts),
        )


class Asker:
    """GETs against a running API."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON body of `/api/v1` + path."""
        async with self._session.get(f"{self._base}/api/v1{path}") as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def refused(self, path: str, status: int = 400) -> str:
        """The text of a refusal."""
        code, body = await self.get(path)
        assert (code, list(body)) == (status, ["error"])
        return str(body["error"])

    async def walk(self, path: str) -> list[Any]:
        """The items of all pages."""
        items: list[Any] = []
        token = ""
        while True:
            separator = "&" if "?" in path else "?"
            _, page = await self.get(f"{path}{separator}continue={token}" if token else path)
            items += page["items"]
            token = page["continue"]
            if not token:
                return items


@asynccontextmanager
async def answering(world: World) -> AsyncIterator[Asker]:
    """The API over HTTP."""
    address = Address(host="127.0.0.1", port=free_port())
    async with serving(address, routes(world, RolloutView, "1.2.3")), aiohttp.ClientSession() as session:
        yield Asker(session, f"http://{address}")
