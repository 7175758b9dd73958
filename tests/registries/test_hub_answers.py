"""Hubs and stores as their APIs describe them: what a spelling means, how large it is, and every way not to know."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import pytest
from aiohttp import web
from msgspec.structs import replace

from agent.adapters.registries import Access, Resolver
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models import parse
from agent.core.models.floating import has_floated
from agent.core.models.ref import Digest, Size
from tests.registries.registry_servers import SPELLINGS, Asking, Registry, one_of

A, B = "a" * 40, "b" * 40
SHA = "c" * 64


def hub(server: Registry, commit: str = A, weights: str = SHA, card: str = "1" * 40) -> None:
    """A repository with weights, a configuration and a card."""
    server.json("/api/models/org/m/revision/main", {"sha": commit, "gated": False})
    server.json(
        f"/api/models/org/m/tree/{commit}",
        [
            {"type": "directory", "path": "onnx", "oid": "9" * 40, "size": 0},
            {"type": "file", "path": "README.md", "oid": card, "size": 10},
            {"type": "file", "path": "config.json", "oid": "2" * 40, "size": 20},
            {"type": "file", "path": "w.safetensors", "oid": "3" * 40, "size": 30, "lfs": {"oid": weights}},
        ],
    )


async def test_a_branch_of_a_hub(server: Registry, ask: Asking) -> None:
    hub(server)
    ref = await ask("hf://org/m")
    assert ref.unresolved is None
    assert ref.identity is not None
    assert ref.identity.revision == A
    assert ref.digest is not None
    assert (ref.digest.scope, ref.digest.strength) == ("loaded", "sha256")
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (50, 2)
    kept = Digest("sha256", "0" * 64, "files", "sha256")
    assert not has_floated(replace(ref, digest=kept), ref), "what was counted earlier is told apart from what is now"


@pytest.mark.parametrize(("change", "same"), [({"card": "8" * 40}, True), ({"weights": "d" * 64}, False)])
async def test_only_files_that_are_served_make_the_digest(
    server: Registry, ask: Asking, change: dict[str, str], same: bool
) -> None:
    hub(server)
    before = await ask("hf://org/m", ttl=0)
    hub(server, commit=B, **change)
    after = await ask("hf://org/m", ttl=0)
    assert (before.digest == after.digest) is same
    assert before.identity != after.identity


@pytest.mark.parametrize(
    ("beside", "added", "same"),
    [
        ("w.safetensors", "tf_model.h5", True),
        ("w.safetensors", "flax_model.msgpack", True),
        ("w.safetensors", "rust_model.ot", True),
        ("w.safetensors", "tf_model-00001-of-00002.h5", True),
        ("text/w.safetensors", "text/flax_model.msgpack", True),
        ("unet/w.safetensors", "unet/diffusion_flax_model.msgpack", True),
        ("unet/w.safetensors", "vae/diffusion_flax_model.msgpack", False),
        ("text/w.safetensors", "tf_model.h5", False),
        ("w.safetensors", "text/tf_model.h5", False),
        ("w.safetensors", "model.weights.h5", False),
        ("w.safetensors", "my_tf_model.h5", False),
        ("w.safetensors", "params.msgpack", False),
        ("w.safetensors", "onnx/model.onnx", False),
        ("w.safetensors", "pytorch_model.bin", False),
        ("pytorch_model.bin", "tf_model.h5", False),
    ],
)
async def test_weights_that_no_server_of_the_others_loads(
    server: Registry, ask: Asking, beside: str, added: str, same: bool
) -> None:
    server.json("/api/models/org/m/revision/main", {"sha": A})
    files = [{"type": "file", "path": beside, "oid": "3" * 40, "size": 30}]
    server.json(f"/api/models/org/m/tree/{A}", files)
    before = await ask("hf://org/m", ttl=0)
    files.append({"type": "file", "path": added, "oid": "4" * 40, "size": 9})
    assert ((await ask("hf://org/m", ttl=0)).digest == before.digest) is same
    assert (await ask(f"hf://org/m@main/{added}")).digest is not None


@pytest.mark.parametrize(("told", "size"), [(2**53, 2**53), (2**53 + 1, None), (10**30, None), (-1, None)])
async def test_a_size_that_no_status_can_hold_is_none(
    server: Registry, ask: Asking, told: int, size: int | None
) -> None:
    server.json("/api/models/org/m/revision/main", {"sha": A})
    files = [{"type": "file", "path": "w.safetensors", "oid": "3" * 40, "size": told}]
    server.json(f"/api/models/org/m/tree/{A}", files)
    assert (await ask("hf://org/m")).size == Size(bytes=size, files=1)


async def test_one_file_of_a_repository(server: Registry, ask: Asking) -> None:
    hub(server)
    ref = await ask("hf://org/m@main/w.safetensors")
    assert ref.size is not None
    assert ref.size.bytes == 30
    assert (await ask("hf://org/m@main/none.gguf")).unresolved == "not-found"


async def test_pages_of_a_hub(server: Registry, ask: Asking) -> None:
    server.json("/api/models/org/m/revision/main", {"sha": A})
    first = f"/api/models/org/m/tree/{A}?recursive=true"
    entry = {"type": "file", "path": "a.gguf", "oid": "1" * 40, "size": 1}
    server.json(first, [entry], Link=f'<{server.url}{first}&cursor=x>; rel="next"')
    server.json(f"{first}&cursor=x", [{**entry, "path": "b.gguf"}])
    ref = await ask("hf://org/m")
    assert ref.size is not None
    assert ref.size.files == 2
    server.json(first, [entry], Link='<https://elsewhere.example/x>; rel="next"')
    assert (await ask("hf://org/m", ttl=0)).size is not None


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (401, {}, "auth"),
        (403, {"X_Error_Code": "GatedRepo"}, "gated"),
        (401, {"X_Error_Code": "GatedRepo"}, "gated"),
        (404, {"X_Error_Code": "RevisionNotFound"}, "not-found"),
        (429, {"Retry_After": "30"}, "rate-limited"),
        (503, {}, "unreachable"),
        (418, {}, "unreadable"),
    ],
)
async def test_ways_not_to_know(
    server: Registry, ask: Asking, status: int, headers: dict[str, str], reason: str
) -> None:
    server.status("/api/models/org/m/revision/main", status, **headers)
    assert (await ask("hf://org/m")).unresolved == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "auth"), (403, "auth"), (404, "not-found"), (410, "not-found"), (418, "unreadable"), (500, "unreachable")],
)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_every_registry_has_the_same_ways_not_to_know(
    server: Registry, ask: Asking, spelling: str, status: int, reason: str
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    server.fallback = refuse
    certain = spelling == "git-lfs" and reason != "not-found"  # its text tells the content
    assert (await one_of(server, ask, spelling)).unresolved == (None if certain else reason)
    assert server.asked


async def test_a_token_is_sent_to_the_hub(server: Registry, ask: Asking) -> None:
    hub(server)
    ask.with_secret(token="hf_abc\n")
    await ask("hf://org/m")
    assert {request.headers["Authorization"] for request in server.asked} == {"Bearer hf_abc"}


MANIFEST = json.dumps({"schemaVersion": 2, "layers": [{"size": 7}, {"size": 5}]}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


def image(server: Registry, body: bytes = MANIFEST, digest: str = DIGEST) -> None:
    """An artifact behind a token."""

    async def manifest(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer t0":
            challenge = f'Bearer realm="{server.url}/token",service="reg",scope="repository:org/m:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return web.Response(body=body, headers={"Docker-Content-Digest": digest} if digest else {})

    for name in ("v1", digest or "none"):
        server.ask(f"/v2/org/m/manifests/{name}", manifest)
    server.json("/token", {"token": "t0"})


async def test_a_tag_of_a_registry(server: Registry, ask: Asking) -> None:
    image(server)
    ref = await ask("oci://registry.example/org/m:v1")
    assert ref.unresolved is None
    assert str(ref.digest) == DIGEST
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (12, 2)
    assert "/token?service=reg&scope=repository%3Aorg%2Fm%3Apull" in server.paths()


async def test_a_registry_without_the_header_is_read_and_hashed(server: Registry, ask: Asking) -> None:
    image(server, digest="")
    assert str((await ask("oci://registry.example/org/m:v1")).digest) == DIGEST


async def test_a_manifest_that_is_not_the_one_of_its_digest_is_refused(server: Registry, ask: Asking) -> None:
    image(server, body=b'{"layers": []}')
    assert (await ask("oci://registry.example/org/m:v1")).unresolved == "refused"


async def test_credentials_of_a_docker_configuration(server: Registry, ask: Asking) -> None:
    image(server)
    auth = base64.b64encode(b"me:secret").decode()
    ask.with_secret(**{".dockerconfigjson": json.dumps({"auths": {"https://registry.example": {"auth": auth}}})})
    await ask("oci://registry.example/org/m:v1")
    tokens = [request for request in server.asked if request.path == "/token"]
    assert [request.headers["Authorization"] for request in tokens] == [f"Basic {auth}"]


async def test_ollama(server: Registry, ask: Asking) -> None:
    server.put("/v2/library/llama3/manifests/8b", lambda: web.Response(body=MANIFEST))
    assert str((await ask("ollama://llama3:8b")).digest) == DIGEST


async def test_an_object_of_a_bucket(server: Registry, ask: Asking) -> None:
    checksum = base64.b64encode(bytes.fromhex(SHA)).decode()
    server.status("/models/m/w.bin", 200, ETag='"x-2"', x_amz_checksum_sha256=checksum, x_amz_version_id="v7")
    ref = await ask("s3://models/m/w.bin")
    assert str(ref.digest) == f"sha256:{SHA}"
    assert ref.identity is not None
    assert ref.identity.version == "v7"


PAGE = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
{token}<Contents><Key>m/{name}</Key><ETag>&quot;e{name}&quot;</ETag><Size>3</Size></Contents></ListBucketResult>"""


