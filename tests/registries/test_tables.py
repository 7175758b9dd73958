"""Tables in a store and on a sharing server: which version is the newest, which is still there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from agent.adapters.registries import Access
from agent.adapters.registries.fetcher import LARGEST
from agent.core.models import Ref, parse
from tests.registries.registry_servers import Asking, Registry

ID = "f8d5c169-3d01-4ca3-ad9e-7dc3355aedb2"


class Lake:
    """A bucket with a table's log, of versions `first` to `last`."""

    def __init__(self, server: Registry, ask: Asking) -> None:
        self.server, self.ask = server, ask
        self.first, self.last = 0, 0
        self.files: dict[str, Any] = {}
        server.fallback = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        """An answer of S3."""
        if "list-type" in request.query:
            return web.Response(text="<ListBucketResult/>")
        name = request.path.rpartition("/")[2]
        number = name.removesuffix(".json")
        if name in self.files:
            return web.Response(text=self.files[name], headers={"ETag": '"x"'})
        if number != name and self.first <= int(number) <= self.last:
            text = json.dumps({"commitInfo": {}}) + "\n" + json.dumps({"metaData": {"id": ID, "schemaString": "{}"}})
            return web.Response(text=text, headers={"ETag": f'"{number}"'})
        return web.Response(status=404)

    async def __call__(self, spelling: str, remote: str = "s3://bucket/warehouse") -> Ref:
        """The reference, asked for with an entry for tables and one for the store."""

        def access(ref: Ref) -> Access | None:
            stores = {"s3": Access(self.server.url), "delta": Access(remote=remote)}
            return stores.get(ref.scheme)

        return await self.ask.resolver.resolve(parse(spelling), access, ttl=0)


@pytest.fixture
def lake(server: Registry, ask: Asking) -> Lake:
    """A table in a bucket."""
    return Lake(server, ask)


def told(ref: Ref) -> tuple[str | None, str, str | None]:
    """Version, digest, and why something is not known."""
    assert ref.identity is not None
    return ref.identity.version, str(ref.digest), ref.unresolved


@pytest.mark.parametrize("last", [0, 1, 2, 3, 7, 8, 41])
async def test_the_newest_version_is_found_without_a_checkpoint(lake: Lake, last: int) -> None:
    lake.last = last
    assert told(await lake("delta://lake/sales/orders")) == (str(last), f"delta:{ID}@{last}", None)
    assert lake.server.asked[0].path == "/bucket/warehouse/sales/orders/_delta_log/_last_checkpoint"
    assert len(lake.server.asked) < 40


@pytest.mark.parametrize("last", [1_000_000, 1_000_009])
async def test_a_checkpoint_shortens_the_search(lake: Lake, last: int) -> None:
    lake.first, lake.last = 999_980, last
    lake.files["_last_checkpoint"] = json.dumps({"version": 1_000_000, "size": 13})
    checksum = {"tableSizeBytes": 77, "numFiles": 5, "metadata": {"id": ID}, "protocol": {}}
    lake.files[f"{last:020}.crc"] = json.dumps(checksum)
    ref = await lake("delta+s3://bucket/orders", remote="")
    assert told(ref) == (str(last), f"delta-version:{last}", None)
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (77, 5)
    assert len(lake.server.asked) < 25


async def test_a_table_that_changes_floats(lake: Lake) -> None:
    before = await lake("delta://lake/t")
    lake.last = 1
    after = await lake("delta://lake/t")
    assert before.digest != after.digest
    lake.first = 1
    lake.files["_last_checkpoint"] = '{"version": 1}'
    assert told(await lake("delta://lake/t")) == ("1", "delta-version:1", None)  # nothing tells the table's id any more


