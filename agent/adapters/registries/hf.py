"""Hugging Face's hub, or a mirror of it: the commit of a revision and a digest over the files that are served.

API: `/api/{models,datasets}/{id}/revision/{rev}` and `…/tree/{sha}?recursive=true`, paged by Link. Weights have the
SHA-256 of Git LFS, other files their Git blob id, so nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote, urljoin

import msgspec

from agent.adapters.registries.access import Access, Answer, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.registries.listing import File, extent, files_digest, served
from agent.core.registries.outcome import Found

PUBLIC: Final = "https://huggingface.co"
_REFERENCE: Final = re.compile(r"^hf://(datasets/|spaces/)?([^@#]+)@(refs/[^/]+/[^/#]+|[^/#]+)(/[^#]*)?(?:#(.+))?$")
_COMMIT: Final = re.compile(r"^[0-9a-f]{40}$")
_NEXT: Final = re.compile(r'<([^>]+)>;\s*rel="?next"?')
_PAGES: Final = 50
_FILES: Final = 50_000


class _Info(msgspec.Struct):
    sha: str = ""


class _Lfs(msgspec.Struct):
    oid: str = ""


class _Entry(msgspec.Struct):
    type: str = ""
    path: str = ""
    oid: str = ""
    size: int = 0
    lfs: _Lfs | None = None


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """What a repository's revision holds. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no repository of a hub")
    kind, name, revision, path, picked = found.groups()
    api = f"{access.base(PUBLIC)}/api/{(kind or 'models/')}{quote(name)}"
    answer = await _get(fetcher, access, f"{api}/revision/{quote(revision, safe='')}")
    commit = answer.json(_Info, "the hub").sha
    if not _COMMIT.match(commit):
        raise RegistryError("unreadable", "the hub names no commit for the revision")
    wanted = _wanted((path or "").strip("/"), picked or "")
    files = served([file async for file in _files(fetcher, access, f"{api}/tree/{commit}?recursive=true")], wanted)
    if not all(file.validator for file in files):
        raise RegistryError("unreadable", "the hub gives no hashes of the files")
    if (path or picked) and not files:
        raise RegistryError("not-found", "the repository has no such file")
    return Found(revision=commit, digest=files_digest(files), size=extent(files))


def _wanted(path: str, picked: str) -> Callable[[str], bool]:
    if path:
        return lambda file: file == path or file.startswith(f"{path}/")
    if picked:
        return lambda file: picked.lower() in file.lower()
    return lambda _file: True


async def _files(fetcher: Fetcher, access: Access, url: str) -> AsyncIterator[File]:
    seen = 0
    for _ in range(_PAGES):
        answer = await _get(fetcher, access, url)
        for entry in answer.json(list[_Entry], "the hub"):
            if entry.type != "file":
                continue
            seen += 1
            if seen > _FILES:
                raise RegistryError("refused", f"the repository has more than {_FILES} files")
            yield File(entry.path, entry.size, entry.lfs.oid if entry.lfs else entry.oid, "sha256")
        following = _NEXT.search(answer.headers.get("link", ""))
        if following is None:
            return
        url = urljoin(url, following.group(1))
        if not url.startswith(access.base(PUBLIC) + "/"):
            raise RegistryError("refused", "the hub's listing goes on at another host")
    raise RegistryError("refused", f"the hub's listing has more than {_PAGES} pages")


async def _get(fetcher: Fetcher, access: Access, url: str) -> Answer:
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
    code = answer.headers.get("x-error-code", "") if answer.status != 200 else ""
    if code == "GatedRepo":
        raise RegistryError("gated", "the repository is gated: its terms have to be accepted with the token's account")
    if code in {"EntryNotFound", "RevisionNotFound"}:
        answer = replace(answer, status=404)
    # it does not tell repositories that do not exist from private ones
    return answer.expected("the hub", "repository or revision", hides=True)
