"""Deadlines, retries and credentials, against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, FixedCredentials, TokenFile
from agent.adapters.kube.errors import ApiError, NotFound, TooManyRequests, Unauthorized, Unavailable
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.watch import KubeListWatch, Lines
from agent.errors import AuthenticationError, OperationError
from agent.runtime.watch import Bookmark, Changed, Expired, Frame, ObjectKey

THINGS = Resource("example.org", "v1", "things", "Thing", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
OBJECT = {"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "1"}}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers requests with the given handlers in turn, the last one for ever."""

    def __init__(self, *handlers: Handler) -> None:
        self.handlers = handlers
        self.requests: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.handlers[min(len(self.requests), len(self.handlers)) - 1](request)


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[Server]:
    server = Server(*handlers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(*handlers: Handler, **options: float) -> AsyncIterator[tuple[Server, KubeClient]]:
    async with serving(*handlers) as server:
        cluster = Cluster(server.url, FixedCredentials("Bearer t"))
        async with KubeClient(
            cluster, timeout=options.get("timeout", 60.0), limit=int(options.get("limit", 32))
        ) as client:
            yield server, client


def answering(status: int, body: object = None, **headers: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=named)
        return web.json_response(body if body is not None else OBJECT, status=status, headers=named)

    return answer


async def cutting(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hanging(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def test_reads_survive_short_failures() -> None:
    async with client_of(answering(503), cutting, answering(500), answering(200)) as (server, client):
        assert await client.get(THINGS, "ns", "a") == OBJECT
        assert len(server.requests) == 4


async def test_failures_that_last_are_reported() -> None:
    async with client_of(answering(503, {"message": "etcd is away", "reason": "ServiceUnavailable"})) as (
        server,
        client,
    ):
        with pytest.raises(Unavailable, match="etcd is away") as failed:
            await client.get(THINGS, "ns", "a")
        assert failed.value.status == 503
        assert len(server.requests) == 4


async def test_a_create_is_not_repeated_when_it_may_have_happened() -> None:
    for failure in (answering(500), cutting):
        async with client_of(failure) as (server, client):
            with pytest.raises(Unavailable):
                await client.create(THINGS, "ns", OBJECT)
            assert len(server.requests) == 1


async def test_too_many_requests_are_repeated_after_the_time_asked_for() -> None:
    async with client_of(answering(429, Retry_After="1"), answering(201)) as (server, client):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await client.create(THINGS, "ns", OBJECT)
        assert loop.time() - started >= 1.0
        assert len(server.requests) == 2


async def test_a_long_retry_after_does_not_outlast_the_deadline() -> None:
    async with client_of(answering(429, Retry_After="60"), timeout=30.0) as (_server, client):
        with pytest.raises(TooManyRequests) as refused:
            await client.get(THINGS, "ns", "a")
        assert refused.value.retry_after == 60


async def test_a_deadline_covers_all_attempts() -> None:
    async with client_of(hanging, timeout=2.5) as (server, client):
        with pytest.raises(Unavailable, match=r"get things: no answer within 2\.5 s"):
            await client.get(THINGS, "ns", "a")
        assert len(server.requests) == 1


async def test_an_api_server_that_shares_out_its_time_is_asked_without_a_rate() -> None:
    fair = answering(200, X_Kubernetes_PF_FlowSchema_UID="a-schema")
    async with serving(fair) as server:
        cluster = Cluster(server.url, FixedCredentials("Bearer t"))
        async with KubeClient(cluster, rate=RateLimit(per_second=0.001, burst=1)) as client, asyncio.timeout(60):
            # those that have begun to wait for their turn are let go as well
            await asyncio.gather(*(client.get(THINGS, "ns", "a") for _ in range(20)))
    assert len(server.requests) == 20


async def test_requests_beyond_the_burst_come_at_the_rate_also_when_they_are_repeated() -> None:
    async with serving(answering(500), answering(200, OBJECT)) as server:
        cluster, began = Cluster(server.url, FixedCredentials("Bearer t")), time.monotonic()
        async with KubeClient(cluster, rate=RateLimit(per_second=10, burst=1)) as client:
            await client.get(THINGS, "ns", "a")
            await client.get(THINGS, "ns", "a")
    assert len(server.requests) == 3
    assert time.monotonic() - began >= 0.19


async def test_a_refused_connection_is_retried_even_for_a_create() -> None:
    codes: list[int] = []
    # Port 1 on loopback is closed.
    cluster = Cluster("http://127.0.0.1:1", FixedCredentials())
    async with KubeClient(cluster, on_request=lambda _v, _r, code, _s: codes.append(code)) as client:
        with pytest.raises(Unavailable, match=r"create things: cannot connect to 127\.0\.0\.1:1 \(.*refused"):
            await client.create(THINGS, "ns", OBJECT)
    assert codes == [0] * 4


async def test_answers_of_other_servers_are_understood() -> None:
    async with client_of(answering(404, "404 page not found\n")) as (_server, client):
        with pytest.raises(NotFound, match="404 page not found"):
            await client.get(THINGS, "ns", "a")
    async with client_of(answering(403, "<html>secret page</html>")) as (_server, client):
        with pytest.raises(ApiError, match="the server answered 403"):
            await client.get(THINGS, "ns", "a")


async def test_redirects_are_not_followed() -> None:
    async with client_of(answering(302, Location="http://127.0.0.1:1/steal")) as (server, client):
        with pytest.raises(ApiError, match="302"):
            await client.get(THINGS, "ns", "a")
        assert len(server.requests) == 1


async def test_an_answer_that_is_not_json_is_an_api_error() -> None:
    async with client_of(answering(200, "<html>login</html>")) as (_server, client):
        with pytest.raises(ApiError, match="get things: the answer is not"):
            await client.get(THINGS, "ns", "a")
        with pytest.raises(ApiError, match="list things: the answer is not"):
            await client.list(THINGS, "ns")


async def test_a_rotated_token_is_read_again_when_the_old_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")

    async def only_new(request: web.Request) -> web.StreamResponse:
        return web.json_response(OBJECT, status=200 if request.headers["Authorization"] == "Bearer new" else 401)

    async with serving(only_new) as server, KubeClient(Cluster(server.url, TokenFile(path))) as client:
        with pytest.raises(Unauthorized):
            await client.get(THINGS, "ns", "a")
        path.write_text("new\n")
        assert await client.get(THINGS, "ns", "a") == OBJECT


async def test_a_missing_token_file(tmp_path: Path) -> None:
    async with KubeClient(Cluster("http://127.0.0.1:1", TokenFile(tmp_path / "none"))) as client:
        with pytest.raises(AuthenticationError, match="token file"):
            await client.get(THINGS, "ns", "a")


async def test_requests_in_flight_are_limited_but_streams_do_not_count() -> None:
    running = highest = 0
    full = asyncio.Event()

    async def counting(request: web.Request) -> web.StreamResponse:
        nonlocal running, highest
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(60)
            return response
        running += 1
        highest = max(highest, running)
        if running == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)
        running -= 1
        return web.json_response(OBJECT)

    async with (
        client_of(counting, limit=3) as (_server, client),
        client.watch_bytes(THINGS, params=(), idle=5),
        client.watch_bytes(THINGS, params=(), idle=5),
        client.watch_bytes(THINGS, params=(), idle=5),
    ):
        await asyncio.gather(*(client.get(THINGS, "ns", "a") for _ in range(12)))
    assert highest == 3


def streaming(*chunks: bytes) -> Handler:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        return response

    return stream


def frame(kind: str, name: str, version: int, filler: str = "") -> bytes:
    text = f'{{"type":"{kind}","object":{{"metadata":{{"name":"{name}","namespace":"ns","resourceVersion":"{version}"}}'
    return f'{text},"value":"{filler or name}"}}}}\n'.encode()


def decode(body: bytes) -> bytes:
    if b"poison" in body:
        raise ValueError("it does not fit")
    return body


def watching(client: KubeClient, undecodable: list[tuple[ObjectKey, str]] | None = None) -> KubeListWatch[bytes]:
    told = undecodable if undecodable is not None else []
    return KubeListWatch(client, THINGS, decode, on_undecodable=lambda key, message: told.append((key, message)))


async def collected(source: KubeListWatch[bytes]) -> list[Frame[bytes]]:
    async with source.watch("0") as stream:
        return [entry async for entry in stream]


async def drained(client: KubeClient, params: tuple[tuple[str, str], ...]) -> bytes:
    async with client.watch_bytes(THINGS, params=params, idle=2.0) as stream:
        return b"".join([chunk async for chunk in stream])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_lines_are_the_same_however_they_arrive(data: bytes, cuts: list[int]) -> None:
    lines = Lines()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [line for start, end in pairwise(edges) for line in lines.feed(data[start:end])]
    assert found == data.split(b"\n")[:-1]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = Lines(longest=10)
    assert lines.feed(b"12345678\n12345678") == [b"12345678"]
    assert lines.feed(b"90\nabc") == [b"1234567890"]
    with pytest.raises(ValueError, match="too long"):
        lines.feed(b"defghijk")


async def test_an_answer_without_an_end_is_not_read_to_it() -> None:
    for status in (200, 500):
        async with serving(answering(status, {"kind": "Status", "message": "x" * 2000})) as server:
            cluster = Cluster(server.url, FixedCredentials())
            async with KubeClient(cluster, largest=3000) as client:
                answer = client.raw("POST", "/")
                if status == 200:
                    await answer
                else:
                    with pytest.raises(Unavailable, match="xxx"):
                        await answer
            async with KubeClient(cluster, largest=1000) as client:
                with pytest.raises(Unavailable, match="the answer has more than 1000 bytes"):
                    await client.raw("POST", "/")


async def test_frames_of_any_size_however_they_are_cut() -> None:
    big = frame("ADDED", "big", 2, "x" * 1_000_000)
    data = frame("ADDED", "a", 1) + big + frame("BOOKMARK", "", 3)
    chunks = [data[start : start + 70_001] for start in range(0, len(data), 70_001)]
    async with client_of(streaming(*chunks)) as (server, client):
        frames = await collected(watching(client))
        query = server.requests[0].query
        assert (query["resourceVersion"], query["allowWatchBookmarks"]) == ("0", "true")
        assert 290 <= int(query["timeoutSeconds"]) < 390
    first, second, third = frames
    assert isinstance(first, Changed)
    assert isinstance(second, Changed)
    assert first.item.key == ObjectKey("ns", "a")
    assert len(second.item.value) > 1_000_000
    assert third == Bookmark("3")


async def test_an_object_that_does_not_fit_is_left_out_and_reported() -> None:
    told: list[tuple[ObjectKey, str]] = []
    data = frame("ADDED", "poison", 1), frame("ADDED", "b", 2)
    async with client_of(streaming(*data)) as (_server, client):
        frames = await collected(watching(client, told))
    assert frames[0] == Bookmark("1")
    assert isinstance(frames[1], Changed)
    assert told == [(ObjectKey("ns", "poison"), "it does not fit")]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}\n', Expired),
        (b'{"type":"ERROR","object":{"code":500,"message":"broken"}}\n', Unavailable),
        (b"<html>\n", Unavailable),
    ],
)
async def test_errors_within_a_stream(data: bytes, error: type[OperationError]) -> None:
    async with client_of(streaming(data)) as (_server, client):
        with pytest.raises(error):
            await collected(watching(client))