async def test_a_prefix_of_a_bucket(server: Registry, ask: Asking) -> None:
    first = PAGE.format(name="a", token="<NextContinuationToken>t/1</NextContinuationToken>")
    server.put("/models?list-type=2&prefix=m%2F", lambda: web.Response(text=first))
    second = "/models?continuation-token=t%2F1&list-type=2&prefix=m%2F"
    server.put(second, lambda: web.Response(text=PAGE.format(name="b", token="")))
    ask.with_secret(accessKey="AK", secretKey="very-secret", region="eu-central-1")
    ref = await ask("s3://models/m")
    assert ref.digest is not None
    assert (ref.digest.scope, ref.digest.strength) == ("listing", "etag")
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (6, 2)
    signed = [request.headers["Authorization"] for request in server.asked]
    assert all("Credential=AK/" in header and "/eu-central-1/s3/" in header for header in signed)
    assert not any("very-secret" in header for header in signed)


async def test_a_bucket_of_another_region(server: Registry, ask: Asking) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        if "/eu-west-1/s3/" in request.headers["Authorization"]:
            return web.Response(headers={"ETag": '"e"'})
        return web.Response(status=301, headers={"x-amz-bucket-region": "eu-west-1"})

    server.ask("/models/m", elsewhere)
    ask.with_secret(accessKey="AK", secretKey="SK")
    assert str((await ask("s3://models/m")).digest) == "etag:e"
    assert len(server.asked) == 2
    for odd in ("eu-west-1.evil.example", "", "us-east-1"):
        server.status("/models/odd", 301, x_amz_bucket_region=odd)
        assert (await ask("s3://models/odd", ttl=0)).unresolved == "unreadable"
    assert len(server.asked) == 5


