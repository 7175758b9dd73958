"""The clients of metrics servers and webhooks, against HTTP servers that behave in every way."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientOSError, web
from loopback import listening

from agent.adapters.authorization import UnusableCredentialsError
from agent.adapters.failures import reason
from agent.adapters.prometheus import Prometheus
from agent.adapters.webhooks import Webhooks
from agent.api.analysis import HookType
from agent.core.rollout.judgement import Sample, Source
from agent.core.rollout.plan import Hook
from testbed.ports import free_port


def vector(*values: Any) -> dict[str, Any]:
    return {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]} for value in values]},
    }


@pytest.mark.parametrize(
    ("answer", "sample"),
    [
        (vector("99.5"), Sample(99.5)),
        (vector("1", "2"), Sample(2.0)),
        (vector(), Sample(None)),
        (vector("+Inf"), Sample(float("inf"))),
        (
            {"data": {"resultType": "matrix", "result": [{"values": [[0, "1"]]}]}},
            Sample(error="query returned multiple values"),
        ),
        (
            {"data": {"resultType": "scalar", "result": [0, "1"]}},
            Sample(error="error unmarshaling result: the query gives a scalar, not a vector"),
        ),
        ({"status": "error", "error": "parse error"}, Sample(error="parse error")),
    ],
)
async def test_answers_of_a_metrics_server(answer: dict[str, Any], sample: Sample) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response(answer)

    async with listening(handler) as url, Prometheus() as prometheus:
        assert await prometheus.query(Source(address=url), "up") == sample


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (None, ""),
        ({"token": "hush-hush"}, "Bearer hush-hush"),
        ({"username": "weir", "password": "hush-hush"}, "Basic d2VpcjpodXNoLWh1c2g="),
    ],
)
async def test_a_gate_shows_who_it_is_and_what_repeats_that_does_not(
    credentials: dict[str, str] | None, header: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        sent = request.headers.get("Authorization", "")
        assert sent == header
        return web.Response(status=403, text=f"nobody knows {sent}: hush-hush?" if sent else "nobody")

    async with listening(handler) as url, Webhooks() as webhooks:
        status, text = await webhooks.evaluate(url, {}, timeout=60, verify_tls=True, credentials=credentials)
    kind = header.partition(" ")[0]
    assert (status, text) == (403, f"nobody knows {kind} *****: *****?" if header else "nobody")


async def test_credentials_of_a_gate_follow_no_redirect() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with listening(handler) as url, Webhooks() as webhooks:
        secret = {"token": "hush-hush"}
        status, _ = await webhooks.evaluate(f"{url}/a", {}, timeout=60, verify_tls=True, credentials=secret)
    assert (status, asked) == (307, ["/a"])


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        ({}, "it has neither a token nor a username"),
        ({"username": "weir"}, "it has neither a token nor a password"),
        ({"other": "hush-hush"}, "it has neither a token nor a username"),
        ({"token": "hush\r\nhush"}, "it has characters that no header may have"),
        ({"username": "weir:hush", "password": "hush-hush"}, "its username has a colon"),
    ],
)
async def test_credentials_that_cannot_be_sent(credentials: dict[str, str], text: str) -> None:
    url = "http://127.0.0.1:9/"
    async with Webhooks() as webhooks, Prometheus() as prometheus:
        with pytest.raises(UnusableCredentialsError, match=f"^{text}") as caught:
            await webhooks.evaluate(url, {}, timeout=60, verify_tls=True, credentials=credentials)
        sample = await prometheus.query(Source(address=url, secret=("prod", "creds")), "up", credentials)
    assert "hush" not in f"{caught.value} {sample.error}"
    missing = "username" if "username" not in credentials else "password"
    told = f"prometheus credentials does not contain a {missing}" if "neither" in text else ""
    assert sample.error == (told or f"prometheus secret prod/creds cannot be used: {caught.value}")


async def test_only_what_is_secret_in_a_secret_is_masked() -> None:
    """A user may be called like a metric, and a Secret have other keys."""
    report = '{"metrics": {"accuracy": 0.913}, "reason": "hush-hush"}'

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=report)

    secret = {"username": "accuracy", "password": "hush-hush", "address": "metrics"}
    async with listening(handler) as url, Webhooks() as webhooks:
        answer = await webhooks.evaluate(url, {}, timeout=60, verify_tls=True, credentials=secret)
    assert answer == (200, report.replace("hush-hush", "*****"))


async def test_the_query_is_one_line_and_carries_its_credentials() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(vector("1"))

    async with listening(handler) as url, Prometheus() as prometheus:
        source = Source(address=f"{url}/prom/", headers=(("X-Scope-OrgID", "ml"),), secret=("prod", "creds"))
        await prometheus.query(source, "sum(\n  up\n)", {"token": "abc"})
        await prometheus.query(source, "up", {"username": "u", "password": "p"})
        refused = await prometheus.query(source, "up", {"username": "u"})
        assert await prometheus.online(Source(address=url)) == ""
    assert refused == Sample(error="prometheus credentials does not contain a password")
    assert seen[0].path == "/prom/api/v1/query"
    assert seen[0].query["query"] == "sum( up )"
    assert seen[0].headers["Authorization"] == "Bearer abc"
    assert seen[0].headers["X-Scope-OrgID"] == "ml"
    assert seen[1].headers["Authorization"] == "Basic dTpw"


async def test_a_server_that_fails_is_an_error_sample() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=503, text="overloaded")

    async with listening(handler) as url, Prometheus() as prometheus:
        sample = await prometheus.query(Source(address=url), "up")
        assert sample == Sample(error="error response: Status 503 Service Unavailable: overloaded")
        gone = await prometheus.query(Source(address=f"http://127.0.0.1:{free_port()}"), "up")
        assert gone.error.startswith("request failed: ")
        unusable = await prometheus.query(Source(address="prom:9090"), "up")
        assert unusable.error == "prometheus address prom:9090 is not a valid URL"
        assert "overloaded" in await prometheus.online(Source(address=url))


def hook(url: str, **changes: Any) -> Hook:
    return Hook(type=HookType.ROLLOUT, name="gate", url=url, **changes)


@pytest.mark.parametrize(
    ("status", "refusal"), [(200, ""), (202, ""), (203, "why"), (302, "why"), (403, "why"), (500, "why")]
)
async def test_only_200_to_202_is_a_yes(status: int, refusal: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text="why")

    async with listening(handler) as url, Webhooks() as webhooks:
        assert await webhooks.call(hook(url), {"name": "chat"}) == refusal


async def test_retries_are_for_failures_and_keep_the_last_answer() -> None:
    codes = [500, 429, 200, 500, 500, 403]
    pauses: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        assert (await request.json()) == {"name": "chat"}
        return web.Response(status=codes.pop(0), text="busy")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with listening(handler) as url, Webhooks(sleep=sleep) as webhooks:
        assert await webhooks.call(hook(url, retries=2), {"name": "chat"}) == ""
        assert await webhooks.call(hook(url, retries=1), {"name": "chat"}) == "giving up after 2 attempt(s): busy"
        assert await webhooks.call(hook(url, retries=5), {"name": "chat"}) == "busy", "a refusal stands at once"
    assert pauses == [1.0, 2.0, 1.0]


async def test_a_hook_that_does_not_answer() -> None:
    released = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with listening(handler) as url, Webhooks() as webhooks:
        said = await webhooks.call(hook(f"{url}/x?token=secret", timeout=0.2), {})
        assert said == f'Post "{url}/x": no answer within 0.2 seconds'
        gone = await webhooks.call(hook(f"http://127.0.0.1:{free_port()}/x?token=secret"), {})
        assert "secret" not in gone
        released.set()


@asynccontextmanager
async def talking_nonsense() -> AsyncIterator[str]:
    """The address of a server whose answers are not HTTP."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def redirecting(target: str) -> AsyncIterator[str]:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    async with listening(handler) as url:
        yield url


