"""Registries of models as their APIs describe them: whom a name means, and every way not to know."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from agent.adapters.registries import Access
from agent.core.models import parse
from agent.core.models.ref import Ref
from tests.registries.registry_servers import Asking, Registry, registry

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


@pytest.mark.parametrize(("size", "known"), [(512, 512), ("512", 512), (None, None), ("x", None), (-1, None)])
async def test_sizes_of_wandb(server: Registry, ask: Asking, size: object, known: int | None) -> None:
    Wandb(server).data = member(size=size)
    ref = await ask("wandb-artifact://team/project/model:best")
    assert ref.size is not None
    assert ref.size.bytes == known


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


SHA = "c" * 64
ORG, PUBLIC = "/v2/org/nim/team/meta/models/llama", "/v2/models/nim/meta/llama"


def ngc(server: Registry, where: str = ORG, *, checksums: bool = True, weights: str = SHA) -> None:
    """A model with two versions, the newer of two files and a card."""
    server.json(where, {"model": {"name": "llama", "latestVersionIdStr": "1.2"}})
    record = {"versionId": "1.2", "createdDate": "2026-01-02T03:04:05Z", "totalSizeInBytes": 90, "totalFileCount": 3}
    server.json(f"{where}/versions/1.2", {"model": {}, "modelVersion": record})
    if checksums:
        pages = {"totalPages": 2}
        first = {"filepath": ["a.bin", "README.md"], "sha256_base64": [encoded(weights), encoded("1" * 64)]}
        second = {"filepath": ["b/c.json"], "sha256_base64": [encoded("2" * 64)]}
        for page, listed in enumerate((first, second), 1):
            path = f"{where}/1.2/files?page-size=500&page-number={page}"
            server.json(path, {**listed, "urls": ["https://x.example/signed"], "paginationInfo": pages})


def encoded(sha256: str) -> str:
    """As NGC writes checksums."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


async def test_the_newest_version_of_ngc(server: Registry, ask: Asking) -> None:
    ask.with_secret(token="nvapi-x\n")
    ngc(server)
    ref = await ask("ngc://nim/meta/llama", ttl=0)
    assert ref.identity is not None
    assert ref.digest is not None
    assert ref.size is not None
    assert (ref.identity.version, ref.digest.scope, ref.digest.strength) == ("1.2", "loaded", "sha256")
    assert (ref.size.bytes, ref.size.files, ref.unresolved) == (90, 3, None)
    assert {request.headers["Authorization"] for request in server.asked} == {"Bearer nvapi-x"}
    one = await ask("ngc://nim/meta/llama:1.2?file=b/c.json")
    assert one.digest is not None
    assert one.digest not in (ref.digest, None)
    assert (await ask("ngc://nim/meta/llama:1.2?file=gone")).unresolved == "not-found"
    ngc(server, weights="d" * 64)
    assert (await ask("ngc://nim/meta/llama", ttl=0)).digest != ref.digest


async def test_a_version_of_ngc_whose_files_are_not_told(server: Registry, ask: Asking) -> None:
    ngc(server, PUBLIC, checksums=False)
    assert identity(await ask("ngc://nim/meta/llama:1.2")) == ("1.2", "ngc:1.2@2026-01-02T03:04:05Z", None)
    assert "Authorization" not in server.asked[0].headers
    server.json(f"{PUBLIC}/1.2/files", {"filepath": ["a"], "sha256_base64": ["e"], "paginationInfo": None})
    assert identity(await ask("ngc://nim/meta/llama", ttl=0))[1].startswith("ngc:")


@pytest.mark.parametrize(("page", "status"), [(1, 400), (1, 408), (2, 403), (2, 404)])
async def test_files_of_ngc_that_are_not_told_just_now_are_not_replaced_by_the_version(
    server: Registry, ask: Asking, page: int, status: int
) -> None:
    ngc(server, PUBLIC)
    known = await ask("ngc://nim/meta/llama", ttl=0)
    server.status(f"{PUBLIC}/1.2/files?page-size=500&page-number={page}", status)
    ref = await ask("ngc://nim/meta/llama", ttl=0)
    assert (ref.unresolved, ref.digest) == ("unreadable", known.digest)


async def test_a_version_of_ngc_that_is_being_uploaded(server: Registry, ask: Asking) -> None:
    ngc(server, PUBLIC)
    record = {"versionId": "1.2", "status": "UPLOAD_PENDING"}
    server.json(f"{PUBLIC}/versions/1.2", {"modelVersion": record})
    assert (await ask("ngc://nim/meta/llama:1.2", ttl=0)).unresolved == "not-found"
    record |= {"status": "UPLOAD_COMPLETE", "versionId": "1.3"}
    assert (await ask("ngc://nim/meta/llama", ttl=0)).unresolved == "unreadable"


