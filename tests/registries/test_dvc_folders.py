"""The files of a folder that DVC tracks, read from each kind of remote."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from agent.adapters.registries import Access
from agent.core.models import Blob, Ref
from agent.core.models.extract.files import file_slots
from testbed.aws import Aws
from tests.registries.registry_servers import Asking, Registry

FILES = {"a.csv": "1" * 32, "deep/b.csv": "2" * 32}


def folder(files: dict[str, str]) -> tuple[Ref, bytes]:
    """The reference to a folder with these files, and its listing as DVC writes it."""
    listed = [{"md5": digest, "relpath": path} for path, digest in sorted(files.items())]
    content = json.dumps(listed, sort_keys=True).encode()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (slot,) = file_slots("data.dvc", Blob(f"outs:\n- md5: {digest}.dir\n  path: data\n".encode()))
    return slot.ref, content


def place(ref: Ref) -> str:
    digest = ref.canonical.rpartition(":")[2]
    return f"store/files/md5/{digest[:2]}/{digest[2:]}"


async def read(ask: Asking, ref: Ref, remote: str, store: Access | None) -> Any:
    dvc = Access(remote=remote, scope=remote)
    return await ask.resolver.listing(ref, lambda asked: dvc if asked.scheme == "dvc" else store)


async def test_from_a_bucket_of_s3(store: Aws, ask: Asking) -> None:
    ref, content = folder(FILES)
    name, secret = await store.user("dvc-folders")
    await store.bucket("dvc-folders")
    await store.put("dvc-folders", place(ref), content)
    access = Access(store.url, {"accessKey": name, "secretKey": secret}, scope=name)
    assert await read(ask, ref, "s3://dvc-folders/store", access) == FILES
    absent, _ = folder({"another": "3" * 32})
    assert await read(ask, absent, "s3://dvc-folders/store", access) is None


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
    (slot,) = file_slots("data.dvc", Blob(f"outs:\n- md5: {digest}.dir\n  path: data\n".encode()))
    server.put(f"/{place(slot.ref)}", lambda: web.Response(body=content))
    assert await read(ask, slot.ref, f"{server.url}/store", Access(server.url)) is None


async def test_without_somebody_who_answers_for_the_remote_nothing_is_known(server: Registry, ask: Asking) -> None:
    ref, _ = folder(FILES)
    for remote, store in (("s3://nobody/store", None), (f"{server.url}/store", Access(server.url))):
        assert await read(ask, ref, remote, store) is None
