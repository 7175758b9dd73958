"""Registries and stores as they are: a registry of artifacts, and an S3 that checks signatures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent.adapters.registries import Access
from testbed.aws import REGION, Aws
from testbed.git.http import GitHTTPServer
from testbed.ociregistry import OciRegistry
from tests.registries.registry_servers import Asking

WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"


def as_somebody(store: Aws, keys: tuple[str, str]) -> Access:
    secret = {"accessKey": keys[0], "secretKey": keys[1], "region": REGION}
    return Access(store.url, secret, scope=keys[0])


async def test_a_tag_that_moves_between_artifacts(artifacts: OciRegistry, ask: Asking) -> None:
    ask.access = Access(artifacts.url)
    spelling = "oci://registry.example/team/chat:stable"
    first = await artifacts.push("team/chat", "stable", {WEIGHTS: b"one"})
    found = await ask(spelling, ttl=0)
    assert str(found.digest) == first
    assert found.size is not None
    assert (found.size.bytes, found.size.files) == (3, 1)
    second = await artifacts.push("team/chat", "stable", {WEIGHTS: b"other"})
    assert str((await ask(spelling, ttl=0)).digest) == second != first
    pinned = await ask(f"oci://registry.example/team/chat@{first}")
    assert (str(pinned.digest), pinned.unresolved) == (first, None)


async def test_an_artifact_that_is_taken_away(artifacts: OciRegistry, ask: Asking) -> None:
    ask.access = Access(artifacts.url)
    digest = await artifacts.push("team/gone", "v1", {WEIGHTS: b"gone"})
    await artifacts.delete("team/gone", "v1")
    await artifacts.delete("team/gone", digest)
    assert (await ask("oci://registry.example/team/gone:v1")).unresolved == "not-found"
    assert (await ask(f"oci://registry.example/team/gone@{digest}")).unresolved == "not-found"
    assert (await ask("oci://registry.example/team/never:v1")).unresolved == "not-found"


@pytest.mark.parametrize("key", ["m/w.bin", "with space/ü+%20/w.bin", "a=b&c/w.bin"])
async def test_an_object_with_a_checksum(store: Aws, ask: Asking, key: str) -> None:
    ask.access = as_somebody(store, await store.user(f"one-{hashlib.md5(key.encode()).hexdigest()}"))
    await store.put("models", key, b"weights", checksum=True)
    async with store.guarded():
        found = await ask(f"s3://models/{key}")
    assert found.unresolved is None
    assert str(found.digest) == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"


async def test_all_below_a_prefix(store: Aws, ask: Asking) -> None:
    ask.access = as_somebody(store, await store.user("lister"))
    for name in ("a", "b", "deep/c"):
        await store.put("models", f"listed/{name}", b"x")
    await store.put("models", "listed-too/d", b"not below the prefix")
    async with store.guarded():
        found = await ask("s3://models/listed", ttl=0)
    await store.put("models", "listed/b", b"y")
    async with store.guarded():
        again = await ask("s3://models/listed", ttl=0)
    assert found.digest is not None
    assert again.digest is not None
    assert found.size is not None
    assert (found.size.bytes, found.size.files) == (3, 3)
    assert found.digest.value != again.digest.value


async def test_more_objects_than_a_page_holds(store: Aws, ask: Asking) -> None:
    ask.access = as_somebody(store, await store.user("collector"))
    for number in range(103):
        await store.put("models", f"many/{number:03}", b"")
    found = await ask("s3://models/many")
    assert found.size is not None
    assert found.size.files == 103


async def test_the_log_of_a_table(store: Aws, ask: Asking) -> None:
    ask.access = as_somebody(store, await store.user("analyst"))
    for version in range(4):
        await store.put("models", f"orders/_delta_log/{version:020}.json", b'{"metaData": {"id": "t1"}}')
    async with store.guarded():
        assert str((await ask("delta+s3://models/orders", ttl=0)).digest) == "delta:t1@3"
    await store.put("models", "orders/_delta_log/00000000000000000004.json", b"{}")
    await store.put("models", "orders/_delta_log/_last_checkpoint", b'{"version": 2, "size": 9}')
    async with store.guarded():
        assert str((await ask("delta+s3://models/orders", ttl=0)).digest) == "delta:t1@4"
        assert (await ask("delta+s3://models/orders@v5")).unresolved == "not-found"


async def test_versions_of_an_object(store: Aws, ask: Asking) -> None:
    ask.access = as_somebody(store, await store.user("archivist"))
    old = await store.put("versions", "m.bin", b"old", checksum=True)
    await store.put("versions", "m.bin", b"new", checksum=True)
    pinned, floating = await ask(f"s3://versions/m.bin?versionId={old}"), await ask("s3://versions/m.bin")
    assert str(pinned.digest) == f"sha256:{hashlib.sha256(b'old').hexdigest()}"
    assert str(floating.digest) == f"sha256:{hashlib.sha256(b'new').hexdigest()}"
    assert floating.identity is not None
    assert floating.identity.version not in {None, old}
    assert (await ask("s3://versions/m.bin?versionId=no-such-version")).unresolved in {"not-found", "unreadable"}


async def test_who_may_not_read_and_what_is_not_there(store: Aws, ask: Asking) -> None:
    key, _ = await store.user("stranger")
    await store.put("models", "secret/w", b"x")
    async with store.guarded():
        ask.access = as_somebody(store, (key, "not-their-secret"))
        assert (await ask("s3://models/secret/w")).unresolved == "auth"
        ask.access = Access(store.url)
        assert (await ask("s3://models/secret/w")).unresolved == "auth"
    ask.access = as_somebody(store, await store.user("searcher"))
    assert (await ask("s3://models/nothing/here")).unresolved == "not-found"
    assert (await ask("s3://no-such-bucket/m")).unresolved == "not-found"


async def test_branches_and_tags_of_git(tmp_path: Path, ask: Asking) -> None:
    async with GitHTTPServer(tmp_path, basic=("me", "secret")) as server:
        repository = server.repository("models")
        first = repository.commit({"a": "1"})
        repository.tag("v1", first)
        repository.tag("v2", first, message="with a message")
        url = server.url("models")
        origin = url.partition("/models")[0]
        ask.access = Access(origin, {"username": "me", "password": "secret"}, scope="me")
        for spelling in (url, f"{url}#main", f"{url}#v1", f"{url}#v2"):
            found = await ask(spelling, ttl=0)
            assert (found.unresolved, str(found.digest)) == (None, f"sha1:{first}")
        second = repository.commit({"a": "2"})
        assert str((await ask(url, ttl=0)).digest) == f"sha1:{second}"
        assert (await ask(f"{url}#none")).unresolved == "not-found"
        assert (await ask(f"{origin}/other.git")).unresolved == "not-found"
        pinned = await ask(f"{url}#{first}")
        assert (pinned.pinned, pinned.unresolved) == (True, None)
        ask.access = Access(origin, scope="nobody")
        assert (await ask(f"{url}#main")).unresolved == "auth"
