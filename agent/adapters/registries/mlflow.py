"""MLflow: from a version, alias, stage, logged model or run to its version and the address of its files."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.registries.access import Access, Registered, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.folders import Entry, below
from agent.core.digits import whole
from agent.core.registries.listing import extent
from agent.core.registries.outcome import Found

T = TypeVar("T")
_ALIAS: Final = re.compile(r"^models:/([^@]+)@(.+)$")
_VERSION: Final = re.compile(r"^models:/(.+)/(\d+)$")
_STAGE: Final = re.compile(r"^models:/(.+)/([A-Za-z]+)$")
_LOGGED: Final = re.compile(r"^models:/(m-[0-9a-f]+)(/.*)?$")
_CATALOGED: Final = re.compile(r"^[^./]+\.[^./]+\.[^./]+$")
"""Catalog, schema and name, as Unity Catalog has them; MLflow's own names may look so, too."""
_READY: Final = frozenset({"", "READY"})
_RUN: Final = re.compile(r"^runs:/([^/]+)(/.*)?$")


class _Version(msgspec.Struct):
    version: str | int = ""
    source: str = ""
    run_id: str = ""
    status: str = ""
    storage_location: str = ""


class _One(msgspec.Struct):
    model_version: _Version | None = None


class _Several(msgspec.Struct):
    model_versions: list[_Version] = []


class _LoggedInfo(msgspec.Struct):
    artifact_uri: str = ""
    source_run_id: str = ""


class _Logged(msgspec.Struct):
    info: _LoggedInfo


class _LoggedModel(msgspec.Struct):
    model: _Logged


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int | None = None


class _Files(msgspec.Struct):
    files: list[_File] = []


class _RunInfo(msgspec.Struct):
    artifact_uri: str = ""


class _OneRun(msgspec.Struct):
    info: _RunInfo


class _Run(msgspec.Struct):
    run: _OneRun


async def look_up(fetcher: Fetcher, access: Access, canonical: str) -> Registered:
    """What is registered. Secret: token, or username and password. Raises RegistryError."""
    api = f"{access.required('MLflow')}/api/2.0/mlflow"
    if found := _LOGGED.match(canonical):
        name, path = found.group(1), found.group(2) or ""
        logged = _read(await _ask(fetcher, access, "GET", f"{api}/logged-models/{name}", None), _LoggedModel).model.info
        return Registered(name, logged.source_run_id, _below(logged.artifact_uri, path))
    if found := _RUN.match(canonical):
        run, path = found.group(1), found.group(2) or ""
        asked = await _ask(fetcher, access, "GET", f"{api}/runs/get?{urlencode({'run_id': run})}", None)
        return Registered("", run, _below(_read(asked, _Run).run.info.artifact_uri, path))
    if (found := _ALIAS.match(canonical) or _VERSION.match(canonical)) and _CATALOGED.match(found.group(1)):
        below = "aliases" if "@" in canonical else "versions"
        if registered := await _cataloged(fetcher, access, found.group(1), f"{below}/{quote(found.group(2), safe='')}"):
            return registered
    if found := _ALIAS.match(canonical):
        query = urlencode({"name": found.group(1), "alias": found.group(2)})
        return await _one(fetcher, access, f"{api}/registered-models/alias?{query}")
    if found := _VERSION.match(canonical):
        query = urlencode({"name": found.group(1), "version": found.group(2)})
        return await _one(fetcher, access, f"{api}/model-versions/get?{query}")
    if found := _STAGE.match(canonical):
        return await _stage(fetcher, access, api, *found.groups())
    raise RegistryError("unsupported", "MLflow has versions, aliases, stages, runs and logged models; this is none")


async def artifacts(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """How much is below `mlflow-artifacts:/path`, which MLflow gives out itself: names and sizes, no checksums.

    Raises RegistryError; ``unsupported`` where the address names the server itself.
    """
    where = f"{access.required('MLflow')}/api/2.0/mlflow-artifacts/artifacts"
    if canonical.startswith("mlflow-artifacts://"):
        raise RegistryError("unsupported", "the address names a server of its own, which no policy answers for")
    root = canonical.removeprefix("mlflow-artifacts:").strip("/")

    async def listed(path: str) -> list[Entry]:
        query = urlencode({"path": f"{root}/{path}".rstrip("/")})
        body = await _ask(fetcher, access, "GET", f"{where}?{query}", None)
        return [Entry(file.path, file.is_dir, file.file_size or 0) for file in _read(body, _Files).files]

    files = await below(listed)
    if not files:
        raise RegistryError("not-found", "MLflow has nothing below that path")
    return Found(size=extent(files))


def _below(address: str, path: str) -> str:
    return f"{address.rstrip('/')}{path}" if address else ""


async def _one(fetcher: Fetcher, access: Access, url: str) -> Registered:
    body = await _ask(fetcher, access, "GET", url, None)
    found = _read(body, _One).model_version
    if found is None:
        raise RegistryError("unreadable", "MLflow names no version")
    return _registered(found)


def _registered(version: _Version) -> Registered:
    """The version; where it has been copied to by the registry, its files are there. Raises RegistryError."""
    if version.status not in _READY:
        raise RegistryError("not-found", "the version is not registered to its end, or failed to be")
    return Registered(str(version.version), version.run_id, version.storage_location or version.source)


async def _cataloged(fetcher: Fetcher, access: Access, name: str, below: str) -> Registered | None:
    """What Unity Catalog has under a name; None if that is not whom the endpoint belongs to. Raises RegistryError."""
    url = f"{access.base('')}/api/2.1/unity-catalog/models/{quote(name, safe='')}/{below}"
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
    # MLflow with users refuses what it does not know; Databricks says by its own codes what it refuses
    if answer.status in {403, 404} and b'"error_code"' not in answer.body:
        return None
    return _registered(answer.expected("Unity Catalog", "model, version or alias").json(_Version, "Unity Catalog"))


async def _stage(fetcher: Fetcher, access: Access, api: str, name: str, stage: str) -> Registered:
    """The newest version of a stage; `latest` is the newest of all."""
    wanted = {"name": name, **({} if stage.lower() == "latest" else {"stages": [stage]})}
    body = await _ask(fetcher, access, "POST", f"{api}/registered-models/get-latest-versions", wanted)
    versions = _read(body, _Several).model_versions
    if not versions:
        raise RegistryError("not-found", f"MLflow has no version of {name} in stage {stage}")
    newest = max(versions, key=lambda version: whole(str(version.version)) or 0)
    return _registered(newest)


def _read(body: dict[str, object], kind: type[T]) -> T:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError:
        raise RegistryError("unreadable", "the answer of MLflow is not what its API describes") from None


async def _ask(fetcher: Fetcher, access: Access, method: str, url: str, json: object) -> dict[str, object]:
    headers = access.authorization()
    answer = await fetcher.get(
        url, endpoint=access.endpoint, headers=headers, method=method, json=json, scope=access.scope
    )
    # an alias that does not exist is an invalid parameter to it, and so is a stage
    no_alias = answer.status == 400 and b"alias" in answer.body and b"not found" in answer.body
    no_stage = answer.status == 400 and b"Invalid Model Version stage" in answer.body
    if b"RESOURCE_DOES_NOT_EXIST" in answer.body or no_alias or no_stage:
        answer = replace(answer, status=404)
    # to a user who may not read it, it does not tell what does not exist
    hides = answer.status == 403
    found = answer.expected("MLflow", "model, version, alias or stage", hides=hides)
    return found.json(dict[str, object], "MLflow")
