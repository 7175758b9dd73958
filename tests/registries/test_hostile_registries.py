"""Registries that are slow, busy, or mean harm; and what is not asked twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from yarl import URL

from agent.adapters.registries import Access, Resolver
from agent.adapters.registries.access import RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.objects import leaves
from agent.adapters.webhooks import Webhooks
from agent.core.models import Ref, parse
from agent.core.registries.outcome import Missing
from agent.core.rollout.plan import Hook
from tests.registries.registry_servers import Asking, Registry, asking, registry
from tests.registries.test_hub_answers import A, hub

REVISION = "/api/models/org/m/revision/main"


async def test_redirects_without_end(server: Registry, ask: Asking) -> None:
    server.status(REVISION, 307, Location=REVISION)
    assert (await ask("hf://org/m")).unresolved == "refused"
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/",
        "http://127.0.0.1.:1/",
        "http://2130706433:1/",
        "http://127.1:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://[64:ff9b::a00:1]:1/",
        "http://[2002:a00:1::]:1/",
        "http://0:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://10.0.0.1/",
        "http://[::1",
        "file:///etc",
        "//",
    ],
)
async def test_redirects_into_the_cluster(server: Registry, ask: Asking, target: str) -> None:
    server.status(REVISION, 302, Location=target)
    assert (await ask("hf://org/m")).unresolved == "refused"


@pytest.mark.parametrize(
    "endpoint", ["http://169.254.169.254", "http://[::ffff:169.254.169.254]", "http://2852039166", "http://[fe80::1]"]
)
async def test_the_services_of_machines_are_never_asked(ask: Asking, endpoint: str) -> None:
    ask.access = Access(endpoint)
    assert (await ask("hf://org/m")).unresolved == "refused"


async def test_names_of_such_services_are_no_way_around(monkeypatch: pytest.MonkeyPatch, ask: Asking) -> None:
    async def resolve(_self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    ask.access = Access("http://metadata.internal")
    assert (await ask("hf://org/m")).unresolved == "refused"


async def test_a_reference_that_is_no_address(ask: Asking) -> None:
    for spelling in ("https://[::1/m", "https://host:99999/m", "https://a b/m"):
        assert (await ask(spelling)).unresolved in {"refused", "malformed", "unreachable"}


async def test_a_private_host_that_no_policy_names(server: Registry, ask: Asking) -> None:
    server.status("/m.gguf", 200, ETag='"a"')
    ask.access = Access("")
    assert (await ask(f"{server.url}/m.gguf")).unresolved == "refused"
    assert server.asked == []


async def test_credentials_do_not_follow_a_redirect_to_another_host(server: Registry, ask: Asking) -> None:
    async with registry() as other:
        server.status(REVISION, 302, Location=f"{other.url}/x")
        ask.with_secret(token="hf_abc")
        assert (await ask("hf://org/m")).unresolved == "refused"
        assert other.asked == []


async def test_a_proxy_of_the_environment_may_be_in_the_cluster(
    server: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = server.url.replace("127.0.0.1", "localhost")
    for name, value in (("http_proxy", proxy), ("no_proxy", "inside.example")):
        monkeypatch.setenv(name, value)
    server.status("/m.gguf", 200, ETag='"e"')
    async with asking(server) as ask:
        ask.access = Access("")
        assert str((await ask("http://files.example/m.gguf")).digest) == "etag:e"
        server.status("/m.gguf", 302, Location="http://10.0.0.1/m.gguf")
        assert (await ask("http://files.example/m.gguf", ttl=0)).digest is not None  # as it was known
        assert (await ask("http://other.example/m.gguf")).unresolved == "refused"
        assert (await ask(f"{server.url}/m.gguf")).unresolved == "refused"
    assert {request.headers["Host"] for request in server.asked} == {"files.example", "other.example"}


class Anywhere(Fetcher):
    """Asks every host, as if all were on the internet."""

    def _session(self, url: URL, endpoint: str) -> aiohttp.ClientSession:
        return super()._session(url, str(url.origin()))


@pytest.mark.parametrize("header", ["Authorization", "X-Amz-Security-Token", "Authn-Token"])
async def test_headers_with_credentials_stay_with_the_host_they_are_for(server: Registry, header: str) -> None:
    async with registry() as other, Anywhere() as fetcher:
        server.status("/here", 307, Location="/there")
        server.status("/there", 307, Location=f"{other.url}/x")
        await fetcher.get(f"{server.url}/here", endpoint=server.url, headers={header: "secret", "X-Other": "plain"})
        assert [request.headers.get(header) for request in server.asked] == ["secret", "secret"]
        assert [(r.headers.get(header), r.headers["X-Other"]) for r in other.asked] == [(None, "plain")]


async def test_a_log_in_is_not_sent_on_to_another_host(server: Registry) -> None:
    async with registry() as other, Anywhere() as fetcher:
        server.status("/token", 307, Location=f"{other.url}/token")
        with pytest.raises(RegistryError) as refused:
            await fetcher.get(f"{server.url}/token", endpoint=server.url, method="POST", form={"client_secret": "x"})
        assert refused.value.missing.reason == "refused"
        assert other.asked == []


class LogIn:
    """Gives everybody a cookie; `server` by its name, since cookies of addresses would not be kept anyway."""

    def __init__(self, server: Registry) -> None:
        self.server, self.url = server, server.url.replace("127.0.0.1", "localhost")
        server.put("/x", lambda: web.Response(headers={"Set-Cookie": "hadoop.auth=u=a; Path=/; HttpOnly"}))

    def cookies(self) -> list[str | None]:
        """What came back, by request."""
        return [request.headers.get("Cookie") for request in self.server.asked]


async def test_cookies_of_one_tenant_are_not_sent_for_another(server: Registry) -> None:
    login = LogIn(server)
    async with Fetcher() as fetcher:
        for scope in ("a", "b"):
            await fetcher.get(f"{login.url}/x", endpoint=login.url, scope=scope)
    assert login.cookies() == [None, None]


async def test_clients_of_other_servers_keep_no_cookies_either(server: Registry) -> None:
    login = LogIn(server)
    async with Webhooks() as webhooks:
        for _ in range(2):
            assert await webhooks.call(Hook(type="pre-rollout", name="gate", url=f"{login.url}/x"), {}) == ""
    assert login.cookies() == [None, None]


async def test_an_answer_without_end(server: Registry, ask: Asking) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            return response

    server.ask(REVISION, endless)
    assert (await ask("hf://org/m")).unresolved == "refused"


async def test_an_answer_that_does_not_come(server: Registry) -> None:
    asked = asyncio.Event()
    over = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await over.wait()
        return web.Response()

    server.ask(REVISION, silent)
    async with asking(server, seconds=3.0) as ask:
        assert (await ask("hf://org/m")).unresolved == "timeout"
    assert asked.is_set()
    over.set()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"RateLimit": '"api";r=0;t=600'}),
        (429, {"RateLimit-Reset": "600", "RateLimit-Limit": "10, 10;w=600"}),
        (429, {"X-RateLimit-Reset": "1800000600", "Date": formatdate(1_800_000_000, usegmt=True)}),
        (403, {"X-RateLimit-Remaining": "0", "Retry-After": "600"}),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "600"}),
    ],
)
async def test_how_long_a_host_wants_to_be_left_alone(server: Registry, status: int, headers: dict[str, str]) -> None:
    server.put("/x", lambda: web.Response(status=status, headers=headers))
    async with Fetcher(clock=lambda: 0.0) as fetcher:
        with pytest.raises(RegistryError) as refused:
            await fetcher.get(f"{server.url}/x", endpoint=server.url)
        assert refused.value.missing.reason == "rate-limited"
        assert refused.value.missing.after == pytest.approx(600)


@pytest.mark.parametrize("moment", ["1 Jan 99999999999 00:00:00 GMT", "9" * 19 + "x", "²", "soon"])
async def test_a_moment_that_cannot_be_read_is_a_minute(server: Registry, moment: str) -> None:
    headers = {"Retry-After": moment, "Date": moment}
    server.put("/x", lambda: web.Response(status=429, headers=headers))
    async with Fetcher() as fetcher:
        with pytest.raises(RegistryError) as refused:
            await fetcher.get(f"{server.url}/x", endpoint=server.url)
    assert refused.value.missing == Missing("rate-limited", "127.0.0.1 asks to be left alone for 60s", 60.0)


async def test_a_host_that_wants_to_be_left_alone_is(server: Registry, ask: Asking) -> None:
    server.status(REVISION, 429, Retry_After="60")
    assert (await ask("hf://org/m")).unresolved == "rate-limited"
    assert (await ask("hf://org/other")).unresolved == "rate-limited"
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b'{"sha": 7}', b'{"sha": "../../x"}', b"\xff"])
async def test_an_answer_that_is_no_json(server: Registry, ask: Asking, body: bytes) -> None:
    server.put(REVISION, lambda: web.Response(body=body))
    assert (await ask("hf://org/m")).unresolved == "unreadable"


async def test_a_failure_keeps_what_was_known(server: Registry, ask: Asking) -> None:
    hub(server)
    known = await ask("hf://org/m", ttl=0)
    server.status(REVISION, 500)
    ref = await ask("hf://org/m", ttl=0)
    assert ref.unresolved == "unreachable"
    assert ref.digest == known.digest
    assert ref.identity is not None
    assert ref.identity.revision == A


async def test_many_who_ask_are_answered_by_one_request(server: Registry, ask: Asking) -> None:
    hub(server)
    found = await asyncio.gather(*(ask("hf://org/m") for _ in range(20)))
    assert {ref.unresolved for ref in found} == {None}
    assert len(server.asked) == 2


async def test_what_floats_is_asked_again_and_what_is_pinned_is_not(server: Registry, ask: Asking) -> None:
    hub(server)
    server.json(f"/api/models/org/m/revision/{A}", {"sha": A})
    for _ in range(2):
        await ask("hf://org/m", ttl=0)
        await ask(f"hf://org/m@{A}", ttl=0)
    assert server.paths().count(REVISION) == 2
    assert server.paths().count(f"/api/models/org/m/revision/{A}") == 1


async def test_what_is_pinned_is_asked_again_if_somebody_doubts_it_and_not_by_each_who_does(server: Registry) -> None:
    server.json("/api/2.0/mlflow/model-versions/get", {"model_version": {"version": "7", "source": "s3://models/m"}})
    access, clock = Access(server.url), [0.0]
    async with Fetcher() as fetcher:
        resolver = Resolver(fetcher, clock=lambda: clock[0])
        for at, tag, doubt, told in (
            (0.0, "a", None, "a"),
            (9e9, "b", None, "a"),
            (9e9, "b", 1800.0, "b"),
            (9e9 + 1799, "c", 1800.0, "b"),
            (9e9 + 1800, "c", 1800.0, "c"),
        ):
            clock[0] = at
            server.status("/models/m", 200, ETag=f'"{tag}"')
            ref = await resolver.resolve(parse("models:/m/7"), lambda _ref: access, ttl=300, again_after=doubt)
            assert str(ref.digest) == f"etag:{told}"


async def test_an_answer_that_did_not_change_is_not_sent_again(server: Registry, ask: Asking) -> None:
    sent: list[int] = []

    async def tagged(request: web.Request) -> web.Response:
        same = request.headers.get("If-None-Match") == '"t1"'
        sent.append(304 if same else 200)
        return web.Response(status=304) if same else web.json_response({"sha": A}, headers={"ETag": '"t1"'})

    hub(server)
    server.ask(REVISION, tagged)
    first, second = await ask("hf://org/m", ttl=0), await ask("hf://org/m", ttl=0)
    assert sent == [200, 304]
    assert first.digest == second.digest
    assert second.unresolved is None


async def test_a_pin_whose_content_is_gone_is_not_certain_any_more(server: Registry, ask: Asking) -> None:
    server.status(f"/api/models/org/m/revision/{A}", 404)
    assert (await ask(f"hf://org/m@{A}")).unresolved == "not-found"
    server.status(f"/api/models/org/m/revision/{A}", 500)
    assert (await ask(f"hf://org/m@{A}", ttl=0)).unresolved in {"not-found", None}


async def test_an_answer_that_trickles(server: Registry) -> None:
    over = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while not over.is_set():
                await response.write(b" ")
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        return response

    server.ask(REVISION, trickle)
    async with asking(server, seconds=0.3) as ask:
        assert (await ask("hf://org/m")).unresolved == "timeout"
    over.set()


S3_PAGE = "<L><NextContinuationToken>t</NextContinuationToken><Contents><Key>m/a</Key></Contents></L>"
AZURE_PAGE = "<L><Blob><Name>m/a</Name></Blob><NextMarker>t</NextMarker></L>"


def hub_page(server: Registry) -> web.Response:
    link = f'<{server.url}/api/models/org/m/tree/{A}?recursive=true>; rel="next"'
    return web.json_response([], headers={"Link": link})


@pytest.mark.parametrize(
    ("spelling", "path", "page"),
    [
        ("s3://models/m", "/models", lambda _server: web.Response(text=S3_PAGE)),
        ("as://account/models/m", "/models", lambda _server: web.Response(text=AZURE_PAGE)),
        (
            "gs://models/m",
            "/storage/v1/b/models/o",
            lambda _server: web.json_response({"items": [{"name": "m/a"}], "nextPageToken": "t"}),
        ),
        (
            "lakefs://repo/main/m",
            "/api/v1/repositories/repo/refs/main/objects/ls",
            lambda _server: web.json_response({"results": [], "pagination": {"has_more": True}}),
        ),
        ("hf://org/m", f"/api/models/org/m/tree/{A}", hub_page),
    ],
)
async def test_a_listing_without_end(
    server: Registry, ask: Asking, spelling: str, path: str, page: Callable[[Registry], web.Response]
) -> None:
    server.json(REVISION, {"sha": A})
    server.json("/api/v1/repositories/repo/branches/main", {"commit_id": "c" * 64})
    server.put(path, lambda: page(server))
    assert (await ask(spelling)).unresolved == "refused"
    assert len(server.asked) < 110


MANY = 60_000
LONG = "k" * (5 * 2**20)


@pytest.mark.parametrize(
    ("spelling", "path", "page"),
    [
        ("s3://models/m", "/models", S3_PAGE.replace("<Contents>", "<Contents/>" * MANY + "<Contents>")),
        ("s3://models/m", "/models", S3_PAGE.replace("m/a", LONG)),
        ("s3://models/m", "/models", f"<L>{'<x/>' * 4 * MANY}</L>"),
        ("as://account/models/m", "/models", AZURE_PAGE.replace("<Blob>", "<Blob/>" * MANY + "<Blob>")),
        ("gs://models/m", "/storage/v1/b/models/o", {"items": [{}] * MANY, "nextPageToken": "t"}),
        (
            "lakefs://repo/main/m",
            "/api/v1/repositories/repo/refs/main/objects/ls",
            {"results": [{"path": LONG}], "pagination": {"has_more": True}},
        ),
    ],
)
async def test_pages_that_are_too_long_are_not_read_on_and_on(
    server: Registry, ask: Asking, spelling: str, path: str, page: Any
) -> None:
    server.json("/api/v1/repositories/repo/branches/main", {"commit_id": "c" * 64})
    text = page if isinstance(page, str) else json.dumps(page)
    server.put(path, lambda: web.Response(text=text))
    assert (await ask(spelling)).unresolved == "refused"
    assert len(server.asked) <= 6


async def test_lines_of_git_without_end_are_not_read(server: Registry, ask: Asking) -> None:
    headers = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    server.put("/m.git/info/refs", lambda: web.Response(body=b"0000" * 2**20, headers=headers))
    assert (await ask(f"{server.url}/m.git")).unresolved == "refused"


async def test_lines_of_a_table_without_end_are_not_read(server: Registry, ask: Asking) -> None:
    where, told = "/shares/s/schemas/c/tables/t/metadata", b'{"metaData": {"id": "i"}}\n'
    for lines, known in ((b"{}\n" * 9 + told, True), (b"{}\n" * 50_000 + told, False)):
        server.put(where, lambda lines=lines: web.Response(body=lines, headers={"Delta-Table-Version": "7"}))  # type: ignore[misc]
        found = await ask("delta://s/c/t", ttl=0)
        assert found.digest is not None
        assert ("i" in found.digest.value) is known


def test_a_listing_is_read_in_the_time_that_its_length_takes() -> None:
    # joined piece by piece, or once more for each element around it, a mebibyte would take hours
    for text in ("\n" * 2**20, "&#10;" * 2**18):
        around = 50_000
        body = f"<L>{'<x>' * around}{text}{'</x>' * around}<Contents><Key>{text}</Key></Contents></L>"
        ((_, record),), _ = leaves(body.encode(), {"Contents"}, "Next")
        assert set(record["Key"]) == {"\n"}


@pytest.mark.parametrize(
    ("spelling", "path", "answer"),
    [
        ("models:/m@best", "/api/2.0/mlflow/registered-models/alias", {"model_version": {"version": "7" * 10**6}}),
        ("lakefs://repo/main/m", "/api/v1/repositories/repo/branches/main", {"commit_id": "c" * 10**6}),
        ("gs://models/m", "/storage/v1/b/models/o/m", {"generation": "1" * 10**6, "crc32c": "x" * 10**6}),
    ],
)
async def test_endless_names_do_not_get_into_records(
    server: Registry, ask: Asking, spelling: str, path: str, answer: Any
) -> None:
    server.json("/api/v1/repositories/repo/refs/main/objects/stat", {"checksum": "e" * 10**6})
    server.json(path, answer)
    ref = await ask(spelling)
    assert ref.unresolved is None
    assert len(msgspec.json.encode(ref)) < 10_000


async def test_a_moment_to_come_back_is_one_of_the_servers_clock(server: Registry) -> None:
    now = time.time()
    yesterday = now - 86_400
    server.status(REVISION, 429, Date=formatdate(yesterday, usegmt=True), Retry_After=formatdate(yesterday + 90, True))
    async with Fetcher(clock=lambda: ticks) as fetcher:
        ticks = 0.0
        ask = Asking(Resolver(fetcher, clock=lambda: ticks), server.url)
        assert (await ask("hf://org/m")).unresolved == "rate-limited"
        server.status(REVISION, 404)
        ticks = 80.0
        assert (await ask("hf://org/other")).unresolved == "rate-limited"
        ticks = 100.0
        assert (await ask("hf://org/m")).unresolved == "not-found"


async def test_a_store_whose_clock_differs_gets_signatures_of_its_time(server: Registry, ask: Asking) -> None:
    theirs = time.time() - 7200

    async def head(request: web.Request) -> web.Response:
        signed = time.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        early = abs(time.mktime(signed) - time.mktime(time.gmtime(theirs))) < 900
        return web.Response(
            status=200 if early else 403, headers={"Date": formatdate(theirs, usegmt=True), "ETag": "x"}
        )

    server.ask("/models/w", head)
    ask.with_secret(accessKey="AK", secretKey="SK")
    assert (await ask("s3://models/w")).unresolved is None
    assert len(server.asked) == 2


async def test_a_host_gets_a_few_requests_at_once_and_no_more(server: Registry, ask: Asking) -> None:
    running, most = 0, 0
    full, go = asyncio.Event(), asyncio.Event()

    async def counted(_request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            full.set()
        await go.wait()
        running -= 1
        return web.Response(status=404)

    server.fallback = counted
    asked = asyncio.gather(*(ask(f"hf://org/m{number}") for number in range(12)))
    await full.wait()
    go.set()
    assert {ref.unresolved for ref in await asked} == {"not-found"}
    assert most == 4


async def test_answers_are_believed_for_their_time(server: Registry) -> None:
    hub(server)
    ticks = 0.0
    async with Fetcher() as fetcher:
        ask = Asking(Resolver(fetcher, clock=lambda: ticks), server.url)
        for moment, asked in ((0.0, 1), (269.0, 1), (331.0, 2)):  # 300 seconds, a tenth more or less
            ticks = moment
            await ask("hf://org/m", ttl=300)
            assert server.paths().count(REVISION) == asked


async def test_credentials_have_answers_of_their_own(server: Registry, ask: Asking) -> None:
    hub(server)
    await ask("hf://org/m")
    ask.with_secret(token="t")
    await ask("hf://org/m")
    assert server.paths().count(REVISION) == 2


async def test_whom_the_policy_forbids_is_not_asked(server: Registry, ask: Asking) -> None:
    hub(server)
    refused = Access(server.url, refused=Missing("auth", "the Secret is gone"), scope="refused")
    ref: Ref = await ask.resolver.resolve(parse("hf://org/m"), lambda _ref: refused, ttl=300)
    assert ref.unresolved == "auth"
    assert server.asked == []
