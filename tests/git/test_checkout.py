"""Checking out over HTTP from a real Git server."""

from __future__ import annotations

import asyncio

import pygit2

from agent.adapters.git import GitMirrors, GitRemote
from agent.core.gitref import GitReference
from testbed.git import GitHTTPServer

TIMEOUT = 60.0


async def test_a_branch_is_checked_out_and_read(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository = server.repository("apps")
    sha = repository.commit(
        {"apps/chat/deployment.yaml": "kind: Deployment\n", "run.sh": "#!/bin/sh\n", "README.md": "hello\n"},
        "Serve the chat model\n\nWith two replicas.\n",
        executable=("run.sh",),
        symlinks={"link": "README.md"},
    )
    commit = await mirrors.checkout(GitRemote(server.url("apps")), GitReference(branch="main"), TIMEOUT)
    assert commit.revision == f"main@sha1:{sha}"
    assert commit.sha == sha
    assert commit.subject == "Serve the chat model"
    assert commit.author.email == "ada@example.org"
    tree = commit.tree
    assert tree.read("apps/chat/deployment.yaml") == b"kind: Deployment\n"
    assert [entry.name for entry in tree.list("")] == ["README.md", "apps", "run.sh"]
    stat = tree.stat("run.sh")
    assert stat is not None
    assert (stat.kind, stat.size, stat.executable) == ("file", 10, True)
    plain = tree.stat("README.md")
    assert plain is not None
    assert not plain.executable
    assert tree.stat("link") is None
    assert tree.stat("apps/chat/absent.yaml") is None


async def test_reading_commit_after_commit_leaves_nothing_behind(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository, remote = server.repository("apps"), GitRemote(server.url("apps"))
    for number in range(3):
        repository.commit({"apps/chat/deployment.yaml": str(number)})
        commit = await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
        assert commit.tree.read("apps/chat/deployment.yaml") == str(number).encode()
    held, _ = pygit2.settings.cached_memory
    assert held == 0


async def test_a_diff_names_the_changed_files(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository = server.repository("apps")
    remote = GitRemote(server.url("apps"))
    first = repository.commit({"a/x.yaml": "1", "a/y.yaml": "1", "b/z.yaml": "1"})
    second = repository.commit({"a/x.yaml": "2", "a/y.yaml": None, "c/new.yaml": "1"})
    new = await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
    assert new.sha == second
    old = await mirrors.checkout(remote, GitReference(commit=first), TIMEOUT)
    changes = new.tree.diff(old.tree)
    assert [(change.path, change.old_oid is None, change.new_oid is None) for change in changes] == [
        ("a/x.yaml", False, False),
        ("a/y.yaml", False, True),
        ("c/new.yaml", True, False),
    ]
    assert new.tree.read("a/x.yaml") == b"2"


async def test_an_incremental_fetch_brings_only_what_is_new(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository = server.repository("apps")
    remote = GitRemote(server.url("apps"))
    repository.commit({f"apps/{n}/deployment.yaml": f"{n}" + "x" * 2000 for n in range(300)})
    await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
    (whole,) = server.transfers()
    repository.commit({"apps/7/deployment.yaml": "changed"})
    commit = await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
    (_, delta) = server.transfers()
    assert commit.tree.read("apps/7/deployment.yaml") == b"changed"
    assert commit.tree.read("apps/8/deployment.yaml").startswith(b"8x")
    assert delta.sent * 10 < whole.sent


async def test_concurrent_checkouts_share_one_fetch(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository = server.repository("apps")
    sha = repository.commit({"a.yaml": "1"})
    remote = GitRemote(server.url("apps"))
    commits = await asyncio.gather(*(mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT) for _ in range(6)))
    assert {commit.sha for commit in commits} == {sha}
    assert len(server.transfers()) == 1
