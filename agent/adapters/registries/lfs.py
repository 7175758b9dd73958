"""Git LFS servers: whether they have the content of a pointer, by the batch API. Nothing is downloaded."""

from __future__ import annotations

from typing import Final

import msgspec

from agent.adapters.registries.access import Access, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.ref import Ref
from agent.core.registries.outcome import Found

_MEDIA: Final = "application/vnd.git-lfs+json"


class _Refusal(msgspec.Struct):
    code: int = 0


class _Object(msgspec.Struct):
    oid: str = ""
    error: _Refusal | None = None
    actions: dict[str, object] | None = None


class _Batch(msgspec.Struct):
    objects: list[_Object] = []


async def present(fetcher: Fetcher, access: Access, ref: Ref) -> Found:
    """Raises RegistryError if the server does not have it. Secret: username and password, or token."""
    url = f"{access.required('a Git LFS server')}/objects/batch"
    oid = ref.canonical.rpartition(":")[2]
    wanted = {"oid": oid, "size": ref.size.bytes if ref.size and ref.size.bytes is not None else 0}
    asked = {"operation": "download", "transfers": ["basic"], "objects": [wanted], "hash_algo": "sha256"}
    headers = {**access.authorization(), "Accept": _MEDIA, "Content-Type": _MEDIA}
    answer = await fetcher.get(
        url, endpoint=access.endpoint, headers=headers, method="POST", json=asked, scope=access.scope
    )
    if answer.status == 422:  # some servers refuse a single object by the status of the answer
        raise _refusal(answer.status)
    batch = answer.expected("the Git LFS server", "object or repository").json(_Batch, "the Git LFS server")
    found = next((one for one in batch.objects if one.oid == oid), None)
    if found is None:
        raise RegistryError("unreadable", "the Git LFS server does not answer for the object that it was asked about")
    if found.error is not None:
        raise _refusal(found.error.code)
    if not (found.actions or {}).get("download"):
        raise RegistryError("unreadable", "the Git LFS server names no place to download the object from")
    return Found()


def _refusal(code: int) -> RegistryError:
    if code in {404, 410}:
        return RegistryError("not-found", "the Git LFS server has no such object: it was not pushed, or is gone")
    if code == 422:
        told = "the Git LFS server does not accept the pointer: it may have the object with another size"
        return RegistryError("unreadable", told)
    return RegistryError("unreadable", f"the Git LFS server says {code} of the object")
