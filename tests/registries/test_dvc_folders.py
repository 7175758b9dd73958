"""The files of a folder that DVC tracks, read from each kind of remote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from agent.adapters.registries import Access
from agent.core.models import Ref
from testbed.aws import Aws
from testbed.dvc import dvc_push
from tests.registries.registry_servers import Asking, Registry, ask_remote, tracked

FILES = {"a.csv": "1" * 32, "deep/b.csv": "2" * 32}


def folder(files: dict[str, str]) -> tuple[Ref, bytes]:
    """The reference to a folder with these files, and its listing as DVC writes it."""
    listed = [{"md5": digest, "relpath": path} for path, digest in sorted(files.items())]
    content = json.dumps(listed, sort_keys=True).encode()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return tracked("data.dvc", f"outs:\n- md5: {digest}.dir\n  path: data\n"), content


def place(ref: Ref) -> str:
    digest = ref.canonical.rpartition(":")[2]
    return f"store/files/md5/{digest[:2]}/{digest[2:]}"


async def read(ask: Asking, ref: Ref, remote: str, store: Access | None) -> Any:
    dvc = Access(remote=remote, scope=remote)
    return await ask.resolver.listing(ref, lambda asked: dvc if asked.scheme == "dvc" else store)


async def test_what_dvc_pushes(store: Aws, ask: Asking, tmp_path: Path) -> None:
    contents = {"a.csv": b"a\n", "deep/b ü.csv": b"b\n"}
    files = {"one.csv": b"1\n", **{f"data/{path}": content for path, content in contents.items()}}
    listed = {path: hashlib.md5(content, usedforsecurity=False).hexdigest() for path, content in contents.items()}
    name, secret = await store.user("dvc")
    access = Access(store.url, {"accessKey": name, "secretKey": secret}, scope=name)
    await store.bucket("dvc")
    third, second = await dvc_push(tmp_path, files)
    assert {path.partition("/")[0] for path in third.remote} == {"files"}
    assert {len(path.partition("/")[0]) for path in second.remote} == {2}
    for remote, pushed in (("s3://dvc/third", third), ("s3://dvc/second/", second)):
        for path, content in pushed.remote.items():
            await store.put("dvc", f"{remote.rpartition('dvc/')[2].rstrip('/')}/{path}", content)
        one, data = (tracked(f"{name}.dvc", pushed.pointers[name]) for name in ("one.csv", "data"))
        assert [(await ask_remote(ask, access, ref, remote)).unresolved for ref in (one, data)] == [None, None]
        assert [(await ask_remote(ask, access, ref, "s3://dvc/empty")).unresolved for ref in (one, data)] == [
            "not-found"
        ] * 2
        assert await read(ask, data, remote, access) == listed
        assert await read(ask, data, "s3://dvc/empty", access) is None


@pytest.mark.parametrize(
    ("remote", "path"),
    [
        ("http://SERVER/store", "/{place}"),
        ("gs://bucket/store", "/storage/v1/b/bucket/o/{quoted}?alt=media"),
        ("azure://account/bucket/store", "/bucket/{place}"),
    ],
)
async def test_from_other_stores(server: Registry, ask: Asking, remote: str, path: str) -> None:
    ref, content = folder(FILES)
    at = place(ref)
    sent: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Authorization", ""))
        return web.Response(body=content)

    server.ask(path.format(place=at, quoted=quote(at, safe="")), answer)
    access = Access(server.url, {"token": "t"}, scope="t")
    assert await read(ask, ref, remote.replace("http://SERVER", server.url), access) == FILES
    assert sent == ["Bearer t"]


@pytest.mark.parametrize("content", [b"", b"[]", b"[1]", b"{}", b'[{"md5": "1"}]', b"\xff"])
async def test_what_is_not_the_listing_of_the_hash_is_none(server: Registry, ask: Asking, content: bytes) -> None:
    ref, _ = folder(FILES)
    server.put(f"/{place(ref)}", lambda: web.Response(body=content))
    assert await read(ask, ref, f"{server.url}/store", Access(server.url)) is None


@pytest.mark.parametrize("content", [b"[1]", b"{}", b'[{"md5": "1"}]', b"\xff", b"[" * 100_000])
async def test_a_listing_that_nobody_can_read_is_none(server: Registry, ask: Asking, content: bytes) -> None:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    ref = tracked("data.dvc", f"outs:\n- md5: {digest}.dir\n  path: data\n")
    server.put(f"/{place(ref)}", lambda: web.Response(body=content))
    assert await read(ask, ref, f"{server.url}/store", Access(server.url)) is None


async def test_without_somebody_who_answers_for_the_remote_nothing_is_known(server: Registry, ask: Asking) -> None:
    ref, _ = folder(FILES)
    for remote, store in (("s3://nobody/store", None), (f"{server.url}/store", Access(server.url))):
        assert await read(ask, ref, remote, store) is None