async def test_an_older_key_of_ngc_is_exchanged(server: Registry, ask: Asking) -> None:
    ngc(server)
    server.json("/token?service=ngc&scope=group%2Fngc%3Anim%2Fmeta", {"token": "t1", "expires_in": 900})
    ask.with_secret(token="old")
    assert (await ask("ngc://nim/meta/llama:1.2")).unresolved is None
    assert server.asked[0].headers["Authorization"] == f"Basic {base64.b64encode(b'$oauthtoken:old').decode()}"
    assert {request.headers["Authorization"] for request in server.asked[1:]} == {"Bearer t1"}
    server.status("/token", 401)
    server.answers.pop("/token?service=ngc&scope=group%2Fngc%3Anim%2Fmeta")
    assert (await ask("ngc://nim/meta/other")).unresolved == "auth"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "auth"), (403, "auth"), (404, "not-found"), (451, "gated"), (429, "rate-limited"), (400, "unreadable")],
)
async def test_ways_not_to_know_of_ngc(server: Registry, ask: Asking, status: int, reason: str) -> None:
    server.status(f"{PUBLIC}/versions/1.2", status)
    ref = await ask("ngc://nim/meta/llama:1.2", ttl=0)
    assert ref.unresolved == (reason if reason == "not-found" else None)  # the text pins it
    server.status(PUBLIC, status)
    assert (await ask("ngc://nim/meta/llama", ttl=0)).unresolved == reason


API = "/api/model_registry/v1alpha3"


def kubeflow(server: Registry, uri: str, kind: str = "model-artifact") -> None:
    """A model with a version, which points at files."""
    server.json(f"{API}/registered_model?name=chat", {"id": "7", "name": "chat", "state": "LIVE"})
    server.json(f"{API}/model_version?name=v1&parentResourceId=7", {"id": "12", "name": "v1"})
    versions = [{"id": "12", "name": "v1"}, {"id": "9", "name": "v0"}]
    server.json(f"{API}/registered_models/7/versions?sortOrder=DESC", {"items": versions, "size": 2})
    artifacts = {"items": [{"id": "30", "artifactType": kind, "uri": uri}], "nextPageToken": ""}
    server.json(f"{API}/model_versions/12/artifacts?orderBy=CREATE_TIME&sortOrder=DESC", artifacts)
    server.status("/bucket/chat", 200, ETag='"e1"')


async def test_a_version_of_kubeflows_registry_is_followed_to_its_files(server: Registry, ask: Asking) -> None:
    kubeflow(server, "s3://bucket/chat?endpoint=http%3A%2F%2Fminio&defaultRegion=x")
    for spelling in ("model-registry://chat", "model-registry://chat/v1", "model-registry://reg.kf.svc:80/chat/v1"):
        assert identity(await ask(spelling)) == ("v1", "etag:e1", None)


async def test_a_model_of_kubeflows_registry_whose_files_nobody_answers_for(server: Registry, ask: Asking) -> None:
    kubeflow(server, "pvc://claim/chat")
    assert identity(await ask("model-registry://chat")) == ("v1", "None", None)
    for uri, kind in (("", "model-artifact"), ("s3://bucket/chat", "doc-artifact")):
        kubeflow(server, uri, kind)
        assert (await ask("model-registry://chat/v1", ttl=0)).unresolved == "not-found"


@pytest.mark.parametrize("source", ["models:/chat/3", "runs:/r1/chat"])
async def test_a_version_of_kubeflows_registry_that_is_one_of_mlflow(
    server: Registry, ask: Asking, source: str
) -> None:
    kubeflow(server, source)
    entries = {"model-registry": Access(server.url, {"token": "kubeflow"})}

    async def follow() -> Ref:
        wanted = parse("model-registry://chat")
        return await ask.resolver.resolve(wanted, lambda ref: entries.get(ref.scheme), ttl=0)

    assert identity(await follow()) == ("v1", "None", None)
    assert not [path for path in server.paths() if "mlflow" in path]
    async with registry() as mlflow:
        api = "/api/2.0/mlflow"
        version = {"version": "3", "run_id": "r1", "source": "s3://bucket/chat"}
        mlflow.json(f"{api}/model-versions/get?name=chat&version=3", {"model_version": version})
        mlflow.json(f"{api}/runs/get?run_id=r1", {"run": {"info": {"artifact_uri": "s3://bucket"}}})
        logged_in = Access(mlflow.url, {"token": "mlflow"})
        entries |= {"mlflow-version": logged_in, "mlflow-run": logged_in, "s3": Access(server.url)}
        assert identity(await follow()) == ("v1", "etag:e1", None)
        assert {request.headers["Authorization"] for request in mlflow.asked} == {"Bearer mlflow"}
    assert not [path for path in server.paths() if "mlflow" in path]


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "auth"), (404, "not-found"), (400, "unreadable"), (500, "unreachable")]
)
async def test_ways_not_to_know_of_kubeflows_registry(server: Registry, ask: Asking, status: int, reason: str) -> None:
    server.status(f"{API}/registered_model", status)
    assert (await ask("model-registry://chat")).unresolved == reason


async def test_a_registered_model_without_versions(server: Registry, ask: Asking) -> None:
    kubeflow(server, "s3://bucket/chat")
    server.json(f"{API}/registered_models/7/versions?sortOrder=DESC", {"items": []})
    assert (await ask("model-registry://chat")).unresolved == "not-found"
