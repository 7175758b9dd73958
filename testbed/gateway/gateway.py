"""The process gateway: a Gateway controller and the HTTP proxy that it programs, in one."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from testbed.gateway.dispatch import Dispatcher
from testbed.gateway.metrics import GatewayMetrics
from testbed.gateway.mirror import MirrorSender
from testbed.gateway.proxy import new_session
from testbed.gateway.status import wanted_statuses
from testbed.gateway.table import build_table
from testbed.gateway.world import COLLECTIONS, World
from testbed.node.kubeapi import Access, ApiError, KubeApi, Obj
from testbed.ports import free_port

CONTROLLER = "testbed.weir.dev/process-gateway"
_HOST = "127.0.0.1"
_SETTLE_SECONDS = 0.01
_RETRY_SECONDS = 1.0


class ProcessGateway:
    """A Gateway API implementation for tests and demos, in front of the Pods of process nodes.

    It serves every Gateway whose GatewayClass has the controllerName ``testbed.weir.dev/process-gateway``, and
    their HTTPRoutes: hostnames, path, header, query and method matches in the API's order of precedence,
    weights, the filters RequestHeaderModifier, ResponseHeaderModifier, URLRewrite and RequestMirror, timeouts.
    It writes the conditions of GatewayClass, Gateway and HTTPRoute. A request whose host is ``<service>.<namespace>``
    (with or without ``.svc.cluster.local``) and that no route takes goes to the ready Pods of that Service, in
    place of cluster DNS and kube-proxy.

    What it is not: all Gateways share one plain HTTP listener on 127.0.0.1 (``url``), whatever ports their
    listeners name, so two of them with the same hostname are not told apart; no TLS, HTTP/2, upgrade to
    websockets, redirects, retries of an answered request, or session persistence. Weights are met by turns, not by
    chance. It reaches only Pods that publish their local ports as ``testbed.node`` does.

    Metrics in the Prometheus text format are at ``metrics_url``. Use it as an async context manager or with
    start and stop.
    """

    def __init__(self, access: Access, *, port: int | None = None, metrics_port: int | None = None) -> None:
        self.port = port or free_port()
        self.metrics_port = metrics_port or free_port()
        self._access = access
        self._metrics = GatewayMetrics()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._listening = asyncio.Event()
        self._main: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where requests go; the Host header tells the route."""
        return f"http://{_HOST}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """The metrics endpoint."""
        return f"http://{_HOST}:{self.metrics_port}/metrics"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start to listen and to watch; raises OSError when a port is taken."""
        self._main = asyncio.create_task(self._run(), name="process-gateway")
        listening = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait({self._main, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
        if self._main.done():
            await self._main

    async def stop(self) -> None:
        """Stop to listen and to watch; requests under way have a second to end."""
        if self._main is None:
            return
        self._closing.set()
        await self._main
        self._main = None

    async def _run(self) -> None:
        async with (
            KubeApi(self._access) as api,
            new_session() as session,
            asyncio.TaskGroup() as group,
            asyncio.TaskGroup() as copies,
        ):
            world = World(self._changed.set)
            dispatcher = Dispatcher(world, self._metrics, session, MirrorSender(world, session, copies.create_task))
            tasks = [group.create_task(world.follow(api, plural)) for plural in COLLECTIONS]
            tasks.append(group.create_task(self._control(api, world, dispatcher)))
            try:
                await self._serve(dispatcher)
            finally:
                for task in tasks:
                    task.cancel()

    async def _serve(self, dispatcher: Dispatcher) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for handler, port in ((dispatcher.handle, self.port), (self._expose, self.metrics_port)):
                runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=1)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, _HOST, port).start()
            self._listening.set()
            await self._closing.wait()

    async def _expose(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=self._metrics.expose(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _control(self, api: KubeApi, world: World, dispatcher: Dispatcher) -> None:
        """After each change: program the routes first, then write the statuses."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._changed.clear()
            dispatcher.table = build_table(world, CONTROLLER)
            for plural, item, status in wanted_statuses(world, CONTROLLER, _HOST):
                try:
                    await _write_status(api, plural, item, status)
                except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                    # a conflict or a deletion comes with a watch event; anything else needs another try
                    if not (isinstance(error, ApiError) and error.status in {404, 409}):
                        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._changed.set)


async def _write_status(api: KubeApi, plural: str, item: Obj, status: Obj) -> None:
    metadata = item["metadata"]
    collection = COLLECTIONS[plural]
    if metadata.get("namespace"):
        base, _, name = collection.rpartition("/")
        collection = f"{base}/namespaces/{metadata['namespace']}/{name}"
    body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
    await api.patch(f"{collection}/{metadata['name']}/status", body)