async def test_what_a_consumer_raises_is_not_taken_for_a_failure_of_the_stream() -> None:
    async with client_of(streaming(frame("ADDED", "a", 1))) as (_server, client):
        with pytest.raises(PermissionError):
            await failing(watching(client))


async def failing(source: KubeListWatch[bytes]) -> None:
    async with source.watch("0") as stream:
        async for _ in stream:
            raise PermissionError


async def test_a_stream_that_is_cut_or_falls_silent_is_an_error() -> None:
    async def cut_later(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(frame("ADDED", "a", 1))
        if request.query.get("silent"):
            await asyncio.sleep(60)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with client_of(cut_later) as (_server, client):
        for params in ((), (("silent", "1"),)):
            with pytest.raises(Unavailable, match="watch things: connection lost"):
                await drained(client, params)


async def test_pages_that_expire_are_listed_in_one_piece() -> None:
    page = {"metadata": {"resourceVersion": "5", "continue": "t"}, "items": [OBJECT]}
    whole = {"metadata": {"resourceVersion": "9"}, "items": [OBJECT, OBJECT]}
    gone = {"message": "The provided continue parameter is too old", "reason": "Expired"}
    async with client_of(answering(200, page), answering(410, gone), answering(200, whole)) as (server, client):
        listing = await client.list(THINGS, "ns")
        assert (len(listing.items), listing.resource_version) == (2, "9")
        assert [request.query.get("limit") for request in server.requests] == ["500", "500", None]
    async with client_of(answering(410, gone)) as (_server, client):
        with pytest.raises(Expired):
            await watching(client).list("t")


async def test_bodies_do_not_show_in_representations() -> None:
    async with client_of(answering(200)) as (_server, client):
        call = client._call("apply", SECRETS, "/api/v1/x", body=b"hunter2")
        assert "hunter2" not in repr(call)
        assert "Bearer" not in repr(client.cluster)


async def test_a_fenced_client_reads_but_does_not_write() -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response(OBJECT)

    async with serving(answer) as server, KubeClient(Cluster(server.url, FixedCredentials())) as client:
        client.fence(lambda: False)
        tenant = client.as_service_account("ns", "tenant")
        assert await tenant.get(THINGS, "ns", "a") == OBJECT
        with pytest.raises(Unavailable, match="another replica may be leading"):
            await tenant.apply(THINGS, "ns", "a", OBJECT, field_manager="test")
        assert [request.method for request in server.requests] == ["GET"]
