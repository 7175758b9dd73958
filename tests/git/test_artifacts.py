"""Packing, keeping, serving and fetching artifacts."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.archives import Limits, file_header, folder_header, pack, read_archive
from agent.adapters.artifacts import (
    ArtifactFetcher,
    ArtifactStorage,
    ArtifactUnavailableError,
    Integrity,
    StorageError,
)
from agent.adapters.git import GitMirrors, GitRemote
from agent.core.gitref import GitReference
from agent.core.sourceignore import FilteredTree, rules_of_tree
from agent.core.tree import MemoryTree, Tree
from agent.errors import ArtifactError
from testbed.git import GitHTTPServer

GIT = "GitRepository"
TREE = MemoryTree({"b.yaml": b"b", "a/z.yaml": b"z", "a/b/c.yaml": b"c", "a.txt": b"t"})


def packed(tree: Tree) -> bytes:
    target = io.BytesIO()
    digest, size = pack(tree, target)
    data = target.getvalue()
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert size == len(data)
    return data


def test_the_layout_is_the_one_consumers_know() -> None:
    data = packed(TREE)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [".", "a", "a/b", "a/b/c.yaml", "a/z.yaml", "a.txt", "b.yaml"]
    assert {(member.type, member.mode) for member in members} == {(tarfile.DIRTYPE, 0o750), (tarfile.REGTYPE, 0o600)}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    raw = gzip.decompress(data)
    # Names of folders have no slash at their end, not even the root's.
    assert raw[:2] == b".\0"
    assert raw[512:514] == b"a\0"
    # No file name and no time in the gzip header.
    assert data[3:8] == bytes(5)


def test_long_and_foreign_names_survive() -> None:
    tree = MemoryTree({"/".join(["directory" * 8] * 4) + "/größe.yaml": b"1"})
    assert list(read_archive(io.BytesIO(packed(tree)))) == list(tree)


paths = st.lists(st.sampled_from(["a", "b", "c.yaml"]), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=50), max_size=5))
def test_reading_gives_back_what_was_packed_and_packing_is_reproducible(files: dict[str, bytes]) -> None:
    whole = {path: content for path, content in files.items() if not any(p.startswith(path + "/") for p in files)}
    tree = MemoryTree(whole)
    data = packed(tree)
    read = read_archive(io.BytesIO(data))
    assert {path: read.read(path) for path in read} == whole
    assert packed(MemoryTree(dict(reversed(whole.items())))) == data


names = st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=110),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60),
).filter(lambda name: not name.endswith("/"))


@given(names, st.integers(0, 1 << 30), st.booleans())
def test_headers_are_those_of_the_standard_library(name: str, size: int, executable: bool) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o700 if executable else 0o600
    assert file_header(name, size, executable=executable) == info.tobuf(tarfile.PAX_FORMAT)
    folder = tarfile.TarInfo.frombuf(folder_header(name)[-tarfile.BLOCKSIZE :], "utf-8", "strict")
    assert (folder.mode, folder.isdir(), folder.size) == (0o750, True, 0)


async def test_a_commit_is_packed_with_its_modes_and_without_what_is_ignored(
    server: GitHTTPServer, mirrors: GitMirrors, tmp_path: Path
) -> None:
    server.repository("apps").commit(
        {".gitignore": "x", "logo.png": "x", "apps/a.yaml": "1", "run.sh": "#!/bin/sh\n"},
        executable=("run.sh",),
        symlinks={"apps/link.yaml": "a.yaml"},
    )
    commit = await mirrors.checkout(GitRemote(server.url("apps")), GitReference(branch="main"), 30)
    storage = ArtifactStorage(tmp_path / "artifacts", "source.example")
    tree = FilteredTree(commit.tree, rules_of_tree(commit.tree))
    stored = await storage.store(GIT, "default", "apps", f"{commit.sha}.tar.gz", tree)
    assert stored.path == f"gitrepository/default/apps/{commit.sha}.tar.gz"
    assert storage.url(stored.path) == f"http://source.example/{stored.path}"
    with tarfile.open(tmp_path / "artifacts" / stored.path) as archive:
        assert [(member.name, member.mode) for member in archive] == [
            (".", 0o750),
            ("apps", 0o750),
            ("apps/a.yaml", 0o600),
            ("run.sh", 0o700),
        ]


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    target.seek(0)
    return target


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_and_special_files_are_left_out() -> None:
    tree = read_archive(
        archive_of(
            (entry("a.yaml"), b"1"),
            (entry("link", tarfile.SYMTYPE, "/etc/passwd"), b""),
            (entry("hard", tarfile.LNKTYPE, "a.yaml"), b""),
            (entry("pipe", tarfile.FIFOTYPE), b""),
            (entry("./b/../c.yaml"), b"2"),
        )
    )
    assert sorted(tree) == ["a.yaml", "c.yaml"]


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "/etc/passwd"])
def test_paths_outside_are_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match="illegal content"):
        read_archive(archive_of((entry(name), b"1")))


def test_a_path_that_is_file_and_folder_is_refused() -> None:
    with pytest.raises(ArtifactError, match="both a file and a folder"):
        read_archive(archive_of((entry("a"), b"1"), (entry("a/b"), b"2")))


def test_bombs_are_refused() -> None:
    bomb = archive_of((entry("zeros"), bytes(5_000_000)))
    assert len(bomb.getvalue()) < 10_000
    with pytest.raises(ArtifactError, match="larger than 1000000 bytes"):
        read_archive(bomb, Limits(unpacked_bytes=1_000_000))
    many = archive_of(*((entry(f"f{n}"), b"") for n in range(50)))
    with pytest.raises(ArtifactError, match="more than 10 entries"):
        read_archive(many, Limits(entries=10))


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: b"nonsense", lambda d: d[:-40] + bytes(40)])
def test_broken_archives_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    tree = MemoryTree({f"{n}.yaml": os.urandom(2000) for n in range(20)})
    with pytest.raises(ArtifactError, match="failed to unpack artifact"):
        read_archive(io.BytesIO(spoil(packed(tree))))


@pytest.fixture
def storage(tmp_path: Path) -> ArtifactStorage:
    return ArtifactStorage(tmp_path / "artifacts", "source.example", retention_ttl=60, retention_records=2)


async def test_a_stored_archive_is_verified_and_a_spoilt_one_removed(storage: ArtifactStorage, tmp_path: Path) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    assert await storage.verify(stored.path, stored.digest) is Integrity.WHOLE
    assert await storage.verify("gitrepository/default/apps/2.tar.gz", stored.digest) is Integrity.MISSING
    assert await storage.verify("gitrepository/default/apps", stored.digest) is Integrity.MISSING
    file = tmp_path / "artifacts" / stored.path
    file.write_bytes(file.read_bytes() + b"x")
    assert await storage.verify(stored.path, stored.digest) is Integrity.SPOILT
    assert not file.exists()


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "blake3"])
async def test_archives_are_told_apart_by_any_algorithm(tmp_path: Path, algorithm: str) -> None:
    storage = ArtifactStorage(tmp_path / "artifacts", "source.example", algorithm=algorithm)
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    assert stored.digest.startswith(f"{algorithm}:")
    assert await storage.verify(stored.path, stored.digest) is Integrity.WHOLE
    assert await storage.verify(stored.path, stored.digest[:-1] + "x") is Integrity.SPOILT


async def test_a_link_in_place_of_an_archive_is_not_followed(storage: ArtifactStorage, tmp_path: Path) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    file = tmp_path / "artifacts" / stored.path
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert await storage.verify(stored.path, stored.digest) is Integrity.MISSING
    with pytest.raises(StorageError):
        await storage.read(stored.path)


async def test_a_failed_write_leaves_the_archive_before_it(storage: ArtifactStorage, tmp_path: Path) -> None:
    class Failing(MemoryTree):
        def read(self, path: str) -> bytes:
            raise ArtifactError("the source went away")

    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    with pytest.raises(ArtifactError, match="went away"):
        await storage.store(GIT, "default", "apps", "1.tar.gz", Failing({"a.yaml": b"1"}))
    assert await storage.verify(stored.path, stored.digest) is Integrity.WHOLE
    folder = (tmp_path / "artifacts" / stored.path).parent
    assert sorted(file.name for file in folder.iterdir()) == ["1.tar.gz", "1.tar.gz.lock"]


async def test_a_storage_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where the folder should be")
    storage = ArtifactStorage(tmp_path / "artifacts", "x")
    with pytest.raises(StorageError, match="failed to create artifact directory") as caught:
        await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    assert caught.value.reason == "DirectoryCreationFailed"
    (tmp_path / "artifacts").unlink()
    (tmp_path / "artifacts/gitrepository/default/apps/1.tar.gz").mkdir(parents=True)
    with pytest.raises(StorageError, match="unable to archive artifact to storage") as caught:
        await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    assert caught.value.reason == "ArchiveOperationFailed"


async def test_retention_keeps_the_current_archive_and_the_newest_others(
    storage: ArtifactStorage, tmp_path: Path
) -> None:
    files = {}
    for age, name in [(500, "current"), (400, "old"), (30, "young"), (20, "younger"), (10, "youngest")]:
        stored = await storage.store(GIT, "default", "apps", f"{name}.tar.gz", TREE)
        files[name] = tmp_path / "artifacts" / stored.path
        os.utime(files[name], (time.time() - age, time.time() - age))
    await storage.store(GIT, "default", "other", "old.tar.gz", TREE)
    await storage.collect(GIT, "default", "apps", keep="gitrepository/default/apps/current.tar.gz")
    left = {name for name, file in files.items() if file.exists()}
    assert left == {"current", "youngest"}
    locks = {file.name for file in files["current"].parent.glob("*.lock")}
    assert locks == {"current.tar.gz.lock", "youngest.tar.gz.lock"}
    assert (tmp_path / "artifacts" / "gitrepository/default/other/old.tar.gz").exists()


async def test_removal_takes_the_whole_folder_of_the_object(storage: ArtifactStorage, tmp_path: Path) -> None:
    await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    await storage.store(GIT, "default", "apps2", "1.tar.gz", TREE)
    await storage.remove(GIT, "default", "apps")
    await storage.remove(GIT, "default", "never-there")
    assert [path.name for path in (tmp_path / "artifacts/gitrepository/default").iterdir()] == ["apps2"]


@pytest.fixture
async def base(storage: ArtifactStorage) -> AsyncIterator[str]:
    application = web.Application()
    application.add_routes(storage.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_consumers_get_the_bytes_of_the_digest(storage: ArtifactStorage, base: str) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(f"{base}/") as response:
            assert response.status == 200
        async with session.get(f"{base}/{stored.path}") as response:
            body = await response.read()
            assert "Content-Encoding" not in response.headers
            assert "sha256:" + hashlib.sha256(body).hexdigest() == stored.digest
        async with session.get(f"{base}/%2e%2e/%2e%2e/etc/passwd") as response:
            assert response.status in {403, 404}
        async with session.put(f"{base}/{stored.path}", data=b"x") as response:
            assert response.status == 405


async def test_fetching_what_another_controller_published(storage: ArtifactStorage, base: str) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    tree = await ArtifactFetcher().fetch(f"{base}/{stored.path}", stored.digest)
    assert tree.read("a/b/c.yaml") == b"c"
    elsewhere = ArtifactFetcher(source_controller=base.removeprefix("http://"))
    in_cluster = f"http://source-controller.flux-system.svc.cluster.local./{stored.path}"
    assert (await elsewhere.fetch(in_cluster, stored.digest)).read("b.yaml") == b"b"
    two = ArtifactFetcher(source_controller="127.0.0.1:9", source_watcher=base.removeprefix("http://"))
    watched = f"http://source-watcher.flux-system.svc.cluster.local./{stored.path}"
    assert (await two.fetch(watched, stored.digest)).read("b.yaml") == b"b"


async def test_an_archive_that_is_not_what_it_claims_is_refused(storage: ArtifactStorage, base: str) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    url = f"{base}/{stored.path}"
    with pytest.raises(ArtifactError, match="doesn't match") as caught:
        await ArtifactFetcher().fetch(url, "sha256:" + "0" * 64)
    assert caught.value.reason == "ArtifactFailed"
    with pytest.raises(ArtifactError, match="not supported"):
        await ArtifactFetcher().fetch(url, "md5:" + "0" * 32)
    with pytest.raises(ArtifactError, match="status 404"):
        await ArtifactFetcher().fetch(f"{url}.absent", stored.digest)
    with pytest.raises(ArtifactError, match="empty digest"):
        await ArtifactFetcher().fetch(url, "")


async def test_digests_of_other_controllers_may_be_longer_or_without_their_algorithm(
    storage: ArtifactStorage, base: str, tmp_path: Path
) -> None:
    stored = await storage.store(GIT, "default", "apps", "1.tar.gz", TREE)
    content = (tmp_path / "artifacts" / stored.path).read_bytes()
    sums = [f"sha384:{hashlib.sha384(content).hexdigest()}", f"sha512:{hashlib.sha512(content).hexdigest()}"]
    for digest in (*sums, hashlib.sha256(content).hexdigest()):
        assert (await ArtifactFetcher().fetch(f"{base}/{stored.path}", digest)).read("b.yaml") == b"b"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.tar.gz", "http://localhost:9/x.tar.gz"])
async def test_a_server_that_is_not_there_may_be_in_a_moment(url: str) -> None:
    with pytest.raises(ArtifactUnavailableError, match="failed to download artifact from"):
        await ArtifactFetcher().fetch(url, "sha256:" + "0" * 64)


async def test_a_text_that_is_no_url_never_will_be_one() -> None:
    with pytest.raises(ArtifactError, match="this is no URL") as caught:
        await ArtifactFetcher().fetch("no url", "sha256:" + "0" * 64)
    assert not isinstance(caught.value, ArtifactUnavailableError)
