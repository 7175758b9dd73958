"""`/api/v1`: what the agent knows, as JSON. Read-only; every list is paged; described by `/api/v1/openapi.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec
from aiohttp import web

from agent.api.moment import parse_moment
from agent.core.rollout.ledger import LedgerEntry
from agent.server.openapi import Operation, document
from agent.server.paging import DEFAULT_LIMIT, Mark, Order, paged
from agent.server.views import AgentView, ChangeView, KustomizationView, SourceView

PREFIX = "/api/v1"
_ENCODER = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a request."""

    error: str


class Knowledge(Protocol):
    """Where the answers come from."""

    def sources(self) -> Sequence[SourceView]:
        """All sources."""

    def kustomizations(self) -> Sequence[KustomizationView]:
        """All Kustomizations."""

    def changes(self) -> Sequence[ChangeView]:
        """Change records, newest first."""

    def rollouts(self) -> Sequence[Any]:
        """All rollouts with their judgements."""

    def runs(self) -> Sequence[Any]:
        """Finished runs, newest first."""

    def ledger(self) -> Sequence[LedgerEntry]:
        """Which revisions answered when, by Canary, the newest first."""

    def status(self) -> AgentView:
        """A summary of the agent itself."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One kind of thing: how it is listed, marked and filtered. `path` names one item by these attributes.

    Items come in the order that is named.
    """

    name: str
    summary: str
    item: Any
    items: Callable[[], Sequence[Any]]
    mark: Callable[[Any], Mark]
    filters: dict[str, Callable[[Any], str]]
    path: tuple[str, ...] = ()
    order: Order = "ascending"
    moments: Mapping[str, Callable[[Any, datetime], bool]] = field(default_factory=dict)
    """Parameters that are times, with what makes an item one of that time."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """What may be asked for."""
        return (*self.filters, *self.moments)


_NAMES: dict[str, Callable[[Any], str]] = {"namespace": lambda item: item.namespace, "name": lambda item: item.name}
_CHANGE_FILTERS: dict[str, Callable[[Any], str]] = {
    "kustomization": lambda item: item.kustomization,
    "source": lambda item: item.source,
    "revision": lambda item: item.revision,
    "kind": lambda item: item.record.kind,
    "op": lambda item: item.record.op,
    "objectKind": lambda item: item.record.object.kind,
    "namespace": lambda item: item.record.object.namespace,
    "name": lambda item: item.record.object.name,
}


def collections(knowledge: Knowledge, rollout_type: Any) -> tuple[Collection, ...]:
    """Everything that can be listed."""
    ready = {"ready": lambda item: item.ready}
    return (
        Collection(
            "sources",
            "Sources and their artifacts",
            SourceView,
            knowledge.sources,
            lambda item: (item.namespace, item.name, item.kind),
            {"kind": lambda item: item.kind, **_NAMES, **ready},
            ("kind", "namespace", "name"),
        ),
        Collection(
            "kustomizations",
            "Kustomizations, what they applied, their history",
            KustomizationView,
            knowledge.kustomizations,
            lambda item: (item.namespace, item.name),
            {**_NAMES, **ready, "source": lambda item: item.source},
            ("namespace", "name"),
        ),
        Collection(
            "changes",
            "Changes of models and data, newest first",
            ChangeView,
            knowledge.changes,
            lambda item: (item.revision, item.record.id),
            _CHANGE_FILTERS,
            order="log",
        ),
        *_of_rollouts(knowledge, rollout_type),
        Collection(
            "ledger",
            "Which model answered when: periods of every Canary, newest first",
            LedgerEntry,
            lambda: sorted(knowledge.ledger(), key=_ledger_mark, reverse=True),
            _ledger_mark,
            {"canary": lambda item: item.canary, "role": lambda item: item.role},
            order="descending",
            moments={"at": lambda item, moment: item.covers(moment)},
        ),
    )


def _of_rollouts(knowledge: Knowledge, rollout_type: Any) -> tuple[Collection, ...]:
    filters = {**_NAMES, "phase": lambda item: str(item.phase)}
    return (
        Collection(
            "rollouts",
            "Rollouts, the change each one judges, and every judgement",
            rollout_type,
            knowledge.rollouts,
            lambda item: (item.namespace, item.name),
            filters,
            ("namespace", "name"),
        ),
        Collection(
            "runs",
            "Finished runs with their judgements, newest first",
            rollout_type,
            lambda: sorted(knowledge.runs(), key=_run_mark, reverse=True),
            _run_mark,
            filters,
            order="descending",
        ),
    )


def _ledger_mark(entry: LedgerEntry) -> Mark:
    return entry.since.isoformat() if entry.since is not None else "", entry.canary, entry.role, entry.revision


def _run_mark(run: Any) -> Mark:
    return str(run.finished), run.namespace, run.name


def routes(knowledge: Knowledge, rollout_type: Any, version: str) -> list[web.RouteDef]:
    """The API's routes."""
    known = collections(knowledge, rollout_type)
    operations = [Operation(c.name, c.summary, c.item, tuple(c.filters), c.path, tuple(c.moments)) for c in known]
    description = _ENCODER.encode(document(operations, AgentView, Problem, version, PREFIX))

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json")

    async def status(_request: web.Request) -> web.Response:
        return _json(knowledge.status())

    result = [web.get(f"{PREFIX}/openapi.json", openapi), web.get(f"{PREFIX}/status", status)]
    for collection in known:
        result.append(web.get(f"{PREFIX}/{collection.name}", _lister(collection)))
        if collection.path:
            path = "/".join(f"{{{part}}}" for part in collection.path)
            result.append(web.get(f"{PREFIX}/{collection.name}/{path}", _finder(collection)))
    result.append(web.get(f"{PREFIX}/{{rest:.*}}", _unknown))
    return result


async def _unknown(_request: web.Request) -> web.Response:
    return _json(Problem(f"there is nothing here: {PREFIX}/openapi.json lists what there is"), status=404)


def _lister(collection: Collection) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        unknown = request.query.keys() - {*collection.parameters, "limit", "continue"}
        if unknown:
            known = ", ".join((*collection.parameters, "limit", "continue"))
            return _json(Problem(f"unknown parameter {', '.join(sorted(unknown))}: use {known}"), status=400)
        repeated = sorted({name for name in request.query if len(request.query.getall(name)) > 1})
        if repeated:
            return _json(Problem(f"parameter {', '.join(repeated)} may be given once"), status=400)
        wanted = [(read, request.query[name]) for name, read in collection.filters.items() if name in request.query]
        items = [item for item in collection.items() if all(read(item) == value for read, value in wanted)]
        try:
            for name, is_of in collection.moments.items():
                if name in request.query:
                    moment = _moment(name, request.query[name])
                    items = [item for item in items if is_of(item, moment)]
            page = paged(
                items,
                collection.mark,
                limit=_number(request.query.get("limit", str(DEFAULT_LIMIT))),
                token=request.query.get("continue", ""),
                order=collection.order,
            )
        except ValueError as error:
            return _json(Problem(str(error)), status=400)
        return _json(page)

    return handle


def _moment(name: str, text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _number(text: str) -> int:
    """0, which is no limit that is allowed, for what is not a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _finder(collection: Collection) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        wanted = [(part, request.match_info[part]) for part in collection.path]
        for item in collection.items():
            if all(getattr(item, part) == value for part, value in wanted):
                return _json(item)
        return _json(Problem(f"no such {collection.name.removesuffix('s')}"), status=404)

    return handle


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=_ENCODER.encode(value), status=status, content_type="application/json")
