"""Commits that Weir makes: on top of what is there, pushed only if it is still there, signed where there is a key."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pygit2
import pytest

from agent.adapters.git import (
    BranchMovedError,
    GitMirrors,
    GitOperationError,
    GitRemote,
    Person,
    Publication,
    PushDeclinedError,
    auth_from_secret,
)
from agent.adapters.git.transport import is_declined
from agent.adapters.signatures import verify_ssh
from agent.core.gitref import GitReference
from agent.core.signedobject import signed_commit
from testbed.git import GitHTTPServer, GitRepository, GitSSHServer
from testbed.git.signing import SSHSigner

TIMEOUT = 60.0
MAIN = GitReference(branch="main")
ROBOT = Person("Robot", "robot@example.org", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def publication(parent: str, files: dict[str, bytes], **changes: object) -> Publication:
    given = {"branch": "main", "parent": parent, "files": files, "message": "Put back\n", "committer": ROBOT}
    return Publication(**{**given, **changes})  # type: ignore[arg-type]


def commit_of(git: GitRepository, branch: str = "main") -> pygit2.Commit:
    return pygit2.Repository(str(git.path))[git.head(branch)].peel(pygit2.Commit)


async def test_one_file_changes_and_everything_else_stays(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    git, remote = server.repository("apps"), GitRemote(server.url("apps"))
    git.commit({"a/run.sh": "old\n", "a/b.yaml": "1\n", "link": "x"}, executable=("a/run.sh",))
    parent = git.commit({"c.yaml": "2\n"}, symlinks={"a/l": "b.yaml"})
    tip = await mirrors.checkout(remote, MAIN, TIMEOUT)
    oid = await mirrors.publish(remote, publication(tip.sha, {"a/run.sh": b"new\r\n"}), TIMEOUT)
    commit = commit_of(git)
    assert (str(commit.id), [str(one) for one in commit.parent_ids]) == (oid, [parent])
    assert (commit.author.name, commit.committer.email, commit.message) == ("Robot", "robot@example.org", "Put back\n")
    before = pygit2.Repository(str(git.path))[parent].peel(pygit2.Tree)
    (delta,) = before.diff_to_tree(commit.tree).deltas
    assert (delta.new_file.path, delta.old_file.mode, delta.new_file.mode) == ("a/run.sh", 0o100755, 0o100755)
    assert git.read("a/run.sh") == b"new\r\n"


async def test_what_others_pushed_is_never_overwritten(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    git, remote = server.repository("apps"), GitRemote(server.url("apps"))
    first = git.commit({"a": "1"})
    tip = await mirrors.checkout(remote, MAIN, TIMEOUT)
    theirs = git.commit({"b": "2"})
    with pytest.raises(BranchMovedError, match="main: the branch has moved"):
        await mirrors.publish(remote, publication(tip.sha, {"a": b"x"}), TIMEOUT)
    assert git.head() == theirs
    rewritten = git.force_push({"a": "1"})
    with pytest.raises(BranchMovedError):
        await mirrors.publish(remote, publication(theirs if tip.sha == theirs else tip.sha, {"a": b"x"}), TIMEOUT)
    git.set_branch("main", first)
    tip = await mirrors.checkout(remote, MAIN, TIMEOUT)
    git.set_branch("main", rewritten)
    with pytest.raises(BranchMovedError):
        await mirrors.publish(remote, publication(tip.sha, {"a": b"x"}), TIMEOUT)
    assert git.head() == rewritten


async def test_a_new_branch_must_not_be_there_yet(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    git, remote = server.repository("apps"), GitRemote(server.url("apps"))
    parent = git.commit({"a": "1"})
    await mirrors.checkout(remote, MAIN, TIMEOUT)
    wanted = publication(parent, {"a": b"2"}, branch="weir/put-back/x", creates=True)
    oid = await mirrors.publish(remote, wanted, TIMEOUT)
    assert (git.head("weir/put-back/x"), git.head()) == (oid, parent)
    with pytest.raises(BranchMovedError):
        await mirrors.publish(remote, publication(parent, {"a": b"3"}, branch="weir/put-back/x", creates=True), TIMEOUT)
    assert git.head("weir/put-back/x") == oid


async def test_a_signed_commit(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    git, remote, signer = server.repository("apps"), GitRemote(server.url("apps")), SSHSigner()
    parent = git.commit({"a": "1"})
    await mirrors.checkout(remote, MAIN, TIMEOUT)
    oid = await mirrors.publish(remote, publication(parent, {"a": b"2"}, sign=signer), TIMEOUT)
    signed = signed_commit(pygit2.Repository(str(git.path)).odb.read(oid)[1])
    assert verify_ssh(signed.payload, signed.signature, [signer.public_line.encode()]) == signer.fingerprint


@pytest.mark.parametrize("path", ["gone", "folder", "link"])
async def test_only_plain_files_that_are_there_are_written(
    server: GitHTTPServer, mirrors: GitMirrors, path: str
) -> None:
    git, remote = server.repository("apps"), GitRemote(server.url("apps"))
    parent = git.commit({"folder/a": "1"}, symlinks={"link": "folder/a"})
    await mirrors.checkout(remote, MAIN, TIMEOUT)
    with pytest.raises(GitOperationError, match=path):
        await mirrors.publish(remote, publication(parent, {path: b"2"}), TIMEOUT)
    assert git.head() == parent


async def test_a_server_that_refuses_is_quoted_and_no_secret_is(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=("weir", "hush-hush")) as server:
        git, url = server.repository("apps"), server.url("apps")
        parent = git.commit({"a": "1"})
        remote = GitRemote(url, auth_from_secret(url, {"username": b"weir", "password": b"hush-hush"}))
        await mirrors.checkout(remote, MAIN, TIMEOUT)
        hook = git.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
        hook.chmod(0o755)
        with pytest.raises(GitOperationError, match=r"failed to push to .*main is protected") as caught:
            await mirrors.publish(remote, publication(parent, {"a": b"2"}), TIMEOUT)
        assert isinstance(caught.value, PushDeclinedError)
        assert "hush" not in caught.value.message
        assert git.head() == parent


SAID = "To https://git.example.org\n ! [remote rejected]       0123abc -> main ({})\nerror: failed to push some refs\n"


@pytest.mark.parametrize(
    ("why", "declined"),
    [
        ("hook declined", True),
        ("pre-receive hook declined", True),
        ("protected branch hook declined", True),
        ("push declined due to repository rule violations", True),
        ("internal server error", False),
        ("failed to update ref", False),
    ],
)
def test_what_servers_call_declined(why: str, declined: bool) -> None:
    assert is_declined(SAID.format(why)) is declined
    assert not is_declined(f"remote: {SAID.format(why)}".replace("\n", "\nremote: "))


@pytest.mark.parametrize(
    ("said", "declined"),
    [
        ("GitLab: You are not allowed to push code to protected branches on this project.", True),
        ("Gitea: Not allowed to push to protected branch main", True),
        ("GitLab: 500 Internal Server Error", False),
        ("GitLab: Internal API unreachable", False),
        ("Gitea: Internal Server Error", False),
        ("Unable to contact gitea: dial tcp 10.0.0.1:3000: connect: connection refused", False),
    ],
)
def test_a_hook_that_cannot_ask_its_own_server_has_declined_nothing(said: str, declined: bool) -> None:
    assert is_declined(f"remote: \nremote: {said}\n{SAID.format('pre-receive hook declined')}") is declined


@pytest.mark.parametrize(
    ("hook", "declined"), [("update", True), ("pre-receive", True), ("reference-transaction", False)]
)
async def test_only_a_hook_that_declines_is_final(
    server: GitHTTPServer, mirrors: GitMirrors, hook: str, declined: bool
) -> None:
    """A server cannot say that it has declined: only git does."""
    git, remote = server.repository("apps"), GitRemote(server.url("apps"))
    parent = git.commit({"a": "1"})
    await mirrors.checkout(remote, MAIN, TIMEOUT)
    path = git.path / "hooks" / hook
    path.parent.mkdir(exist_ok=True)
    said = "" if declined else " ! [remote rejected] main -> main (pre-receive hook declined)"
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    path.chmod(0o755)
    with pytest.raises(GitOperationError) as caught:
        await mirrors.publish(remote, publication(parent, {"a": b"2"}), TIMEOUT)
    assert isinstance(caught.value, PushDeclinedError) is declined
    assert git.head() == parent


@pytest.mark.skipif(shutil.which("ssh") is None, reason="the ssh program is not installed")
async def test_over_ssh(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server:
        git, url = server.repository("apps"), server.url("apps")
        git.commit({"a": "1"})
        remote = GitRemote(
            url, auth_from_secret(url, {"identity": server.identity(), "known_hosts": server.known_hosts})
        )
        tip = await mirrors.checkout(remote, MAIN, TIMEOUT)
        oid = await mirrors.publish(remote, publication(tip.sha, {"a": b"2"}), TIMEOUT)
        assert (git.head(), git.read("a")) == (oid, b"2")
