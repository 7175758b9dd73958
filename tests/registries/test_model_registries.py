"""Registries of models as their APIs describe them: whom a name means, and every way not to know."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from agent.core.models.ref import Ref
from tests.registries.registry_servers import Asking, Registry

MD5 = "5d41402abc4b2a76b9719d911017c592"


def identity(ref: Ref) -> tuple[str | None, str, str | None]:
    """Version, digest, and why something is not known."""
    assert ref.identity is not None
    return ref.identity.version, str(ref.digest), ref.unresolved


def member(**changes: Any) -> dict[str, Any]:
    """What Weights & Biases says about a version of an artifact."""
    artifact = {"state": "COMMITTED", "digest": MD5, "size": 512, "fileCount": 3, **changes}
    return {"project": {"artifactCollectionMembership": {"versionIndex": 4, "artifact": artifact}}}


class Wandb:
    """Answers queries by their variables."""

    def __init__(self, server: Registry) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.data: dict[str, Any] = member()
        server.ask("/graphql", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """An answer of GraphQL."""
        body = await request.json()
        self.asked.append(body["variables"])
        if "organization(" in body["query"]:
            return web.json_response({"data": {"organization": {"orgEntity": {"name": "org_17"}}}})
        return web.json_response({"data": self.data})


async def test_an_alias_of_wandb(server: Registry, ask: Asking) -> None:
    hub = Wandb(server)
    ask.with_secret(token="abc\n")
    ref = await ask("wandb-artifact://team/project/model:best")
    assert identity(ref) == ("v4", f"md5:{MD5}", None)
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (512, 3)
    assert hub.asked == [{"entity": "team", "project": "project", "name": "model:best"}]
    assert {request.headers["Authorization"] for request in server.asked} == {
        f"Basic {base64.b64encode(b'api:abc').decode()}"
    }


async def test_a_collection_of_a_registry_of_wandb_is_its_organizations(server: Registry, ask: Asking) -> None:
    hub = Wandb(server)
    assert (await ask("wandb-artifact://acme/wandb-registry-model/m:production")).unresolved is None
    assert hub.asked[1] == {"entity": "org_17", "project": "wandb-registry-model", "name": "m:production"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"project": None}, "auth"),
        ({"project": {"artifactCollectionMembership": None}}, "not-found"),
        (member(state="DELETED"), "not-found"),
        (member(state="PENDING"), "not-found"),
        (member(digest="not a hash"), "unreadable"),
        ({"project": []}, "unreadable"),
        (None, "unreadable"),
    ],
)
async def test_ways_not_to_know_of_wandb(server: Registry, ask: Asking, data: Any, reason: str) -> None:
    Wandb(server).data = data
    assert (await ask("wandb-artifact://team/project/model:best")).unresolved == reason


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "auth"), (404, "not-found"), (429, "rate-limited"), (418, "unreadable")]
)
async def test_refusals_of_wandb(server: Registry, ask: Asking, status: int, reason: str) -> None:
    server.status("/graphql", status)
    assert (await ask("wandb-artifact://team/project/model:best")).unresolved == reason


async def test_a_digest_of_wandb(server: Registry, ask: Asking) -> None:
    hub = Wandb(server)
    assert identity(await ask(f"wandb-artifact://team/project/model@{MD5}")) == ("v4", f"md5:{MD5}", None)
    hub.data = {"project": {"artifactCollectionMembership": None}}
    other = await ask(f"wandb-artifact://team/project/other@{MD5}")
    assert identity(other) == (None, f"md5:{MD5}", None)  # nobody could tell; the text says it all
    for incomplete in ("wandb-artifact://model:best", "wandb-artifact://project/model:best"):
        assert (await ask(incomplete)).unresolved == "unsupported"
