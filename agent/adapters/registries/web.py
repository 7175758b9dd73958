"""Plain downloads: the strongest validator that a server gives."""

from __future__ import annotations

import re
from typing import Final

from agent.adapters.registries.access import Access, Answer, RegistryError, in_hex
from agent.adapters.registries.fetcher import Fetcher
from agent.core.digits import whole
from agent.core.models.ref import Digest, Size
from agent.core.registries.outcome import Found

_SHA256: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]+={0,2}):")
_LENGTH: Final = re.compile(r"/(\d+)$")


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """What a server says of a file without sending it. Raises RegistryError; ``unsupported`` if it says nothing."""
    headers = access.authorization()
    answer = await fetcher.get(canonical, endpoint=access.endpoint, headers=headers, method="HEAD", scope=access.scope)
    if answer.status in {405, 501}:
        headers["Range"] = "bytes=0-0"
        answer = await fetcher.get(canonical, endpoint=access.endpoint, headers=headers, scope=access.scope)
    if answer.status != 206:
        answer.expected("the server", "file")
    return Found(digest=_digest(answer), size=_size(answer))


async def content(fetcher: Fetcher, access: Access, canonical: str) -> bytes:
    """A small file. Raises RegistryError."""
    headers = access.authorization()
    answer = await fetcher.get(canonical, endpoint=access.endpoint, headers=headers, scope=access.scope)
    return answer.expected("the server", "file").body


def _digest(answer: Answer) -> Digest:
    headers = answer.headers
    declared = _SHA256.search(headers.get("repr-digest", "") or headers.get("content-digest", ""))
    if declared is not None and answer.status == 200 and len(value := in_hex(declared.group(1))) == 64:
        return Digest("sha256", value, "object", "sha256")
    etag = headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return Digest("etag", etag.strip('"'), "object", "etag")
    if modified := headers.get("last-modified"):
        return Digest("mtime", f"{modified}/{_length(answer)}", "object", "mtime")
    raise RegistryError("unsupported", "the server gives no validator: neither a digest nor ETag nor Last-Modified")


def _length(answer: Answer) -> str:
    ranged = _LENGTH.search(answer.headers.get("content-range", ""))
    return ranged.group(1) if ranged else answer.headers.get("content-length", "")


def _size(answer: Answer) -> Size:
    return Size(bytes=whole(_length(answer)), files=1)
