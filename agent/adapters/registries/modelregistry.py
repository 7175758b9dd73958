"""Kubeflow's model registry: from a name and a version to the address of the files, as its storage initializer looks.

API v1alpha3: a registered model by name, its version by name (the newest without one), and the newest artifact of that.
"""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.registries.access import Access, Registered, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.hubs import registered

T = TypeVar("T")
_PREFIX: Final = "model-registry://"


class _Entity(msgspec.Struct):
    id: str
    name: str = ""


class _Versions(msgspec.Struct):
    items: list[_Entity] = []


class _Artifact(msgspec.Struct, rename="camel"):
    artifact_type: str = ""
    uri: str = ""


class _Artifacts(msgspec.Struct):
    items: list[_Artifact] = []


async def look_up(fetcher: Fetcher, access: Access, canonical: str) -> Registered:
    """What is registered. Secret: token, or username and password. Raises RegistryError."""
    _host, name, version = registered(canonical.removeprefix(_PREFIX))
    api = f"{access.required('a model registry')}/api/model_registry/v1alpha3"

    async def ask(path: str, pairs: dict[str, str], kind: type[T]) -> T:
        url = f"{api}/{path}?{urlencode(pairs)}"
        answer = await fetcher.get(url, endpoint=access.endpoint, headers=access.authorization(), scope=access.scope)
        return answer.expected("the model registry", "model or version").json(kind, "the model registry")

    model = await ask("registered_model", {"name": name}, _Entity)
    if version:
        found = await ask("model_version", {"name": version, "parentResourceId": model.id}, _Entity)
    else:
        path = f"registered_models/{quote(model.id, safe='')}/versions"
        versions = (await ask(path, {"sortOrder": "DESC"}, _Versions)).items
        if not versions:
            raise RegistryError("not-found", "the model has no version yet")
        found = versions[0]
    newest = {"orderBy": "CREATE_TIME", "sortOrder": "DESC"}
    artifacts = (await ask(f"model_versions/{quote(found.id, safe='')}/artifacts", newest, _Artifacts)).items
    if not artifacts or artifacts[0].artifact_type != "model-artifact" or not artifacts[0].uri:
        raise RegistryError("not-found", "the version has no model with an address")
    uri = artifacts[0].uri
    # the registry's client writes the store's address behind that of a bucket; here the policy says where stores are
    return Registered(version or found.name, "", uri.partition("?")[0] if uri.startswith("s3://") else uri)