async def test_entities_of_a_listing_are_refused(server: Registry, ask: Asking) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>'
    server.put("/models?list-type=2&prefix=m%2F", lambda: web.Response(text=bomb))
    assert (await ask("s3://models/m")).unresolved == "refused"


async def test_google_and_azure(server: Registry, ask: Asking) -> None:
    md5 = base64.b64encode(b"0" * 16).decode()
    server.json("/storage/v1/b/models/o/m%2Fw", {"name": "m/w", "generation": "17", "md5Hash": md5, "size": "9"})
    ref = await ask("gs://models/m/w")
    assert ref.identity is not None
    assert (str(ref.digest), ref.identity.generation) == (f"md5:{(b'0' * 16).hex()}", "17")
    blobs = (
        "<EnumerationResults><Blobs><Blob><Name>m/w</Name><Properties><Content-Length>4</Content-Length>"
        f"<Content-MD5>{md5}</Content-MD5></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"
    )
    server.put("/models", lambda: web.Response(text=blobs))
    found = await ask("abfss://models@account.dfs.core.windows.net/m")
    assert found.digest is not None
    assert found.digest.strength == "md5"
    assert found.size is not None
    assert found.size.bytes == 4


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": '"v1"'}, "etag:v1"),
        ({"Repr_Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(SHA)).decode()}:"}, f"sha256:{SHA}"),
        ({"ETag": '"v1"', "Repr_Digest": "sha-256=:A:"}, "etag:v1"),
        ({"ETag": 'W/"v1"', "Last_Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}, "mtime:Sun, 29 Nov 2026 10:00:00 GMT/"),
    ],
)
async def test_validators_of_a_download(server: Registry, ask: Asking, headers: dict[str, str], expected: str) -> None:
    server.status("/m.gguf", 200, **headers)
    assert str((await ask(f"{server.url}/m.gguf")).digest) == expected


