"""Forwarding one HTTP request to a local port and its answer back, streamed in both directions."""

from collections.abc import AsyncIterable, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
Body = bytes | AsyncIterable[bytes] | None


def new_session() -> aiohttp.ClientSession:
    """A session for forwarding: no decoding, no cookies, and a new connection per request.

    A kept connection may be closed by the server at the moment it is used again; a request that is not
    idempotent could then neither be sent again nor answered.
    """
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def request_headers(request: web.BaseRequest) -> CIMultiDict[str]:
    """The headers to pass on: without hop-by-hop ones, with X-Forwarded-For and -Proto."""
    headers = end_to_end(request.headers)
    earlier = headers.get("X-Forwarded-For")
    peer = request.remote or "unknown"
    headers["X-Forwarded-For"] = f"{earlier}, {peer}" if earlier else peer
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    return headers


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers without those that only concern one connection (RFC 9110 section 7.6.1)."""
    copied: CIMultiDict[str] = CIMultiDict(headers.items())
    named = {name.strip().lower() for name in copied.get("Connection", "").split(",")}
    for name in {*_HOP_BY_HOP, *named} - {""}:
        copied.popall(name, None)
    return copied


def body_of(request: web.BaseRequest) -> Body:
    """The request's body as a stream, None when it has none."""
    return request.content.iter_chunked(65536) if request.body_exists else None


def target(port: int, raw_path: str, query: str) -> URL:
    """The URL on this machine; path and query are passed on as they were encoded."""
    return URL(f"http://127.0.0.1:{port}{raw_path}{'?' if query else ''}{query}", encoded=True)


async def relay(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Send status, headers and body of an answer on to the client."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    await response.write_eof()
    return response
