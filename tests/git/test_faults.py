"""Servers that fail, hang or vanish, and mirrors that are damaged under our feet."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.adapters.git import (
    GitCommitTree,
    GitMirrors,
    GitOperationError,
    GitRemote,
    GitTimeoutError,
    MissingObjectError,
    auth_from_secret,
)
from agent.core.gitref import GitReference
from testbed.git import Fault, GitHTTPServer

TIMEOUT = 60.0
MAIN = GitReference(branch="main")
SECRET = "p4ssw0rd-that-must-not-show"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - nothing tells when another process has started
            await asyncio.sleep(0.01)


async def turns_until(task: asyncio.Task[object]) -> int:
    """How often somebody else had a turn in the loop before the task ended."""
    turns = 0
    while not task.done():
        await asyncio.sleep(0.005)
        turns += 1
    return turns


def processes_mentioning(word: str) -> dict[int, bytes]:
    """The arguments of every process whose command line holds a word, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in arguments:
            found[int(folder.name)] = arguments
    return found


@pytest.fixture
def commit_and_remote(server: GitHTTPServer) -> tuple[str, GitRemote]:
    sha = server.repository("apps").commit({"apps/a.yaml": "1", "apps/b.yaml": "2"})
    return sha, GitRemote(server.url("apps"))


async def test_an_unreachable_server(mirrors: GitMirrors) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"http://127.0.0.1:{port}/apps.git"
    with pytest.raises(GitOperationError) as caught:
        await mirrors.checkout(GitRemote(url), MAIN, TIMEOUT)
    assert caught.value.message.startswith(f"failed to checkout and determine revision: unable to clone '{url}': ")
    with pytest.raises(GitOperationError, match="unable to list remote for"):
        await mirrors.list_refs(GitRemote(url), TIMEOUT)


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.DROP])
async def test_a_failing_server_and_its_recovery(
    server: GitHTTPServer, mirrors: GitMirrors, commit_and_remote: tuple[str, GitRemote], fault: Fault
) -> None:
    sha, remote = commit_and_remote
    server.fault = fault
    with pytest.raises(GitOperationError, match="unable to clone"):
        await mirrors.checkout(remote, MAIN, TIMEOUT)
    server.fault = None
    assert (await mirrors.checkout(remote, MAIN, TIMEOUT)).sha == sha


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_TRANSFER])
async def test_a_hanging_server_meets_the_deadline_and_blocks_nobody(
    tmp_path: Path, server: GitHTTPServer, mirrors: GitMirrors, commit_and_remote: tuple[str, GitRemote], fault: Fault
) -> None:
    sha, remote = commit_and_remote
    server.fault = fault
    async with GitHTTPServer(tmp_path / "healthy") as healthy:
        other = healthy.repository("other").commit({"a.yaml": "1"})
        hanging = asyncio.create_task(mirrors.checkout(remote, MAIN, 2.0))
        turns = asyncio.create_task(turns_until(hanging))
        commit = await mirrors.checkout(GitRemote(healthy.url("other")), MAIN, TIMEOUT)
        assert commit.sha == other
    with pytest.raises(GitTimeoutError, match="context deadline exceeded"):
        await hanging
    assert await turns > 10, "the loop was not what waited"
    await eventually(lambda: processes_mentioning(remote.address) == {})
    server.fault = None
    assert (await mirrors.checkout(remote, MAIN, TIMEOUT)).sha == sha