async def test_a_download_without_a_validator_says_nothing(server: Registry, ask: Asking) -> None:
    server.status("/m.gguf", 200)
    assert (await ask(f"{server.url}/m.gguf")).unresolved == "unsupported"


async def test_a_question_that_mlflow_does_not_understand(server: Registry, ask: Asking) -> None:
    told = {"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid value for parameter 'name'"}
    server.put("/api/2.0/mlflow/registered-models/alias", lambda: web.json_response(told, status=400))
    assert (await ask("models:/name@champion")).unresolved == "unreadable"


async def test_models_of_unity_catalog(server: Registry, ask: Asking) -> None:
    where = "/api/2.1/unity-catalog/models/cat.schema.name"
    version = {"version": 7, "run_id": "r1", "status": "READY", "source": "dbfs:/r1/model"}
    server.json(f"{where}/versions/7", {**version, "storage_location": "s3://models/m/w.bin"})
    server.json(f"{where}/aliases/champion%2F1", {**version, "storage_location": "s3://models/m/w.bin"})
    server.status("/models/m/w.bin", 200, ETag='"e1"')
    for spelling in ("models:/cat.schema.name/7", "models:/cat.schema.name@champion/1"):
        ref = await ask(spelling)
        assert ref.identity is not None
        assert (ref.identity.version, ref.identity.revision, str(ref.digest)) == ("7", "r1", "etag:e1")
    absent = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such alias"}
    server.put(f"{where}/aliases/none", lambda: web.json_response(absent, status=404))
    asked = len(server.asked)
    assert (await ask("models:/cat.schema.name@none")).unresolved == "not-found"
    assert len(server.asked) == asked + 1


async def test_a_version_of_mlflow_that_is_not_registered_to_its_end(server: Registry, ask: Asking) -> None:
    version = {"version": "7", "source": "s3://models/m/w.bin", "status": "PENDING_REGISTRATION"}
    server.json("/api/2.0/mlflow/model-versions/get", {"model_version": version})
    server.status("/models/m/w.bin", 200, ETag='"e1"')
    assert (await ask("models:/name/7", ttl=0)).unresolved == "not-found"
    version["status"] = "READY"
    assert str((await ask("models:/name/7", ttl=0)).digest) == "etag:e1"


async def test_versions_of_mlflow_that_point_at_each_other(server: Registry, ask: Asking) -> None:
    version = {"version": "1", "source": "models:/name/1"}
    server.json("/api/2.0/mlflow/model-versions/get", {"model_version": version})
    ref = await ask("models:/name@champion", ttl=0)
    assert ref.unresolved == "not-found"
    ref = await ask("models:/name/1")
    assert (ref.unresolved, ref.digest) == (None, None)
    assert len(server.asked) < 8


