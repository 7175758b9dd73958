"""Azure Files: a file of a share, else all below a folder of it.

API: `HEAD` of the file; `?restype=directory&comp=list` of a folder, which tells size and ETag where it is asked to.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlencode

from agent.adapters.registries.access import Access, Answer, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.folders import Entry, below, within
from agent.adapters.registries.objects import AZURE_VERSION, azure_blob, leaves, listed
from agent.core.digits import whole
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^azure-file://([A-Za-z0-9-]+)/([^/?]+)/?([^?]*)$")
_PAGES: Final = 100


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """A file, or all below a folder. Secret: token, or sas. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no share")
    account, share, path = found.groups()
    where = f"{access.base(f'https://{account}.file.core.windows.net')}/{quote(share)}"
    sas = access.secret.get("sas", "").strip().lstrip("?")
    headers = {"x-ms-version": AZURE_VERSION, **access.authorization()}
    if "Authorization" in headers:
        headers["x-ms-file-request-intent"] = "backup"  # tokens are refused without
    headers["x-ms-file-extended-info"] = "true"

    async def ask(method: str, inner: str, pairs: dict[str, str]) -> Answer:
        query = "&".join(part for part in (urlencode(pairs), sas) if part)
        url = "/".join(part for part in (where, quote(inner)) if part) + (f"?{query}" if query else "")
        return await fetcher.get(url, endpoint=access.endpoint, headers=headers, method=method, scope=access.scope)

    if path:
        answer = await ask("HEAD", path, {})
        if answer.is_there("the share", "file"):
            return azure_blob(answer)

    async def entries(inner: str) -> list[Entry]:
        found: list[Entry] = []
        marker = ""
        for _ in range(_PAGES):
            pairs = {"restype": "directory", "comp": "list", "include": "Timestamps,ETag"}
            folder = f"{path}/{inner}".strip("/")
            answer = await ask("GET", folder, {**pairs, **({"marker": marker} if marker else {})})
            body = answer.expected("the share", "file or folder").body
            records, marker = leaves(body, {"File", "Directory"}, "NextMarker")
            found += [_entry(kind, record) for kind, record in records]
            within(sum(not entry.folder for entry in found), sum(entry.folder for entry in found))
            if not marker:
                return found
        raise RegistryError("refused", f"the listing has more than {_PAGES} pages")

    return listed(await below(entries))


def _entry(kind: str, record: dict[str, str]) -> Entry:
    name = record.get("Name", "")
    if kind == "Directory":
        return Entry(name, True)
    return Entry(name, False, whole(record.get("Content-Length", "")) or 0, record.get("Etag", "").strip('"'), "etag")
