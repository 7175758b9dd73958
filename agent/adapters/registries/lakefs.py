"""lakeFS: the commit of a branch or tag, and a digest over the objects below the path.

A branch is read with what is staged and not committed yet, as its readers do.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec.structs import replace

from agent.adapters.registries.access import Access, Answer, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.folders import Listing
from agent.adapters.registries.objects import listed
from agent.core.models.ref import Digest, Size
from agent.core.registries.listing import File
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^lakefs://([^/]+)/([^/]+)/?(.*)$")
_PAGES: Final = 100


class _Pointer(msgspec.Struct):
    commit_id: str = ""


class _Object(msgspec.Struct):
    path: str = ""
    checksum: str = ""
    size_bytes: int = 0
    path_type: str = "object"


class _Pagination(msgspec.Struct):
    has_more: bool = False
    next_offset: str = ""


class _Listing(msgspec.Struct):
    results: list[_Object] = []
    pagination: _Pagination = msgspec.field(default_factory=_Pagination)


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """An object or a prefix at a reference. Secret: username (key id) and password, or token. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no repository")
    repository, revision, path = found.groups()
    where = f"{access.required('lakeFS')}/api/v1/repositories/{quote(repository)}"

    async def ask(url: str) -> Answer:
        return await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)

    commit = await _commit(ask, where, revision)
    objects = f"{where}/refs/{quote(revision, safe='')}/objects"
    if path:
        answer = await ask(f"{objects}/stat?{urlencode({'path': path})}")
        if answer.is_there("lakeFS", "object"):
            stat = answer.json(_Object, "lakeFS")
            if not stat.checksum:
                raise RegistryError("unsupported", "lakeFS gives no checksum of the object")
            digest = Digest("etag", stat.checksum, "object", "etag")
            return Found(revision=commit, digest=digest, size=Size(bytes=stat.size_bytes, files=1))
    below = Listing()
    prefix, after = f"{path.rstrip('/')}/" if path else "", ""
    for _ in range(_PAGES):
        answer = await ask(f"{objects}/ls?{urlencode({'prefix': prefix, 'after': after, 'amount': '1000'})}")
        page = answer.expected("lakeFS", "repository, branch, tag or commit").json(_Listing, "lakeFS")
        below.add(File(o.path.removeprefix(prefix), o.size_bytes, o.checksum, "etag") for o in page.results)
        if not page.pagination.has_more:
            return replace(listed(below.files), revision=commit)
        after = page.pagination.next_offset
    raise RegistryError("refused", f"the listing has more than {_PAGES} pages")


async def content(fetcher: Fetcher, access: Access, canonical: str) -> bytes:
    """A small object. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None or not found[3]:
        raise RegistryError("unsupported", "the reference names no object")
    where = f"{access.required('lakeFS')}/api/v1/repositories/{quote(found[1])}/refs/{quote(found[2], safe='')}/objects"
    url = f"{where}?{urlencode({'path': found[3]})}"
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
    return answer.expected("lakeFS", "object").body


async def _commit(ask: Callable[[str], Awaitable[Answer]], where: str, revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", revision):
        return revision
    answer = await ask(f"{where}/branches/{quote(revision, safe='')}")
    if not answer.is_there("lakeFS", "branch"):
        answer = await ask(f"{where}/tags/{quote(revision, safe='')}")
    return answer.expected("lakeFS", "repository, branch or tag").json(_Pointer, "lakeFS").commit_id
