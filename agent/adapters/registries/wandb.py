"""Weights & Biases, hosted or one's own: the version of an artifact that an alias means, and its digest.

API: GraphQL at `/graphql`, basic authentication with the name `api` and the key. A version is asked for as a member of
a collection, by `name:alias`, as the project's client does. The digest is the MD5 over the manifest (paths, and the MD5
of each file). Collections of a registry belong to the entity of an organization, which the reference only names.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agent.adapters.registries.access import Access, RegistryError, basic
from agent.adapters.registries.fetcher import Fetcher
from agent.core.digits import whole
from agent.core.models.ref import Digest, Size
from agent.core.registries.outcome import Found

PUBLIC: Final = "https://api.wandb.ai"
_REFERENCE: Final = re.compile(r"^wandb-artifact://([^/:@]+)/([^/:@]+)/([^/:@]+)([:@])(.+)$")
_REGISTRY: Final = "wandb-registry-"
_MD5: Final = re.compile(r"^[0-9a-f]{32}$")
"""A size is of the type Int64, which servers write as a number or as text."""
_MEMBER: Final = """query($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    artifactCollectionMembership(name: $name) { versionIndex artifact { state digest size fileCount } }
  }
}"""
_ORGANIZATION: Final = "query($name: String!) { organization(name: $name) { orgEntity { name } } }"


class _Artifact(msgspec.Struct, rename="camel"):
    state: str = ""
    digest: str = ""
    size: int | str | None = None
    file_count: int | None = None


class _Member(msgspec.Struct, rename="camel"):
    version_index: int | None = None
    artifact: _Artifact | None = None


class _Project(msgspec.Struct, rename="camel"):
    artifact_collection_membership: _Member | None = None


class _Entity(msgspec.Struct):
    name: str = ""


class _Organization(msgspec.Struct, rename="camel"):
    org_entity: _Entity | None = None


class _Data(msgspec.Struct):
    project: _Project | None = None
    organization: _Organization | None = None


class _Answer(msgspec.Struct):
    data: _Data | None = None


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """The version and digest of an artifact. Secret: token (the API key). Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no entity, project and artifact")
    entity, project, name, separator, wanted = found.groups()
    if project.startswith(_REGISTRY):
        told = (await _ask(fetcher, access, _ORGANIZATION, {"name": entity})).organization
        entity = told.org_entity.name if told and told.org_entity and told.org_entity.name else entity
    variables = {"entity": entity, "project": project, "name": f"{name}:{wanted}"}
    answer = (await _ask(fetcher, access, _MEMBER, variables)).project
    if answer is None:  # it does not tell projects that do not exist from those that the key may not see
        raise RegistryError("auth", "Weights & Biases has no such project, or does not show it without another key")
    member = answer.artifact_collection_membership
    if member is None and separator == "@":
        raise RegistryError("unsupported", "this Weights & Biases does not look artifacts up by their digest")
    if member is None or member.artifact is None or member.artifact.state != "COMMITTED":
        raise RegistryError("not-found", "Weights & Biases has no such artifact, or no files of that version")
    return _found(member, member.artifact, wanted if separator == "@" else "")


def _found(member: _Member, artifact: _Artifact, digest: str) -> Found:
    if not _MD5.match(artifact.digest) or member.version_index is None or (digest and digest != artifact.digest):
        raise RegistryError("unreadable", "Weights & Biases gives no digest of the artifact, or another one's")
    size = str(artifact.size)
    return Found(
        version=f"v{member.version_index}",
        digest=Digest("md5", artifact.digest, "manifest", "md5"),
        size=Size(bytes=whole(size), files=artifact.file_count),
    )


async def _ask(fetcher: Fetcher, access: Access, query: str, variables: dict[str, str]) -> _Data:
    key = access.secret.get("token", "").strip()
    answer = await fetcher.get(
        f"{access.base(PUBLIC)}/graphql",
        endpoint=access.endpoint,
        headers={"Authorization": basic("api", key)} if key else {},
        method="POST",
        json={"query": query, "variables": variables},
        scope=access.scope,
    )
    data = answer.expected("Weights & Biases", "artifact").json(_Answer, "Weights & Biases").data
    if data is None:
        raise RegistryError("unreadable", "Weights & Biases answers with an error in the place of data")
    return data