async def test_those_who_wait_for_a_hanging_server_give_up_together(
    server: GitHTTPServer, mirrors: GitMirrors, commit_and_remote: tuple[str, GitRemote]
) -> None:
    sha, remote = commit_and_remote
    server.fault = Fault.HANG
    began = time.monotonic()
    waiting = [mirrors.checkout(remote, MAIN, 4.0) for _ in range(8)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {GitTimeoutError}
    assert time.monotonic() - began < 8 * 4.0
    server.fault = None
    assert (await mirrors.checkout(remote, MAIN, TIMEOUT)).sha == sha


async def test_a_listing_is_shared_only_by_those_who_asked_before_it_began(
    server: GitHTTPServer, mirrors: GitMirrors, commit_and_remote: tuple[str, GitRemote]
) -> None:
    sha, remote = commit_and_remote
    server.fault = Fault.HANG
    first = asyncio.create_task(mirrors.list_refs(remote, TIMEOUT, MAIN))
    await eventually(lambda: server.hanging == 1)
    # The first listing is under way; these two may know of a later push, so they get a second one, and share it.
    later = [asyncio.create_task(mirrors.list_refs(remote, TIMEOUT, MAIN)) for _ in range(2)]
    await asyncio.sleep(0)
    server.fault = None
    server.release()
    with pytest.raises(GitOperationError):
        await first
    before = len(server.requests)
    assert [(await task).refs["refs/heads/main"] for task in later] == [sha, sha]
    assert [request.method for request in server.requests[before:]] == ["GET", "POST"]


async def test_a_cancelled_checkout_leaves_no_process_and_no_secret(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=("deploy", SECRET)) as server:
        sha = server.repository("apps").commit({"a.yaml": "1"})
        url = server.url("apps")
        secret = {"username": b"deploy", "password": SECRET.encode(), "tls.crt": b"-", "tls.key": SECRET.encode()}
        server.fault = Fault.HANG
        checkout = asyncio.create_task(mirrors.checkout(GitRemote(url, auth_from_secret(url, secret)), MAIN, TIMEOUT))
        await eventually(lambda: len(processes_mentioning(url)) >= 2)
        assert SECRET.encode() not in b"".join(processes_mentioning(url).values())
        (key,) = (tmp_path / "cache" / "run").glob("*/tls.key")
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700
        checkout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checkout
        await eventually(lambda: processes_mentioning(url) == {})
        assert list((tmp_path / "cache" / "run").iterdir()) == []
        server.fault = None
        plain = {"username": b"deploy", "password": SECRET.encode()}
        assert (await mirrors.checkout(GitRemote(url, auth_from_secret(url, plain)), MAIN, TIMEOUT)).sha == sha


async def test_what_a_killed_process_left_behind_is_removed_at_the_start(tmp_path: Path) -> None:
    left = tmp_path / "cache" / "run" / "tmpabc" / "identity"
    left.parent.mkdir(parents=True)
    left.write_text(SECRET)
    GitMirrors(tmp_path / "cache")
    assert not left.exists()


def remove_everything(cache: Path) -> None:
    shutil.rmtree(cache)


def remove_objects(cache: Path) -> None:
    for folder in cache.glob("git/*.git/objects/*"):
        shutil.rmtree(folder)


def truncate_objects(cache: Path) -> None:
    """As a crash before the blocks reached the disk would: new files, so that what is mapped already stays whole."""
    for file in (file for file in cache.glob("git/*.git/objects/*/*") if file.is_file()):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[: len(content) // 2])


def break_head(cache: Path) -> None:
    for file in cache.glob("git/*.git/HEAD"):
        file.write_text("nonsense")


def break_configuration(cache: Path) -> None:
    for file in cache.glob("git/*.git/config"):
        file.write_text("[core\nnonsense")


def leave_locks(cache: Path) -> None:
    for folder in cache.glob("git/*.git"):
        (folder / "shallow.lock").touch()
        (folder / "config.lock").touch()


DAMAGES = [remove_everything, remove_objects, truncate_objects, break_head, break_configuration, leave_locks]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
async def test_a_damaged_mirror_is_built_anew(
    tmp_path: Path,
    server: GitHTTPServer,
    mirrors: GitMirrors,
    commit_and_remote: tuple[str, GitRemote],
    damage: Callable[[Path], None],
    pushed: bool,
    restarted: bool,
) -> None:
    sha, remote = commit_and_remote
    before = await mirrors.checkout(remote, MAIN, TIMEOUT)
    damage(tmp_path / "cache")
    if pushed:
        sha = server.repository("apps").commit({"apps/a.yaml": "3"})
    if restarted:
        mirrors = GitMirrors(tmp_path / "cache")
    commit = await read_after_retries(mirrors, remote)
    assert commit.sha == sha
    if not restarted:
        # Whoever still reads the commit from before the damage goes on reading it.
        assert before.tree.read("apps/a.yaml") == b"1"


async def read_after_retries(mirrors: GitMirrors, remote: GitRemote) -> GitCommitTree:
    """Damage below the root folder shows when a file is read; the pass after that finds the mirror mended."""
    for _ in range(2):
        commit = await mirrors.checkout(remote, MAIN, TIMEOUT)
        try:
            assert commit.tree.read("apps/b.yaml") == b"2"
            assert commit.tree.read("apps/a.yaml") in {b"1", b"3"}
        except MissingObjectError:
            continue
        return commit
    raise AssertionError("the mirror did not recover")


async def test_commits_nobody_reads_are_forgotten_and_those_being_read_are_kept(
    tmp_path: Path, server: GitHTTPServer, mirrors: GitMirrors, commit_and_remote: tuple[str, GitRemote]
) -> None:
    first, remote = commit_and_remote
    held = await mirrors.checkout(remote, MAIN, TIMEOUT)
    repository = server.repository("apps")
    shas = [repository.commit({"apps/a.yaml": f"round {n}"}) for n in range(6)]
    for sha in shas:
        await mirrors.checkout(remote, GitReference(commit=sha), TIMEOUT)
    (mirror,) = (tmp_path / "cache" / "git").glob("*.git")
    kept = {path.name for path in mirror.glob("refs/weir/kept/*")}
    assert kept == {first, *shas[-4:]}
    assert held.tree.read("apps/a.yaml") == b"1"


async def test_maintenance_joins_packs_and_drops_what_nobody_reads(
    tmp_path: Path, server: GitHTTPServer, commit_and_remote: tuple[str, GitRemote]
) -> None:
    _, remote = commit_and_remote
    mirrors = GitMirrors(tmp_path / "cache", repack_after=8)
    held = await mirrors.checkout(remote, MAIN, TIMEOUT)
    repository = server.repository("apps")
    shas = [repository.commit({"apps/a.yaml": f"{number}"}) for number in range(7)]
    for sha in shas[:-1]:
        await mirrors.checkout(remote, GitReference(commit=sha), TIMEOUT)
    await mirrors.maintain(TIMEOUT)
    (mirror,) = (tmp_path / "cache" / "git").glob("*.git")
    assert len(list(mirror.glob("objects/pack/*.pack"))) == 7
    await mirrors.checkout(remote, GitReference(commit=shas[-1]), TIMEOUT)
    await mirrors.maintain(TIMEOUT)
    assert len(list(mirror.glob("objects/pack/*.pack"))) == 1
    assert held.tree.read("apps/a.yaml") == b"1"
    sha = repository.commit({"apps/a.yaml": "last"})
    commit = await mirrors.checkout(remote, MAIN, TIMEOUT)
    assert commit.sha == sha
    assert [change.path for change in commit.tree.diff(held.tree)] == ["apps/a.yaml"]


async def test_packs_that_are_joined_are_let_go(
    tmp_path: Path, server: GitHTTPServer, commit_and_remote: tuple[str, GitRemote], one_thread: None
) -> None:
    _, remote = commit_and_remote
    mirrors = GitMirrors(tmp_path / "cache", repack_after=4)
    repository = server.repository("apps")
    for number in range(4):
        repository.commit({"apps/a.yaml": f"{number}"})
        checkout = await mirrors.checkout(remote, MAIN, TIMEOUT)
        await asyncio.to_thread(checkout.tree.read, "apps/a.yaml")
    assert len(_mapped(tmp_path)) >= 4
    await mirrors.maintain(TIMEOUT)
    await asyncio.to_thread(checkout.tree.read, "apps/a.yaml")
    assert await asyncio.to_thread(checkout.tree.diff, (await mirrors.checkout(remote, MAIN, TIMEOUT)).tree) == ()
    assert [path for path in _mapped(tmp_path) if path.endswith("(deleted)")] == []


@pytest.fixture
async def one_thread() -> AsyncIterator[None]:
    """All of `to_thread` in one thread; the loop is also that of later tests, so it gets its many back."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as one:
        loop.set_default_executor(one)
        yield
        loop.set_default_executor(ThreadPoolExecutor())


def _mapped(folder: Path) -> set[str]:
    """The packs below a folder that this process has in memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line[line.index(str(folder)) :] for line in lines if f"{folder}/" in line and ".pack" in line}
