"""ModelScope's hub: a digest over the files that are served at a revision, by the SHA-256 that it lists."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.registries.access import Access, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.registries.listing import File, extent, files_digest, served
from agent.core.registries.outcome import Found

PUBLIC: Final = "https://modelscope.cn"
_REFERENCE: Final = re.compile(r"^modelscope://([^/@]+)/([^/@]+)@(.+)$")


class _File(msgspec.Struct, rename="pascal"):
    path: str = ""
    type: str = ""
    sha256: str = ""
    size: int = 0


class _Data(msgspec.Struct, rename="pascal"):
    files: list[_File] | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    data: _Data | None = None


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """What a revision of a repository holds. Secret: token. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no repository of ModelScope")
    owner, name, revision = found.groups()
    query = urlencode({"Revision": revision, "Recursive": "true"})
    url = f"{access.base(PUBLIC)}/api/v1/models/{quote(owner)}/{quote(name)}/repo/files?{query}"
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
    data = answer.expected("ModelScope", "repository or revision").json(_Answer, "ModelScope").data
    if data is None or data.files is None:
        raise RegistryError("unreadable", "ModelScope answers without a list of files")
    listed = [File(one.path, one.size, one.sha256, "sha256") for one in data.files if one.type == "blob"]
    if not all(file.validator for file in listed):
        raise RegistryError("unsupported", "ModelScope gives no digests of the files")
    kept = served(listed)
    return Found(digest=files_digest(kept), size=extent(kept))
