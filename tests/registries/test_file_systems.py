"""Hadoop's file systems and Pachyderm's repositories, as their APIs describe them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aiohttp import web

from agent.adapters.registries import Access, Resolver
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models import Ref, parse
from tests.registries.registry_servers import Asking, Registry

ROOT = "/webhdfs/v1"


def status(name: str = "", *, length: int = 4, folder: bool = False, changed: int = 1) -> dict[str, Any]:
    """An entry of a listing."""
    kind = "DIRECTORY" if folder else "FILE"
    return {"pathSuffix": name, "type": kind, "length": length, "modificationTime": changed, "owner": "hdfs"}


def listing(server: Registry, path: str, *statuses: dict[str, Any]) -> None:
    """What a folder holds."""
    server.json(f"{ROOT}{path}?op=LISTSTATUS", {"FileStatuses": {"FileStatus": list(statuses)}})


def told(ref: Ref) -> tuple[str, str | None]:
    """The digest, and why something is not known."""
    return str(ref.digest), ref.unresolved


async def test_the_checksum_of_a_file(server: Registry, ask: Asking) -> None:
    listing(server, "/m/w%20x.bin", status(length=9))
    checksum = {"algorithm": "MD5-of-1MD5-of-512CRC32C", "bytes": "ab" * 28, "length": 28}
    server.json(f"{ROOT}/m/w%20x.bin?op=GETFILECHECKSUM", {"FileChecksum": checksum})
    ref = await ask("hdfs://namenode:8020/m/w x.bin")
    assert told(ref) == (f"MD5-of-1MD5-of-512CRC32C:{'ab' * 28}", None)
    assert ref.size is not None
    assert (ref.size.bytes, ref.size.files) == (9, 1)


@pytest.mark.parametrize(
    "where", ["http://10.1.2.3:9864/webhdfs/v1/f", "http://127.0.0.1:1/f", "http://datanode.invalid:9864/f"]
)
async def test_a_node_that_no_policy_names_is_not_asked(server: Registry, ask: Asking, where: str) -> None:
    listing(server, "/f", status(length=9, changed=17))
    server.status(f"{ROOT}/f?op=GETFILECHECKSUM", 307, Location=where)
    assert told(await ask("webhdfs://namenode/f")) == ("mtime:17/9", None)


@pytest.mark.parametrize(
    ("code", "exception", "expected"),
    [
        (400, "UnsupportedOperationException", ("mtime:17/9", None)),
        (403, "AccessControlException", ("mtime:17/9", None)),
        (403, "IOException", ("None", "unreachable")),
        (403, "", ("None", "auth")),
        (404, "FileNotFoundException", ("None", "not-found")),
        (500, "", ("None", "unreachable")),
    ],
)
async def test_a_checksum_that_is_not_told_just_now_is_not_replaced_by_a_digest_of_another_kind(
    server: Registry, ask: Asking, code: int, exception: str, expected: tuple[str, str | None]
) -> None:
    listing(server, "/f", status(length=9, changed=17))
    answer = {"RemoteException": {"exception": exception}}
    server.put(f"{ROOT}/f?op=GETFILECHECKSUM", lambda: web.json_response(answer, status=code))
    assert told(await ask("hdfs://namenode/f")) == expected


async def test_all_below_a_folder(server: Registry, ask: Asking) -> None:
    listing(server, "/m", status("a"), status("deep", folder=True), status("..", folder=True))
    listing(server, "/m/deep", status("b", length=6), status("empty", folder=True))
    listing(server, "/m/deep/empty")
    before = await ask("hdfs://namenode/m", ttl=0)
    assert before.size is not None
    assert before.digest is not None
    assert (before.size.bytes, before.size.files, before.digest.strength) == (10, 2, "mtime")
    listing(server, "/m/deep", status("b", length=6, changed=2))
    assert (await ask("hdfs://namenode/m", ttl=0)).digest != before.digest
    listing(server, "/none")
    assert (await ask("hdfs://namenode/none")).unresolved == "not-found"


async def test_more_folders_than_are_looked_at_are_not_kept(server: Registry, ask: Asking) -> None:
    listing(server, "/m", status("w"), *(status(str(number), folder=True) for number in range(199)))
    server.fallback = empty
    assert (await ask("hdfs://namenode/m", ttl=0)).unresolved is None
    assert len(server.asked) == 200
    listing(server, "/m", status("w"), *(status(str(number), folder=True) for number in range(200)))
    assert (await ask("hdfs://namenode/m", ttl=0)).unresolved == "refused"
    assert len(server.asked) == 201


async def empty(_request: web.Request) -> web.Response:
    """The listing of a folder with nothing in it."""
    return web.json_response({"FileStatuses": {"FileStatus": []}})


async def test_a_long_name_is_not_kept_for_each_file_below_it(server: Registry, ask: Asking) -> None:
    name = "x" * 4000
    listing(server, "/m", status(name, folder=True))
    listing(server, f"/m/{name}", *(status(str(number)) for number in range(5000)))
    assert (await ask("hdfs://namenode/m", ttl=0)).unresolved == "refused"


async def test_a_tree_that_is_too_large_is_asked_about_less_and_less_often(server: Registry) -> None:
    now = 0.0
    listing(server, "/m", *(status(str(number), folder=True) for number in range(200)))
    async with Fetcher() as fetcher:
        resolver = Resolver(fetcher, clock=lambda: now)
        asked = []
        while now < 86_400:
            before = len(server.asked)
            await resolver.resolve(parse("hdfs://namenode/m"), lambda _ref: Access(server.url), ttl=300)
            if len(server.asked) > before:
                asked.append(now)
            now += 60
    assert asked[:4] == [0, 60, 180, 420]
    assert asked[-1] - asked[-2] == 3600


async def test_folders_without_end(server: Registry, ask: Asking) -> None:
    async def deeper(_request: web.Request) -> web.Response:
        return web.json_response({"FileStatuses": {"FileStatus": [status("x", folder=True), status("f")]}})

    server.fallback = deeper
    assert (await ask("hdfs://namenode/m")).unresolved == "refused"
    assert len(server.asked) < 250


@pytest.mark.parametrize(
    ("secret", "query", "header"),
    [
        ({"token": "d0\n"}, "&delegation=d0", None),
        ({"username": "me"}, "&user.name=me", None),
        ({"username": "me", "password": "p"}, "", "Basic bWU6cA=="),
    ],
)
async def test_who_asks_a_file_system(
    server: Registry, ask: Asking, secret: dict[str, str], query: str, header: str | None
) -> None:
    ask.with_secret(**secret)
    assert (await ask("hdfs://namenode/m")).unresolved == "not-found"
    assert server.paths() == [f"{ROOT}/m?op=LISTSTATUS{query}"]
    assert server.asked[0].headers.get("Authorization") == header


@pytest.mark.parametrize(
    ("code", "exception", "headers", "reason"),
    [
        (401, "", {"WWW_Authenticate": "Negotiate"}, "unsupported"),
        (401, "", {}, "auth"),
        (403, "AccessControlException", {}, "auth"),
        (403, "StandbyException", {}, "unreachable"),
        (404, "FileNotFoundException", {}, "not-found"),
        (400, "IllegalArgumentException", {}, "unreadable"),
        (503, "", {"Retry_After": "9"}, "rate-limited"),
        (200, "", {}, "unreadable"),
    ],
)
async def test_ways_not_to_know_of_a_file_system(
    server: Registry, ask: Asking, code: int, exception: str, headers: dict[str, str], reason: str
) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = {"RemoteException": {"exception": exception, "message": "no", "javaClassName": "x"}}
    server.put(f"{ROOT}/m", lambda: web.json_response(answer, status=code, headers=names))
    assert (await ask("hdfs://namenode/m")).unresolved == reason
    ask.access = Access()
    assert (await ask("hdfs://namenode/other")).unresolved == "unsupported"


SHARE = "https://account.file.core.windows.net/share"
ENTRIES = """<?xml version="1.0"?><EnumerationResults><Entries>{entries}</Entries><NextMarker>{marker}</NextMarker>
</EnumerationResults>"""
FILE = """<File><FileId>1</FileId><Name>{name}</Name><Properties><Content-Length>3</Content-Length>
<Etag>"{tag}"</Etag></Properties></File>"""
FOLDER = "<Directory><FileId>2</FileId><Name>{name}</Name><Properties /></Directory>"


def page(server: Registry, path: str, *entries: str, marker: str = "", after: str = "") -> None:
    """A page of what a folder of a share holds."""
    query = "restype=directory&comp=list&include=Timestamps%2CETag" + (f"&marker={after}" if after else "")
    text = ENTRIES.format(entries="".join(entries), marker=marker)
    server.put(f"/share{path}?{query}&sig=s", lambda: web.Response(text=text))


async def test_a_file_of_a_share(server: Registry, ask: Asking) -> None:
    ask.with_secret(token="t0")
    server.status("/share/m/w.bin", 200, ETag='"e"', Content_MD5=base64.b64encode(b"0" * 16).decode())
    assert told(await ask(f"{SHARE}/m/w.bin")) == (f"md5:{(b'0' * 16).hex()}", None)
    assert server.asked[0].headers["x-ms-file-request-intent"] == "backup"


async def test_a_folder_of_a_share_without_end(server: Registry, ask: Asking) -> None:
    ask.with_secret(sas="?sig=s")
    page(server, "/m", *(FOLDER.format(name=number) for number in range(300)), marker="next")
    page(server, "/m", FILE.format(name="b", tag="2"), after="next")
    assert (await ask(f"{SHARE}/m")).unresolved == "refused"
    assert len(server.asked) == 2


async def test_all_below_a_folder_of_a_share(server: Registry, ask: Asking) -> None:
    ask.with_secret(sas="?sig=s")
    page(server, "/m", FILE.format(name="a", tag="1"), FOLDER.format(name="deep"), marker="next")
    page(server, "/m", FILE.format(name="b", tag="2"), after="next")
    page(server, "/m/deep", FILE.format(name="c", tag="3"))
    before = await ask(f"{SHARE}/m", ttl=0)
    assert before.digest is not None
    assert before.size is not None
    assert (before.unresolved, before.size.bytes, before.size.files, before.digest.strength) == (None, 9, 3, "etag")
    page(server, "/m/deep", FILE.format(name="c", tag="4"))
    assert (await ask(f"{SHARE}/m", ttl=0)).digest != before.digest
    assert (await ask(f"{SHARE}/none")).unresolved == "not-found"
    page(server, "", FILE.format(name="a", tag=""))
    assert (await ask(f"{SHARE}")).unresolved == "unsupported"
    server.status("/share/x", 403)
    assert (await ask(f"{SHARE}/x")).unresolved == "auth"


COMMIT, HASH = "4eb1aa567dab483f93a109db4641ee75", "ab" * 32


class Pachd:
    """Answers calls, and keeps what was asked for."""

    def __init__(self, server: Registry) -> None:
        self.asked: list[dict[str, Any]] = []
        self.file: dict[str, Any] = {"hash": base64.b64encode(bytes.fromhex(HASH)).decode(), "sizeBytes": "58644"}
        self.commit: dict[str, Any] = {
            "commit": {"id": COMMIT, "branch": {"name": "master"}},
            "finished": "2026-01-02T03:04:05.678Z",
            "error": "",
            "sizeBytesUpperBound": "9",
        }
        server.ask("/api/pfs_v2.API/InspectCommit", self.answer)
        server.ask("/api/pfs_v2.API/InspectFile", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """An answer of the gateway."""
        self.asked.append(await request.json())
        return web.json_response(self.file if request.path.endswith("InspectFile") else self.commit)


REPO = {"project": {"name": "project"}, "name": "repo", "type": "user"}


async def test_a_branch_of_pachyderm(server: Registry, ask: Asking) -> None:
    pachd = Pachd(server)
    ask.with_secret(token="t0\n")
    ref = await ask("pfs://project/repo@master")
    assert ref.identity is not None
    assert (ref.identity.revision, told(ref)) == (COMMIT, (f"pachyderm:{COMMIT}", None))
    assert pachd.asked == [{"commit": {"repo": REPO, "branch": {"repo": REPO, "name": "master"}}}]
    assert server.asked[0].headers["Authn-Token"] == "t0"


async def test_a_path_in_a_commit_of_pachyderm(server: Registry, ask: Asking) -> None:
    pachd = Pachd(server)
    ref = await ask(f"pfs://project/repo@{COMMIT}:/images/a b")
    assert told(ref) == (f"blake2b:{HASH}", None)
    assert ref.size is not None
    assert ref.size.bytes == 58644
    commit = {"repo": REPO, "id": COMMIT}
    assert pachd.asked == [{"commit": commit}, {"file": {"commit": commit, "path": "/images/a b"}}]
    assert told(await ask("pfs://repo@master:/m")) == (f"blake2b:{HASH}", None)
    assert pachd.asked[2]["commit"]["repo"]["project"] == {"name": "default"}
    pachd.file = {"hash": "", "sizeBytes": "x"}
    assert (await ask("pfs://project/repo@master:/n")).unresolved == "unreadable"
    pachd.commit = {"commit": {"id": "../.."}}
    assert (await ask("pfs://project/repo@master:/o")).unresolved == "unreadable"


@pytest.mark.parametrize("changes", [{"finished": None}, {"error": "datum failed"}])
async def test_a_commit_of_pachyderm_that_has_not_come_to_a_good_end(
    server: Registry, ask: Asking, changes: dict[str, Any]
) -> None:
    pachd = Pachd(server)
    whole = await ask("pfs://project/repo@master", ttl=0)
    pachd.commit |= {"commit": {"id": "0" * 32}, **changes}
    half = await ask("pfs://project/repo@master", ttl=0)
    assert (half.digest, half.unresolved) == (whole.digest, "not-found")
    assert (await ask("pfs://project/repo@master:/m")).unresolved == "not-found"


@pytest.mark.parametrize(
    ("code", "reason"), [(401, "auth"), (403, "auth"), (404, "not-found"), (500, "unreachable"), (400, "unreadable")]
)
async def test_ways_not_to_know_of_pachyderm(server: Registry, ask: Asking, code: int, reason: str) -> None:
    server.status("/api/pfs_v2.API/InspectCommit", code)
    assert (await ask("pfs://project/repo@master")).unresolved == reason