async def test_files_behind_mlflow_itself_have_no_checksum(server: Registry, ask: Asking) -> None:
    version = {"version": "1", "run_id": "r", "source": "mlflow-artifacts:/1/r/artifacts/model"}
    server.json("/api/2.0/mlflow/model-versions/get", {"model_version": version})
    where = "/api/2.0/mlflow-artifacts/artifacts?path=1%2Fr%2Fartifacts%2Fmodel"
    folder, up = {"path": "data", "is_dir": True}, {"path": "..", "is_dir": True}
    server.json(where, {"files": [{"path": "MLmodel", "is_dir": False, "file_size": 300}, folder, up]})
    server.json(f"{where}%2Fdata", {"files": [{"path": "w.bin", "is_dir": False, "file_size": 5000}]})
    for spelling, pinned in (("models:/name/1", "1"), ("mlflow-artifacts:/1/r/artifacts/model", None)):
        ref = await ask(spelling)
        assert ref.identity is not None
        assert ref.size is not None
        assert (ref.unresolved, ref.digest, ref.identity.version) == (None, None, pinned)
        assert (ref.size.bytes, ref.size.files) == (5300, 2)
    assert (await ask("mlflow-artifacts:/1/gone")).unresolved == "not-found"
    server.json(where, {"files": []})
    assert (await ask("models:/name/2")).unresolved == "not-found"
    server.status(where, 503)
    assert (await ask("models:/name@champion", ttl=0)).unresolved == "not-found"
    server.json("/api/2.0/mlflow/registered-models/alias", {"model_version": version})
    known = await ask("models:/name@champion", ttl=0)  # it does not give out files, but has the version
    assert known.identity is not None
    assert (known.unresolved, known.identity.version) == (None, "1")


async def test_files_that_mlflow_does_not_list_in_time_do_not_cost_the_version(server: Registry) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        asked.set()
        await over.wait()
        return web.Response()

    version = {"version": "1", "source": "mlflow-artifacts:/1/r/artifacts/model"}
    server.json("/api/2.0/mlflow/registered-models/alias", {"model_version": version})
    server.ask("/api/2.0/mlflow-artifacts/artifacts", silent)
    async with Fetcher() as fetcher:
        resolver = Resolver(fetcher, deadline=4.0)
        ref = await resolver.resolve(parse("models:/name@champion"), lambda _ref: Access(server.url), ttl=0)
    over.set()
    assert ref.identity is not None
    assert (asked.is_set(), ref.unresolved, ref.identity.version, ref.size) == (True, None, "1", None)


async def test_what_mlflow_could_not_tell_of_a_pinned_version_is_asked_for_again(server: Registry) -> None:
    version = {"version": "3", "source": "mlflow-artifacts:/1/r/artifacts/model"}
    where, now = "/api/2.0/mlflow-artifacts/artifacts", [0.0]
    server.json("/api/2.0/mlflow/model-versions/get", {"model_version": version})
    server.status(where, 503)
    async with Fetcher() as fetcher:
        resolver = Resolver(fetcher, clock=lambda: now[0])

        async def told() -> tuple[Size | None, int]:
            ref = await resolver.resolve(parse("models:/name/3"), lambda _ref: Access(server.url), ttl=300)
            return ref.size, len(server.asked)

        size, first = await told()
        assert size is None
        server.json(where, {"files": [{"path": "w.bin", "is_dir": False, "file_size": 5000}]})
        assert await told() == (None, first)
        now[0] = 600.0
        whole, second = await told()
        assert (whole, second > first) == (Size(bytes=5000, files=1), True)
        now[0] = 1e9
        assert await told() == (whole, second)


async def test_files_of_a_server_that_the_address_names_are_not_asked_for_elsewhere(
    server: Registry, ask: Asking
) -> None:
    elsewhere = "mlflow-artifacts://other:5000/1/r/model"
    server.json("/api/2.0/mlflow/registered-models/alias", {"model_version": {"version": "1", "source": elsewhere}})
    ref = await ask("models:/name@champion")
    assert ref.identity is not None
    assert (ref.unresolved, ref.identity.version, ref.size) == (None, "1", None)
    assert (await ask(elsewhere)).unresolved == "unsupported"
    assert len(server.asked) == 1


