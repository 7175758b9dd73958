"""NVIDIA NGC: the version of a model, and a digest over its files where the catalog tells their checksums.

API v2: `/v2/org/{org}[/team/{team}]/models/{name}`, its `/versions/{version}`, and `/{version}/files`, which lists
paths with their SHA-256. Models that everybody may read are at `/v2/models/…` instead. A key that begins with `nvapi-`
is a bearer token itself; older ones are exchanged for one. That a licence has to be accepted first is status 451.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.registries.access import Access, Answer, RegistryError, basic, in_hex
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.ref import Digest, Size
from agent.core.registries.listing import File, files_digest, served
from agent.core.registries.outcome import Found

PUBLIC: Final = "https://api.ngc.nvidia.com"
LOGIN: Final = "https://authn.nvidia.com"
_REFERENCE: Final = re.compile(r"^ngc://([^/:?]+)/(?:([^/:?]+)/)?([^/:?]+):([^/:?]+)(?:\?file=(.+))?$")
_BEARER: Final = "nvapi-"
_PENDING: Final = "UPLOAD_PENDING"
_WITHHELD: Final = frozenset({401, 403, 404})
"""Whom the version is shown, but not its files. Otherwise a catalog that fails must not change the digest's kind."""
_SIZE: Final = 500
_PAGES: Final = 20


class _Token(msgspec.Struct):
    token: str


class _Model(msgspec.Struct, rename="camel"):
    latest_version_id_str: str = ""


class _OneModel(msgspec.Struct):
    model: _Model


class _Version(msgspec.Struct, rename="camel"):
    version_id: str = ""
    status: str = ""
    created_date: str = ""
    total_size_in_bytes: int | None = None
    total_file_count: int | None = None


class _OneVersion(msgspec.Struct, rename="camel"):
    model_version: _Version


class _Pagination(msgspec.Struct, rename="camel"):
    total_pages: int = 1


class _Files(msgspec.Struct):
    filepath: list[str] | None = None
    sha256_base64: list[str] | None = None
    pages: _Pagination | None = msgspec.field(default=None, name="paginationInfo")


@dataclass(frozen=True, slots=True)
class _Catalog:
    """A model of the catalog, as an account sees it."""

    fetcher: Fetcher
    access: Access
    where: str
    headers: dict[str, str]

    async def ask(self, path: str) -> Answer:
        """The answer about what is below the model. Raises RegistryError."""
        url = f"{self.where}{path}"
        access = self.access
        answer = await self.fetcher.get(url, endpoint=access.endpoint, headers=self.headers, scope=access.scope)
        if answer.status == 451:
            raise RegistryError("gated", "the licence of the model has to be accepted with the key's account")
        return answer


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """A version of a model. Secret: token (an API key); without one, what everybody may read. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no organization and model of NGC")
    org, team, name, version, picked = found.groups()
    catalog = await _opened(fetcher, access, (org, team or "", name))
    if version == "latest":
        answer = (await catalog.ask("")).expected("NGC", "model")
        version = answer.json(_OneModel, "NGC").model.latest_version_id_str
        if not version:
            raise RegistryError("not-found", "the model has no version yet")
    answer = (await catalog.ask(f"/versions/{quote(version, safe='')}")).expected("NGC", "model or version")
    record = answer.json(_OneVersion, "NGC").model_version
    if record.version_id != version:
        raise RegistryError("unreadable", "NGC answers with another version than that it was asked for")
    if record.status == _PENDING:
        raise RegistryError("not-found", "the version has not been uploaded to its end yet")
    files = await _files(catalog, version)
    if not files:
        value = f"{record.version_id}@{record.created_date}"  # a version that is made anew has other files
        digest = Digest("ngc", value, "object", "generation")
        return Found(version=version, digest=digest, size=Size(record.total_size_in_bytes, record.total_file_count))
    if picked:
        files = [file for file in files if file.path == picked]
        if not files:
            raise RegistryError("not-found", "the version has no such file")
        return Found(version=version, digest=files_digest(files), size=Size(files=1))
    size = Size(record.total_size_in_bytes, len(files))
    return Found(version=version, digest=files_digest(served(files)), size=size)


async def _opened(fetcher: Fetcher, access: Access, model: tuple[str, str, str]) -> _Catalog:
    org, team, name = (quote(part, safe="") for part in model)
    base, key = access.base(PUBLIC), access.secret.get("token", "").strip()
    if not key:
        return _Catalog(fetcher, access, "/".join(part for part in (f"{base}/v2/models", org, team, name) if part), {})
    where = f"{base}/v2/org/{org}{f'/team/{team}' if team else ''}/models/{name}"
    if not key.startswith(_BEARER):
        scope = f"group/ngc:{org}{f'/{team}' if team else ''}"
        answer = await fetcher.get(
            f"{access.base(LOGIN)}/token?{urlencode({'service': 'ngc', 'scope': scope})}",
            endpoint=access.endpoint,
            headers={"Authorization": basic("$oauthtoken", key)},
            scope=access.scope,
        )
        key = answer.expected("NGC's log-in", "organization or team").json(_Token, "NGC's log-in").token
    return _Catalog(fetcher, access, where, {"Authorization": f"Bearer {key}"})


async def _files(catalog: _Catalog, version: str) -> list[File]:
    """All files with their SHA-256; none where the catalog does not tell them, as to those of another organization."""
    files: list[File] = []
    for page in range(1, _PAGES + 1):
        query = urlencode({"page-size": _SIZE, "page-number": page})
        answer = await catalog.ask(f"/{quote(version, safe='')}/files?{query}")
        if page == 1 and answer.status in _WITHHELD:
            return []
        if answer.status != 200:
            raise RegistryError("unreadable", f"NGC answers with status {answer.status} to a question for the files")
        listed = answer.json(_Files, "NGC")
        paths, sums = listed.filepath or [], listed.sha256_base64 or []
        if len(paths) != len(sums):
            return []
        files += [File(path, 0, in_hex(checksum), "sha256") for path, checksum in zip(paths, sums, strict=True)]
        if listed.pages is None or page >= listed.pages.total_pages:
            return files if all(len(file.validator) == 64 for file in files) else []
    raise RegistryError("refused", f"the version has more than {_PAGES * _SIZE} files")
