"""Iceberg tables, by a REST catalog: the snapshot that a branch or tag means, or whether a snapshot is still there."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import msgspec

from agent.adapters.registries.access import Access, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.ref import Digest
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^iceberg://[^/]+/([^@#]+)\.([^.@#]+)(?:@(\d+)|#(.+))$")
_LEVELS: Final = "\x1f"
"""What a catalog wants between the levels of a namespace."""


class _Snapshot(msgspec.Struct, rename="kebab"):
    snapshot_id: int


class _Metadata(msgspec.Struct, rename="kebab"):
    table_uuid: str = ""
    current_snapshot_id: int | None = None
    snapshots: list[_Snapshot] = []
    refs: dict[str, _Snapshot] = {}


class _Token(msgspec.Struct):
    access_token: str


class _Table(msgspec.Struct):
    metadata: _Metadata


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """The table and its snapshot; `endpoint` is the catalog's with version and prefix. Raises RegistryError.

    Secret: token; or clientId and clientSecret, with scope.
    """
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no namespace and table of a catalog")
    namespace, table, snapshot, name = found.groups()
    levels = quote(_LEVELS.join(namespace.split(".")), safe="")
    url = f"{access.required('an Iceberg catalog')}/namespaces/{levels}/tables/{quote(table, safe='')}"
    headers = await _logged_in(fetcher, access)
    answer = await fetcher.get(url, endpoint=access.endpoint, headers=headers, scope=access.scope)
    metadata = answer.expected("the catalog", "table").json(_Table, "the catalog").metadata
    meant = _meant(metadata, snapshot, name)
    if not metadata.table_uuid:
        raise RegistryError("unreadable", "the catalog gives no id of the table")
    value = f"{metadata.table_uuid}@{meant}"  # a table that is made anew has other snapshots
    return Found(version=str(meant), digest=Digest("iceberg", value, "object", "generation"))


async def _logged_in(fetcher: Fetcher, access: Access) -> dict[str, str]:
    """The header of a token, or of one that the catalog gives a client for its secret. Raises RegistryError."""
    client, secret = access.secret.get("clientId", ""), access.secret.get("clientSecret", "")
    if not (client and secret):
        return access.authorization()
    base, _, _ = access.base("").partition("/v1")
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    form["scope"] = access.secret.get("scope", "catalog")
    answer = await fetcher.get(
        f"{base}/v1/oauth/tokens", endpoint=access.endpoint, method="POST", form=form, scope=access.scope
    )
    if answer.status != 200:
        raise RegistryError("auth", "the catalog does not let the client of the policy in")
    return {"Authorization": f"Bearer {answer.json(_Token, 'the catalog').access_token}"}


def _meant(metadata: _Metadata, snapshot: str | None, name: str | None) -> int:
    if snapshot is not None:
        if int(snapshot) not in {one.snapshot_id for one in metadata.snapshots}:
            raise RegistryError("not-found", "the table has no such snapshot: it has expired")
        return int(snapshot)
    if name in metadata.refs:
        return metadata.refs[name].snapshot_id
    if name == "main" and metadata.current_snapshot_id is not None and metadata.current_snapshot_id >= 0:
        return metadata.current_snapshot_id
    raise RegistryError("not-found", "the table has no such branch or tag, or no snapshot yet")
