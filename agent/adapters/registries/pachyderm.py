"""Pachyderm: the commit that a branch of a repository means, and the hash of a path in it.

API: pachd's calls over HTTP as its gateway maps them, such as `POST /api/pfs_v2.API/InspectCommit`; messages are JSON,
with 64-bit numbers as text. The account's token goes into the header `authn-token`.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from agent.adapters.registries.access import Access, RegistryError, in_hex
from agent.adapters.registries.fetcher import Fetcher
from agent.core.digits import whole
from agent.core.models.ref import Digest, Size
from agent.core.registries.outcome import Found

T = TypeVar("T")
_REFERENCE: Final = re.compile(r"^pfs://(?:([^/@:]+)/)?([^/@:]+)@([^/@:]+)(?::(.+))?$", re.DOTALL)
_COMMIT: Final = re.compile(r"^[0-9a-f]{32}$")


class _Commit(msgspec.Struct):
    id: str


class _CommitInfo(msgspec.Struct):
    commit: _Commit
    finished: str | None = None
    error: str | None = None


class _FileInfo(msgspec.Struct, rename="camel"):
    hash: str = ""
    size_bytes: str = ""


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """The commit, and the hash of a path in it. Secret: token. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no repository of Pachyderm")
    project, repository, name, path = found.groups()
    repo = {"project": {"name": project or "default"}, "name": repository, "type": "user"}
    wanted = {"id": name} if _COMMIT.match(name) else {"branch": {"repo": repo, "name": name}}
    info = await _call(fetcher, access, "InspectCommit", {"commit": {"repo": repo, **wanted}}, _CommitInfo)
    commit = info.commit.id
    if not _COMMIT.match(commit):
        raise RegistryError("unreadable", "Pachyderm names no commit")
    if not info.finished or info.error:
        raise RegistryError("not-found", "the commit is not finished yet, or failed")
    if not path:
        return Found(revision=commit, digest=Digest("pachyderm", commit, "object", "generation"))
    asked = {"file": {"commit": {"repo": repo, "id": commit}, "path": path}}
    file = await _call(fetcher, access, "InspectFile", asked, _FileInfo)
    value = in_hex(file.hash)
    if len(value) != 64:
        raise RegistryError("unreadable", "Pachyderm gives no hash of the path")
    size = whole(file.size_bytes)
    digest = Digest("blake2b", value, "files", "blake2b")
    return Found(revision=commit, digest=digest, size=Size(bytes=size) if size is not None else None)


async def _call(fetcher: Fetcher, access: Access, name: str, message: dict[str, Any], kind: type[T]) -> T:
    token = access.secret.get("token", "").strip()
    answer = await fetcher.get(
        f"{access.required('Pachyderm')}/api/pfs_v2.API/{name}",
        endpoint=access.endpoint,
        headers={"Authn-Token": token} if token else {},
        method="POST",
        json=message,
        scope=access.scope,
    )
    return answer.expected("Pachyderm", "repository, branch, commit or path").json(kind, "Pachyderm")