async def test_a_table_in_a_branch_of_lakefs(server: Registry, ask: Asking) -> None:
    where = "/api/v1/repositories/repo"
    objects = f"{where}/refs/main/objects"
    server.json(f"{where}/branches/main", {"commit_id": "c" * 64})
    server.put(f"{objects}?path=t%2F_delta_log%2F_last_checkpoint", lambda: web.Response(text='{"version": 20}'))
    server.json(f"{objects}?path=t%2F_delta_log%2F{0:020}.json", {"metaData": {"id": ID}})
    server.json(f"{objects}/stat?path=t%2F_delta_log%2F{21:020}.json", {"path": "x", "checksum": "e", "size_bytes": 1})
    assert told(await ask("delta+lakefs://repo/main/t")) == ("21", f"delta:{ID}@21", None)


async def test_digests_are_of_one_kind_whether_a_version_has_a_checksum_or_not(lake: Lake) -> None:
    lake.last = 9
    for first, kind in ((0, f"delta:{ID}@"), (1, "delta-version:")):
        lake.first = first
        lake.files["_last_checkpoint"] = '{"version": 9}'
        plain = await lake("delta://lake/t")
        lake.files[f"{9:020}.crc"] = json.dumps({"tableSizeBytes": 77, "metadata": {"id": ID}})
        assert told(await lake("delta://lake/t")) == told(plain) == ("9", f"{kind}9", None)
        lake.files.clear()


@pytest.mark.parametrize("name", ["00000000000000000009.crc", "00000000000000000000.json"])
async def test_a_file_that_is_too_large_to_be_read_tells_nothing_of_the_table(lake: Lake, name: str) -> None:
    lake.last = 9
    lake.files[name] = json.dumps({"metaData": {"id": ID}}) + " " * LARGEST
    version, _digest, unresolved = told(await lake("delta://lake/t"))
    assert (version, unresolved) == ("9", None)


async def test_the_newest_version_where_no_file_can_be_read(server: Registry, ask: Asking) -> None:
    last = 9

    async def namenode(request: web.Request) -> web.Response:
        number = request.path.rpartition("/")[2].removesuffix(".json")
        if not (number.isdigit() and first <= int(number) <= last):
            return web.Response(status=404)
        if request.query["op"] == "GETFILECHECKSUM":
            return web.Response(status=400)
        return web.json_response({"FileStatuses": {"FileStatus": [{"type": "FILE", "length": 1}]}})

    server.fallback = namenode
    for first, expected in ((0, ("9", None)), (3, (None, "unsupported"))):
        version, _digest, unresolved = told(await ask(f"delta+hdfs://namenode/t{first}"))
        assert (version, unresolved) == expected
    assert told(await ask("delta+hdfs://namenode/t3@v4")) == ("4", "delta-version:4", None)


async def test_a_version_that_the_text_names(lake: Lake) -> None:
    lake.first, lake.last = 5, 9
    lake.files[f"{3:020}.checkpoint.parquet"] = "PAR1"
    for spelling in ("delta://lake/t@v7", "delta+s3://bucket/t@v7", "s3://bucket/t?versionAsOf=7"):
        ref = await lake(spelling)
        assert (ref.pinned, told(ref)[0], ref.unresolved) == (True, "7", None)
    assert (await lake("delta://lake/t@v3")).unresolved is None
    assert (await lake("delta://lake/t@v4")).unresolved == "not-found"
    assert (await lake("delta://lake/t@v10")).unresolved == "not-found"


async def test_ways_not_to_know_a_table(lake: Lake) -> None:
    lake.last = -1
    assert (await lake("delta://lake/none")).unresolved == "not-found"
    lake.files["_last_checkpoint"] = '{"version": "x"}'
    assert (await lake("delta://lake/odd")).unresolved == "not-found"
    lake.last = 3
    assert (await lake("delta://lake/t", remote="")).unresolved == "unsupported"
    assert (await lake("delta+gs://bucket/t")).unresolved == "unsupported"  # no entry for such a store
    assert (await lake("delta://lake/t?timestampAsOf=2026-01-01")).unresolved == "unsupported"


async def test_a_store_that_has_every_file_ends(lake: Lake) -> None:
    lake.last = 10**19
    ref = await lake("delta://lake/t")
    assert ref.digest is not None
    assert len(lake.server.asked) < 140


