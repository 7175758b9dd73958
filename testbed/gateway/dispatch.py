"""From a request to the answer of a Pod: routing, choice of backend and Pod, filters, forwarding, counting."""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from testbed.gateway.balance import Rotation, SmoothChoice
from testbed.gateway.filters import Filters, modify_headers, rewrite_path
from testbed.gateway.matching import Facts, Match, parse_match
from testbed.gateway.metrics import GatewayMetrics
from testbed.gateway.mirror import MirrorSender
from testbed.gateway.proxy import Body, body_of, end_to_end, relay, request_headers, target
from testbed.gateway.table import Backend, RoutingTable, Rule
from testbed.gateway.world import World

_ANY = parse_match({})
_SERVICE_SUFFIXES = (".svc.cluster.local", ".svc")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where a request goes and what happens to it on the way."""

    namespace: str
    backend: Backend
    match: Match = _ANY
    filters: tuple[Filters, ...] = ()
    timeout: float | None = None


@dataclass(slots=True)
class _Record:
    """What is counted about a request once it is answered; ``route`` is empty for a plain Service."""

    namespace: str = ""
    route: str = ""
    service: str = ""
    pod: str = ""
    code: int = 500
    started: float = field(default_factory=time.perf_counter)


class Dispatcher:
    """Answers the gateway's requests; ``table`` is replaced whenever the routes change."""

    def __init__(
        self, world: World, metrics: GatewayMetrics, session: aiohttp.ClientSession, mirrors: MirrorSender
    ) -> None:
        self.table = RoutingTable()
        self._world = world
        self._metrics = metrics
        self._session = session
        self._mirrors = mirrors
        self._choices: dict[tuple[str, str, int], tuple[list[tuple[str, str, int]], SmoothChoice]] = {}
        self._rotations: dict[tuple[str, str], Rotation] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and count it."""
        record = _Record()
        try:
            response = await self._answer(request, record)
            record.code = response.status
            return response
        finally:
            labels = (record.namespace, record.route, record.service, record.pod)
            self._metrics.observe(labels, record.code, time.perf_counter() - record.started)

    async def _answer(self, request: web.BaseRequest, record: _Record) -> web.StreamResponse:
        facts = _facts(request)
        found = self.table.find(facts)
        if found is None:
            plan = self._service_plan(facts.host, request.headers.get("Host", ""))
            if plan is None:
                return _error(404, "no route matches")
        else:
            rule, match = found
            record.namespace, record.route = rule.namespace, rule.route
            backend = self._choose(rule)
            if backend is None or not backend.resolved:
                return _error(500, "the rule's backend does not resolve")
            plan = _Plan(rule.namespace, backend, match, (rule.filters, backend.filters), rule.timeout)
        record.namespace, record.service = plan.namespace, plan.backend.service
        try:
            async with asyncio.timeout(plan.timeout):
                return await self._forward(request, plan, record)
        except TimeoutError:
            return _error(504, "the backend did not answer in time")

    def _choose(self, rule: Rule) -> Backend | None:
        key = (rule.namespace, rule.route, rule.index)
        weights = [(backend.namespace, backend.service, backend.weight) for backend in rule.backends]
        known = self._choices.get(key)
        if known is None or known[0] != weights:
            known = self._choices[key] = (weights, SmoothChoice([backend.weight for backend in rule.backends]))
        index = known[1].next()
        return None if index is None else rule.backends[index]

    def _service_plan(self, host: str, header: str) -> _Plan | None:
        """A plain Service by its name, as cluster DNS and kube-proxy would reach it; a port is only a wish."""
        for suffix in _SERVICE_SUFFIXES:
            host = host.removesuffix(suffix)
        name, _, namespace = host.partition(".")
        wish = header.rpartition(":")[2]
        for port in [int(wish), None] if wish.isdigit() else [None]:
            if self._world.service_port(namespace, name, port) is not None:
                return _Plan(namespace, Backend(namespace, name, port, 1, resolved=True, filters=Filters()))
        return None

    async def _forward(self, request: web.BaseRequest, plan: _Plan, record: _Record) -> web.StreamResponse:
        backend = plan.backend
        headers = request_headers(request)
        rewrite = next((filters.rewrite for filters in plan.filters if filters.rewrite), None)
        for filters in plan.filters:
            modify_headers(headers, filters.request_headers)
        if rewrite and rewrite.get("hostname"):
            headers["Host"] = rewrite["hostname"]
        raw_path, _, query = request.raw_path.partition("?")
        path = rewrite_path(raw_path, plan.match, rewrite)
        mirrors = [mirror for filters in plan.filters for mirror in filters.mirrors]
        body: Body = body_of(request)
        if mirrors:
            body = await request.content.read()
            for mirror in mirrors:
                self._mirrors.send(mirror, plan.namespace, (request.method, path, query), headers, body)
        rotation = self._rotations.setdefault((backend.namespace, backend.service), Rotation())
        endpoints = rotation.order(self._world.endpoints(backend.namespace, backend.service, backend.port))
        for endpoint in endpoints:
            record.pod = endpoint.pod
            try:
                async with self._session.request(
                    request.method,
                    target(endpoint.port, path, query),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as answer:
                    return await relay(request, answer, _answer_headers(answer, plan))
            except aiohttp.ClientConnectorError:  # nothing was sent yet, so another Pod may have it
                continue
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                return _error(502, "the backend closed the connection without an answer")
        if endpoints:
            return _error(502, "no ready Pod accepts connections")
        return _error(503, f"Service {backend.namespace}/{backend.service} has no ready Pod")


def _facts(request: web.BaseRequest) -> Facts:
    host = request.headers.get("Host", "").lower()
    name, colon, port = host.rpartition(":")
    return Facts(
        method=request.method,
        host=name if colon and port.isdigit() else host,
        path=request.path,
        headers={key.lower(): ",".join(request.headers.getall(key)) for key in request.headers},
        query={key: request.query.getall(key)[0] for key in request.query},
    )


def _answer_headers(answer: aiohttp.ClientResponse, plan: _Plan) -> CIMultiDict[str]:
    headers = end_to_end(answer.headers)
    for filters in plan.filters:
        modify_headers(headers, filters.response_headers)
    return headers


def _error(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"Server": "process-gateway"})