async def test_a_branch_of_lakefs(server: Registry, ask: Asking) -> None:
    where = "/api/v1/repositories/repo"
    server.json(f"{where}/branches/main", {"id": "main", "commit_id": SHA})
    listing = {"results": [{"path": "m/w", "checksum": "e", "size_bytes": 2}], "pagination": {"has_more": False}}
    server.json(f"{where}/refs/main/objects/ls", listing)
    ref = await ask("lakefs://repo/main/m")
    assert ref.identity is not None
    assert ref.identity.revision == SHA
    assert ref.size is not None
    assert ref.size.bytes == 2


async def test_content_that_nothing_tells_apart_has_no_digest(server: Registry, ask: Asking) -> None:
    server.json("/api/v1/repositories/repo/branches/main", {"commit_id": SHA})
    objects = "/api/v1/repositories/repo/refs/main/objects"
    server.json(f"{objects}/stat", {"path": "m", "checksum": "", "size_bytes": 2})
    server.json(f"{objects}/ls", {"results": [{"path": "d/w"}, {"path": "d/x", "checksum": "e"}]})
    server.put("/models", lambda: web.Response(text="<L><Contents><Key>m/a</Key><Size>3</Size></Contents></L>"))
    server.json("/api/models/org/m/revision/main", {"sha": A})
    server.json(f"/api/models/org/m/tree/{A}", [{"type": "file", "path": "w", "size": 3}])
    unknown = [await ask(f"lakefs://repo/main/{path}") for path in ("m", "")] + [await ask("s3://models/m")]
    assert [(ref.digest, ref.unresolved) for ref in unknown] == [(None, "unsupported")] * 3
    assert (await ask("hf://org/m")).unresolved == "unreadable"


async def test_files_of_modelscope(server: Registry, ask: Asking) -> None:
    weights = {"Path": "w.safetensors", "Type": "blob", "Sha256": SHA, "Size": 30}
    card = {"Path": "README.md", "Type": "blob", "Sha256": "1" * 64, "Size": 9}
    files = [card, {"Path": "sub", "Type": "tree", "Sha256": "", "Size": 0}, weights]
    where = "/api/v1/models/org/m/repo/files?Revision=master&Recursive=true"
    server.json(where, {"Code": 200, "Data": {"Files": files}})
    ref = await ask("modelscope://org/m", ttl=0)
    assert ref.size is not None
    assert (ref.unresolved, ref.size.bytes, ref.size.files) == (None, 30, 1)
    weights["Sha256"] = "d" * 64
    assert (await ask("modelscope://org/m", ttl=0)).digest != ref.digest
    weights["Sha256"] = ""
    assert (await ask("modelscope://org/m", ttl=0)).unresolved == "unsupported"
    server.json(where, {"Code": 200, "Data": {}})
    assert (await ask("modelscope://org/m", ttl=0)).unresolved == "unreadable"
    assert (await ask("modelscope://org/other")).unresolved == "not-found"


async def test_snapshots_of_an_iceberg_table(server: Registry, ask: Asking) -> None:
    metadata = {
        "table-uuid": "u1",
        "current-snapshot-id": 22,
        "snapshots": [{"snapshot-id": 11}, {"snapshot-id": 22}],
        "refs": {"main": {"snapshot-id": 22, "type": "branch"}, "audit": {"snapshot-id": 11, "type": "tag"}},
    }
    server.json("/namespaces/eu%1Fsales/tables/orders", {"metadata-location": "s3://b/x", "metadata": metadata})
    table = "iceberg://catalog/eu.sales.orders"
    for spelling, expected in ((table, 22), (f"{table}#audit", 11), (f"{table}@11", 11)):
        found = await ask(spelling)
        assert (str(found.digest), found.unresolved) == (f"iceberg:u1@{expected}", None)
    for spelling in (f"{table}@33", f"{table}#none", "iceberg://catalog/eu.sales.gone"):
        assert (await ask(spelling)).unresolved == "not-found"
    ask.access = Access()
    assert (await ask("iceberg://catalog/eu.sales.more")).unresolved == "unsupported"


async def test_what_has_no_registry_stays_as_it_is(ask: Asking) -> None:
    for spelling in ("pvc://claim/m", "vendor://name/m", "hf://"):
        ref = await ask(spelling)
        assert ref.digest is None
        assert ref.unresolved
    ask.access = None
    assert (await ask("hf://org/m")).unresolved == "offline"
