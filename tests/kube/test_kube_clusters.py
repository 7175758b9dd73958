"""Connections to other clusters: shared by those with the same credentials, renewed, closed, and proven alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agent.adapters.kube.clusters import Connection, Proven, RemoteClusters, UnreachableError
from agent.adapters.kube.config import Cluster, FixedCredentials, load
from agent.adapters.kube.errors import Unavailable
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.resource import CONFIG_MAPS, Resource
from agent.core.objects import ObjectKey
from testbed.controlplane import ControlPlane
from testbed.processes import until

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
ONE, TWO = ("team", "one"), ("team", "two")


@pytest.fixture
async def opened() -> list[Connection]:
    return []


@asynccontextmanager
async def running(opened: list[Connection], rate: RateLimit | None = None) -> AsyncIterator[RemoteClusters]:
    remote = RemoteClusters(
        lambda _cluster: lambda _verb, _resource, _code, _seconds: None,
        may_write=lambda: True,
        on_problem=lambda _name, _error: None,
        on_open=opened.append,
        rate=rate,
    )
    task = asyncio.create_task(remote.run())
    await asyncio.sleep(0)
    yield remote
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def clusters(opened: list[Connection]) -> AsyncIterator[RemoteClusters]:
    async with running(opened) as remote:
        yield remote


async def is_closed(connection: Connection) -> bool:
    try:
        await connection.client.get(NAMESPACES, None, "default")
    except Unavailable as error:
        return "closed" in error.message
    return False


async def closed(connection: Connection) -> None:
    """Return once nothing can be sent through it."""
    async with asyncio.timeout(60):
        while not await is_closed(connection):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)


async def test_users_of_the_same_credentials_share_a_connection_and_the_last_one_closes_it(
    clusters: RemoteClusters, opened: list[Connection], control_plane: ControlPlane
) -> None:
    async def read() -> Cluster:
        return await load(str(control_plane.kubeconfig))

    first = await clusters.hold(ONE, "a", read)
    assert await clusters.hold(TWO, "a", read) is first
    assert opened == [first]
    await first.live.follow(CONFIG_MAPS)
    clusters.release(ONE)
    assert (await first.client.get(NAMESPACES, None, "default"))["kind"] == "Namespace"

    second = await clusters.hold(TWO, "b", read)
    assert second is not first
    await closed(first)
    assert (await second.client.get(NAMESPACES, None, "default"))["kind"] == "Namespace"
    clusters.release(TWO)
    clusters.release(TWO)
    await closed(second)
    assert clusters.count == 0


async def test_credentials_that_cannot_be_read_leave_the_old_connection_alone(
    clusters: RemoteClusters, control_plane: ControlPlane
) -> None:
    async def read() -> Cluster:
        return await load(str(control_plane.kubeconfig))

    async def fail() -> Cluster:
        raise Unavailable("no")

    first = await clusters.hold(ONE, "a", read)
    with pytest.raises(Unavailable):
        await clusters.hold(ONE, "b", fail)
    assert await clusters.hold(ONE, "a", fail) is first


class Server:
    """Answers `/version` as it is told, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = web.json_response({})
        self.lists = "{}"
        self.frames = b""
        self.watched = asyncio.Event()
        self.url = ""

    async def handle(self, _request: web.Request) -> web.StreamResponse:
        self.asked += 1
        await asyncio.sleep(0.1)
        return web.json_response(text=self.answer.text, status=self.answer.status)

    async def kinds(self, request: web.Request) -> web.StreamResponse:
        """A listing, or the frames of a watch."""
        if "watch" not in request.query:
            return web.json_response(text=self.lists)
        self.watched.set()
        return web.Response(body=self.frames)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    told = Server()
    app = web.Application()
    app.router.add_get("/version", told.handle)
    app.router.add_get("/api/v1/configmaps", told.kinds)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield told
    finally:
        await runner.cleanup()


async def outcomes(connection: Connection, count: int) -> list[Any]:
    """What several who ask at once are told."""
    return await asyncio.gather(*(connection.prove() for _ in range(count)), return_exceptions=True)


async def test_one_sign_of_life_is_enough_for_all_who_wait(clusters: RemoteClusters, server: Server) -> None:
    async def read() -> Cluster:
        return Cluster(server.url, FixedCredentials("Bearer t"))

    connection = await clusters.hold(ONE, "a", read)
    assert not connection.answers
    assert await outcomes(connection, 5) == [Proven()] * 5
    assert connection.answers
    assert server.asked == 1


@pytest.mark.parametrize(("status", "alive"), [(403, True), (404, True), (401, False), (503, False)])
async def test_what_counts_as_a_sign_of_life(
    clusters: RemoteClusters, server: Server, status: int, alive: bool
) -> None:
    async def read() -> Cluster:
        return Cluster(server.url, FixedCredentials("Bearer t"))

    server.answer = web.json_response({"kind": "Status", "message": "told so"}, status=status)
    connection = await clusters.hold(ONE, "a", read)
    for outcome in await outcomes(connection, 3):
        if alive:
            assert outcome == Proven()
        else:
            assert isinstance(outcome, UnreachableError)
            assert outcome.message == f"cluster {server.url}: told so"