TABLE = {"metadata": {"table-uuid": "u1", "refs": {"main": {"snapshot-id": 22}}}}


async def test_a_client_of_an_iceberg_catalog_logs_in(server: Registry, ask: Asking) -> None:
    forms: list[dict[str, str]] = []

    async def token(request: web.Request) -> web.Response:
        forms.append({key: str(value) for key, value in (await request.post()).items()})
        return web.json_response({"access_token": "t0", "token_type": "bearer", "expires_in": 3600})

    server.ask("/api/catalog/v1/oauth/tokens", token)
    server.json("/api/catalog/v1/lake/namespaces/sales/tables/orders", TABLE)
    secret = {"clientId": "me", "clientSecret": "very-secret", "scope": "PRINCIPAL_ROLE:ALL"}
    ask.access = Access(f"{server.url}/api/catalog/v1/lake", secret)
    assert told(await ask("iceberg://catalog/sales.orders")) == ("22", "iceberg:u1@22", None)
    login = {"grant_type": "client_credentials", "client_id": "me", "client_secret": "very-secret"}
    assert forms == [{**login, "scope": "PRINCIPAL_ROLE:ALL"}]
    assert server.asked[1].headers["Authorization"] == "Bearer t0"


@pytest.mark.parametrize(("status", "reason"), [(401, "auth"), (400, "auth"), (404, "auth"), (429, "rate-limited")])
async def test_a_client_that_an_iceberg_catalog_does_not_let_in(
    server: Registry, ask: Asking, status: int, reason: str
) -> None:
    server.status("/v1/oauth/tokens", status)
    server.json("/v1/namespaces/sales/tables/orders", TABLE)
    ask.access = Access(f"{server.url}/v1", {"clientId": "me", "clientSecret": "x"})
    assert (await ask("iceberg://catalog/sales.orders")).unresolved == reason
    assert len(server.asked) == 1


WHERE = "/shares/vaccine/schemas/acme/tables/doses"


def shared(server: Registry, *lines: object, version: str = "12", path: str = "metadata") -> None:
    """What a sharing server says of a table."""
    body = "\n".join(json.dumps(line) for line in lines)
    server.put(f"{WHERE}/{path}", lambda: web.Response(text=body, headers={"Delta-Table-Version": version}))


async def test_a_table_that_is_shared(server: Registry, ask: Asking) -> None:
    ask.with_secret(token="t0")
    shared(server, {"protocol": {"minReaderVersion": 1}}, {"metaData": {"id": ID, "size": 99, "numFiles": 2}})
    ref = await ask("delta://vaccine/acme/doses")
    assert told(ref) == ("12", f"delta:{ID}@12", None)
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (99, 2)
    assert server.asked[0].headers["Authorization"] == "Bearer t0"
    assert told(await ask("delta://vaccine/acme/doses@v3")) == ("3", f"delta:{ID}@3", None)
    assert (await ask("delta://vaccine/acme/doses@v13")).unresolved == "not-found"


async def test_a_shared_table_whose_metadata_is_not_told(server: Registry, ask: Asking) -> None:
    server.status(f"{WHERE}/metadata", 400)
    shared(server, path="version")
    assert told(await ask("delta://vaccine/acme/doses", ttl=0)) == ("12", "delta-version:12", None)
    shared(server, {"metaData": {"deltaMetadata": {"id": ID}, "version": 12}}, [], 7)
    assert told(await ask("delta://vaccine/acme/doses", ttl=0))[1] == f"delta:{ID}@12"


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "auth"), (403, "auth"), (404, "not-found"), (429, "rate-limited"), (200, "unreadable")]
)
async def test_ways_not_to_know_a_shared_table(server: Registry, ask: Asking, status: int, reason: str) -> None:
    server.status(f"{WHERE}/metadata", status)
    assert (await ask("delta://vaccine/acme/doses")).unresolved == reason
    assert (await ask("delta://vaccine/doses")).unresolved == "unsupported"