@pytest.mark.parametrize(
    "server",
    [talking_nonsense, lambda: redirecting("ftp://x.example/?token=hunter2"), lambda: redirecting("/?hunter2")],
)
async def test_no_text_has_what_is_secret_in_an_address(
    server: Callable[[], AbstractAsyncContextManager[str]],
) -> None:
    async with server() as url, Webhooks() as webhooks, Prometheus() as prometheus:
        status, why = await webhooks.evaluate(f"{url}/x?token=hunter2", {}, timeout=60, verify_tls=True)
        said = await webhooks.call(hook(f"{url}/x?token=hunter2"), {})
        sample = await prometheus.query(Source(address=url), "hunter2")
    assert status == 0
    assert why
    assert said.startswith(f'Post "{url}/x": ')
    assert sample.error.startswith("request failed: ")
    assert "hunter2" not in f"{why} {said} {sample.error}"


def test_a_cut_connection_is_told_without_its_address() -> None:
    error = ClientOSError(errno.EPIPE, "Can not write request body for URL('https://x.example/?token=hunter2')")
    assert reason(error) == f"ClientOSError: {os.strerror(errno.EPIPE)}"


async def test_notices_are_delivered_without_being_waited_for() -> None:
    seen: list[int] = []
    held = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await held.wait()
        seen.append((await request.json())["n"])
        return web.Response(status=500 if len(seen) == 1 else 200, text="not now")

    async with listening(handler) as url:
        async with Webhooks() as webhooks:
            for number in range(3):
                webhooks.notify(hook(url), {"n": number})
            assert seen == []
            held.set()
        assert seen == [0, 1, 2], "what waits at the end is still delivered"