async def test_nobody_there(clusters: RemoteClusters, server: Server) -> None:
    async def read() -> Cluster:
        return Cluster("http://127.0.0.1:9", FixedCredentials())

    connection = await clusters.hold(ONE, "a", read)
    failed = await outcomes(connection, 2)
    assert failed[0] is failed[1]
    assert "cannot connect" in failed[0].message
    assert not connection.answers


async def test_each_connection_to_a_server_without_priority_and_fairness_has_the_rate(
    opened: list[Connection], server: Server
) -> None:
    async def read() -> Cluster:
        return Cluster(server.url, FixedCredentials("Bearer t"))

    async def ask(connection: Connection) -> None:
        await connection.client.raw("GET", "/version", resource="version", timeout=60)

    async with running(opened, RateLimit(per_second=0.001, burst=2)) as clusters:
        first, second = await clusters.hold(ONE, "a", read), await clusters.hold(TWO, "b", read)
        await ask(first)
        await ask(first)
        beyond = asyncio.create_task(ask(first))
        await ask(second)
        await ask(second)
        assert server.asked == 4
        assert not beyond.done()
        beyond.cancel()
        await asyncio.wait({beyond})


async def test_a_server_that_answers_nonsense_is_a_problem_of_its_own(
    clusters: RemoteClusters, server: Server, control_plane: ControlPlane
) -> None:
    """Whoever may create Kustomizations may name any server; it must not take the agent down."""

    async def odd() -> Cluster:
        return Cluster(server.url, FixedCredentials("Bearer t"))

    async def sound() -> Cluster:
        return await load(str(control_plane.kubeconfig))

    for nonsense in (
        '{"metadata": {}, "items": [{"none": 1}]}',
        '{"metadata": 5}',
        '{"metadata": {}, "items": [7]}',
        "[",
    ):
        server.lists = nonsense
        connection = await clusters.hold(ONE, nonsense, odd)
        await connection.live.follow(CONFIG_MAPS)
        assert connection.live.fingerprint(ObjectKey("", "ConfigMap", "team", "a")) is None
    server.lists = '{"metadata": {"resourceVersion": "1"}}'
    server.frames = b'{"type": "MODIFIED", "object": {"metadata": 7}}\n'
    connection = await clusters.hold(ONE, "frames", odd)
    await connection.live.follow(CONFIG_MAPS)
    await server.watched.wait()
    other = await clusters.hold(TWO, "sound", sound)
    assert (await other.client.get(NAMESPACES, None, "default"))["kind"] == "Namespace"
    assert clusters.count == 2


async def test_a_connection_with_a_fault_of_ours_is_replaced_and_the_others_go_on(
    clusters: RemoteClusters, control_plane: ControlPlane
) -> None:
    async def read() -> Cluster:
        return await load(str(control_plane.kubeconfig))

    first, other = await clusters.hold(ONE, "a", read), await clusters.hold(TWO, "b", read)

    def fault(_key: ObjectKey, _old: object, _new: object) -> None:
        raise ZeroDivisionError

    async def replaced() -> bool:
        return await clusters.hold(ONE, "a", read) is not first

    await first.live.follow(CONFIG_MAPS)
    first.live.subscribe(fault)
    name = "weir-clusters-fault"
    labels = {"kustomize.toolkit.fluxcd.io/name": "one", "kustomize.toolkit.fluxcd.io/namespace": "team"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
    await other.client.apply(CONFIG_MAPS, "default", name, body, field_manager="test")
    try:
        await closed(first)
        await until(replaced, timeout=60, what="it refuses requests, and is given up a moment later")
        assert await clusters.hold(TWO, "b", read) is other
    finally:
        await other.client.delete(CONFIG_MAPS, "default", name)


async def test_a_replica_that_does_not_lead_writes_nowhere(control_plane: ControlPlane) -> None:
    leads = False
    remote = RemoteClusters(
        lambda _cluster: lambda _verb, _resource, _code, _seconds: None,
        may_write=lambda: leads,
        on_problem=lambda _name, _error: None,
        on_open=lambda _connection: None,
    )
    task = asyncio.create_task(remote.run())
    await asyncio.sleep(0)

    async def read() -> Cluster:
        return await load(str(control_plane.kubeconfig))

    connection = await remote.hold(ONE, "a", read)
    assert (await connection.client.get(NAMESPACES, None, "default"))["kind"] == "Namespace"
    with pytest.raises(Unavailable, match="another replica may be leading"):
        await connection.client.delete(CONFIG_MAPS, "default", "no-such-name")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
