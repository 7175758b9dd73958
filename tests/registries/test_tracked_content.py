"""What Git tracks with DVC and Git LFS: is the content where it should be?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from aiohttp import web

from agent.adapters.registries import Access, Resolver
from agent.adapters.registries.access import RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.lfs import present
from agent.controllers.registryaccess import lfs_endpoint
from agent.core.models import Ref
from testbed.git.repository import GitRepository
from testbed.gitlfs import GitLfs
from tests.registries.registry_servers import Asking, Registry, ask_remote, tracked

OID, OTHER = "a" * 64, "b" * 64
MD5 = "0123456789abcdef0123456789abcdef"


def pointer(oid: str) -> Ref:
    return tracked("weights.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n")


def output(md5: str, more: str = "") -> Ref:
    return tracked("train.csv.dvc", f"outs:\n- md5: {md5}\n  path: train.csv\n{more}")


async def ask_about(ask: Asking, ref: Ref, *, again: bool = False) -> Ref:
    return await ask.resolver.resolve(ref, lambda _ref: ask.access, ttl=300, again_after=0.0 if again else None)


def at_lfs(lfs: GitLfs, token: str, repository: str = "team/models") -> Access:
    return Access(lfs_endpoint(lfs.remote(repository)), {"token": token}, scope=token)


async def pushed(lfs: GitLfs, folder: Path, content: bytes) -> Ref:
    """The reference in the pointer that `git lfs` has made of content."""
    repository = GitRepository(folder / "models.git")
    await lfs.push("team/models", {"weights.bin": content}, repository)
    return tracked("weights.bin", repository.read("weights.bin").decode())


async def test_git_lfs_has_it_or_not(lfs: GitLfs, ask: Asking, tmp_path: Path) -> None:
    held = await pushed(lfs, tmp_path, b"held by the server")
    reader = lfs.token("team/models", "read")
    ask.access = at_lfs(lfs, reader)
    there, absent = await ask_about(ask, held), await ask_about(ask, pointer(OTHER))
    assert (there.unresolved, str(there.digest)) == (
        None,
        f"sha256:{hashlib.sha256(b'held by the server').hexdigest()}",
    )
    assert there.identity is not None
    assert there.identity.resolved_at
    assert (absent.unresolved, str(absent.digest)) == ("not-found", f"sha256:{OTHER}")
    ask.access = Access(f"{lfs.url}/no/git/lfs", {"token": reader}, scope="elsewhere")
    assert (await ask_about(ask, held)).unresolved == "not-found"
    user = {"username": "_jwt", "password": lfs.token("team/models", "read")}
    ask.access = Access(lfs_endpoint(lfs.remote("team/models")), user, scope="basic")
    found = await ask_about(ask, held)
    assert found.identity is not None
    assert found.identity.resolved_at


async def test_why_git_lfs_has_nothing_to_give(lfs: GitLfs, tmp_path: Path) -> None:
    content = b"of sixteen bytes"
    held = await pushed(lfs, tmp_path, content)
    access = at_lfs(lfs, lfs.token("team/models", "read"))
    async with Fetcher() as fetcher:
        with pytest.raises(RegistryError, match="no such object"):
            await present(fetcher, access, pointer(OTHER))
        with pytest.raises(RegistryError, match="another size"):
            await present(fetcher, access, pointer(hashlib.sha256(content).hexdigest()))
        await present(fetcher, access, held)


async def test_what_git_lfs_loses_is_noticed(lfs: GitLfs, ask: Asking, tmp_path: Path) -> None:
    held = await pushed(lfs, tmp_path, b"lost soon")
    ask.access = at_lfs(lfs, lfs.token("team/models", "read"))
    assert (await ask_about(ask, held)).unresolved is None
    await lfs.lose("team/models", b"lost soon")
    assert (await ask_about(ask, held)).unresolved is None
    assert (await ask_about(ask, held, again=True)).unresolved == "not-found"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"objects": []}, "unreadable"),
        ({"objects": [{"oid": OTHER, "actions": {"download": {}}}]}, "unreadable"),
        ({"objects": [{"oid": OID}]}, "unreadable"),
        ({"objects": [{"oid": OID, "error": {"code": 410}}]}, "not-found"),
        ({"objects": [{"oid": OID, "error": {"code": 422}}]}, "unreadable"),
        ({"objects": "x"}, "unreadable"),
    ],
)
async def test_answers_of_git_lfs_that_say_nothing(server: Registry, ask: Asking, body: object, reason: str) -> None:
    server.json("/team/models.git/info/lfs/objects/batch", body)
    ask.access = Access(lfs_endpoint(f"{server.url}/team/models"))
    found = await ask_about(ask, pointer(OID))
    # what the text pins stays certain unless somebody says that it is not there
    assert found.unresolved == ("not-found" if reason == "not-found" else None)


@pytest.mark.parametrize("repository", ["team/others", ""])
async def test_git_lfs_that_refuses_leaves_what_the_text_says(lfs: GitLfs, ask: Asking, repository: str) -> None:
    ask.access = at_lfs(lfs, lfs.token(repository) if repository else "no token")
    found = await ask_about(ask, pointer(OID))
    assert (found.unresolved, str(found.digest)) == (None, f"sha256:{OID}")
    assert found.identity is not None
    assert found.identity.resolved_at is None


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://git.example/team/models", "https://git.example/team/models.git/info/lfs"),
        ("https://git.example/team/models.git/", "https://git.example/team/models.git/info/lfs"),
        ("http://me:secret@git.example:8080/m.git", "http://git.example:8080/m.git/info/lfs"),
        ("ssh://git@git.example/m.git", ""),
        ("", ""),
    ],
)
def test_where_git_lfs_looks(url: str, endpoint: str) -> None:
    assert lfs_endpoint(url) == endpoint


async def test_a_folder_whose_listing_was_not_pushed(server: Registry, ask: Asking) -> None:
    remote = f"{server.url}/dvc"
    listing = f"/dvc/files/md5/{MD5[:2]}/{MD5[2:]}.dir"
    access = Access(server.url)
    assert (await ask_remote(ask, access, output(f"{MD5}.dir"), remote)).unresolved == "not-found"
    listed = json.dumps([{"md5": MD5, "relpath": "a.csv"}])
    server.put(listing, lambda: web.Response(text=listed, headers={"ETag": '"1"'}))
    async with Fetcher() as fetcher:  # a failure is believed for a while: somebody else asks
        found = await ask_remote(Asking(Resolver(fetcher), ""), access, output(f"{MD5}.dir"), remote)
    assert found.unresolved is None


async def test_a_remote_that_nobody_answers_for(ask: Asking) -> None:
    found = await ask_remote(ask, None, output(MD5), "s3://nobody/store")
    assert (found.unresolved, str(found.digest)) == (None, f"md5:{MD5}")
    etag = tracked("a.dvc", "outs:\n- etag: abcdef\n  path: a.csv\n")
    assert (await ask_remote(ask, Access(), etag, "s3://nobody/store")).unresolved is None
