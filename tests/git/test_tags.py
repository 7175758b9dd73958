"""Tags that register models: listed together with the branch that is followed, their times had without any files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.adapters.git import GitMirrors, GitOperationError, GitRemote
from agent.core.gitref import GitReference
from agent.core.models.gto import Tag, listed_tags
from testbed.git import GitHTTPServer

TIMEOUT = 60.0
MAIN = GitReference(branch="main")


async def test_one_listing_has_the_branch_and_the_tags(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository, remote = server.repository("models"), GitRemote(server.url("models"))
    made = repository.commit({"model.bin": "1"})
    tag = repository.tag("nn@v1.0.0", made, message="first")
    repository.tag("nn@v0.9.0", made)
    repository.set_ref("refs/pull/1/head", made)
    assert mirrors.last_listed(remote, MAIN) is None
    await mirrors.checkout(remote, MAIN, TIMEOUT)
    asked = len(server.requests)
    listed = mirrors.last_listed(remote, MAIN)
    assert listed is not None
    assert "refs/pull/1/head" not in listed.refs
    assert listed_tags(listed.refs) == (Tag("nn@v1.0.0", tag, made),)
    assert mirrors.last_listed(remote, GitReference(commit=made)) is None
    assert len(server.requests) == asked


@pytest.mark.parametrize("registers", [True, False])
async def test_many_tags_that_register_nothing_are_listed_seldom(
    server: GitHTTPServer, mirrors: GitMirrors, *, registers: bool
) -> None:
    repository, remote = server.repository("models"), GitRemote(server.url("models"))
    made = repository.commit({"model.bin": "1"})
    if registers:
        repository.tag("nn@v1.0.0", made, message="first")
    lines = [f"{made} refs/tags/x@{'1' * 190}.{number}\n" for number in range(4600)]
    (repository.path / "packed-refs").write_text("".join(sorted(lines)))
    first = await mirrors.list_refs(remote, TIMEOUT, MAIN)
    assert mirrors.last_listed(remote, MAIN) == first
    assert len(first.refs) == (3 if registers else 1)
    server.requests.clear()
    assert await mirrors.list_refs(remote, TIMEOUT, MAIN) == first
    assert (sum(request.sent for request in server.requests) > 1_000_000) is registers
    assert mirrors.last_listed(remote, MAIN) == (first if registers else None)


@pytest.mark.parametrize("filters", [True, False])
async def test_times_of_tags_come_without_files(
    server: GitHTTPServer, mirrors: GitMirrors, tmp_path: Path, *, filters: bool
) -> None:
    repository, remote = server.repository("models"), GitRemote(server.url("models"))
    repository.configure("uploadpack.allowFilter", filters)
    made = repository.commit({"model.bin": "x" * 100_000 + str(time.time())})
    tags = [repository.tag(name, made, message=name) for name in ("nn#prod", "nn#prod!", "nn#prod#1")]
    found = await mirrors.tag_times(remote, tags, TIMEOUT)
    assert list(found) == sorted(tags)
    assert found[tags[0]] < found[tags[1]] < found[tags[2]]
    assert not list((tmp_path / "cache" / "git").glob("tags-*"))
    if filters:
        # a listing of a tree alone would name what it holds
        assert sum(request.sent for request in server.transfers()) < 2000


async def test_a_tag_that_is_gone_is_an_error_and_leaves_nothing(
    server: GitHTTPServer, mirrors: GitMirrors, tmp_path: Path
) -> None:
    server.repository("models").commit({"model.bin": "1"})
    with pytest.raises(GitOperationError, match="failed to read tags of 'http"):
        await mirrors.tag_times(GitRemote(server.url("models")), ["1" * 40], TIMEOUT)
    assert not list((tmp_path / "cache" / "git").glob("tags-*"))
