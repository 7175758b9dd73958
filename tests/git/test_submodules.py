"""Submodules: where they are fetched from, what goes along, and what their files become part of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.adapters.git import (
    GitCommitTree,
    GitMirrors,
    GitOperationError,
    GitRemote,
    GitTreeWithSubmodules,
    auth_from_secret,
    with_submodules,
)
from agent.controllers.gitrepository.history import GitHistory
from agent.controllers.gitrepository.recipe import Recipe
from agent.core.composition import Composition
from agent.core.gitref import GitReference
from agent.core.models.extract.pointers import SUBMODULE
from testbed.git import GitHTTPServer, GitSSHServer

TIMEOUT = 60.0
MAIN = GitReference(branch="main")
USER, PASSWORD = "deploy", "s3cr3t"
SECRET = {"username": USER.encode(), "password": PASSWORD.encode()}

DVC = "outs:\n- md5: %s\n  size: 1\n  path: llm\n"

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="the ssh program is not installed")


async def whole(mirrors: GitMirrors, remote: GitRemote) -> tuple[GitCommitTree, GitTreeWithSubmodules]:
    commit = await mirrors.checkout(remote, MAIN, TIMEOUT)
    return commit, await with_submodules(mirrors, remote, commit, TIMEOUT)


async def refused(mirrors: GitMirrors, remote: GitRemote) -> str:
    with pytest.raises(GitOperationError) as caught:
        await whole(mirrors, remote)
    assert caught.value.reason == "GitOperationFailed"
    assert PASSWORD not in caught.value.message
    return caught.value.message


async def test_relative_and_nested_submodules(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served", basic=(USER, PASSWORD)) as server:
        tokens = server.repository("tokens").commit({"vocabulary.txt": "a"})
        weights = server.repository("weights").commit(
            {"weights.txt": "1"}, submodules={"tokens": ("../tokens.git", tokens)}
        )
        server.repository("models").commit(
            {"a.yaml": "1"},
            submodules={"data/weights": ("../weights.git", weights), "again": ("../tokens.git", tokens)},
        )
        url = server.url("models")
        _, files = await whole(mirrors, GitRemote(url, auth_from_secret(url, SECRET)))
        assert files.read("data/weights/weights.txt") == b"1"
        assert files.read("data/weights/tokens/vocabulary.txt") == files.read("again/vocabulary.txt") == b"a"
        assert [entry.name for entry in files.list("")] == [".gitmodules", "a.yaml", "again", "data"]
        assert [entry.name for entry in files.list("data/weights")] == [".gitmodules", "tokens", "weights.txt"]
        # One mirror a repository, however often it is a submodule.
        assert len(list((tmp_path / "cache/git").iterdir())) == 3


async def test_a_submodule_that_moves_is_a_change_of_its_files(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        weights = server.repository("weights")
        first = weights.commit({"weights.txt": "1", "same.txt": "x"})
        models = server.repository("models")
        models.commit({"a.yaml": "1"}, submodules={"w": ("../weights.git", first)})
        remote = GitRemote(server.url("models"))
        _, before = await whole(mirrors, remote)
        second = weights.commit({"weights.txt": "2"})
        models.commit({"a.yaml": "2"}, submodules={"w": ("../weights.git", second)})
        server.requests.clear()
        commit, after = await whole(mirrors, remote)
        assert [change.path for change in after.diff(before)] == ["a.yaml", "w", "w/weights.txt"]
        assert (before.gitlink("w"), after.gitlink("w"), after.gitlink("a.yaml")) == (first, second, None)
        assert len(server.transfers()) == 2
        # To a tree without submodules, it is one path.
        assert [change.path for change in after.diff(before.root)] == ["a.yaml", "w"]
        server.requests.clear()
        await with_submodules(mirrors, remote, commit, TIMEOUT)
        assert server.requests == []


async def test_only_what_is_wanted_is_fetched(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        weights = server.repository("weights").commit({"weights.txt": "1"})
        server.repository("models").commit(
            {"a.yaml": "1"}, submodules={"w": ("../weights.git", weights), "x": ("../absent.git", "b" * 40)}
        )
        remote = GitRemote(server.url("models"))
        commit = await mirrors.checkout(remote, MAIN, TIMEOUT)
        files = await with_submodules(mirrors, remote, commit, TIMEOUT, lambda path: path == "w")
        assert files.read("w/weights.txt") == b"1"
        assert files.list("x") == ()


async def test_a_section_without_a_submodule_and_a_submodule_without_a_section(
    tmp_path: Path, mirrors: GitMirrors
) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        models = server.repository("models")
        models.commit({"a.yaml": "1"}, submodules={"left": ("../left.git", "a" * 40)})
        models.commit({".gitmodules": '[submodule "b"]\npath = a.yaml\nurl = ../b.git\n'})
        _, files = await whole(mirrors, GitRemote(server.url("models")))
        assert files.list("left") == ()
        assert files.read("a.yaml") == b"1"


async def test_a_submodule_that_cannot_be_had_is_named(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        models = server.repository("models")
        remote = GitRemote(server.url("models"))
        for path, url, words in (
            ("absent", "../absent.git", "submodule 'absent': unable to clone"),
            ("dead", "http://127.0.0.1:1/x.git", "submodule 'dead': unable to clone 'http://127.0.0.1:1/x.git'"),
            ("local", "file:///etc", "submodule 'local': its URL has the scheme 'file'"),
            ("key", "git@127.0.0.1:x.git", "submodule 'key': '127.0.0.1' is asked over ssh"),
        ):
            models.force_push({})
            models.commit({}, submodules={path: (url, "b" * 40)})
            assert words in await refused(mirrors, remote)


async def test_an_unknown_commit_of_a_submodule(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        server.repository("weights").commit({"weights.txt": "1"})
        server.repository("models").commit({}, submodules={"w": ("../weights.git", "b" * 40)})
        message = await refused(mirrors, GitRemote(server.url("models")))
        assert f"submodule 'w': unable to resolve commit object for '{'b' * 40}': object not found" in message


async def test_credentials_do_not_go_to_another_host(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with (
        GitHTTPServer(tmp_path / "ours", basic=(USER, PASSWORD)) as ours,
        GitHTTPServer(tmp_path / "theirs") as theirs,
    ):
        weights = theirs.repository("weights").commit({"weights.txt": "1"})
        ours.repository("models").commit({}, submodules={"w": (theirs.url("weights"), weights)})
        remote = GitRemote(ours.url("models"), auth_from_secret(ours.url("models"), SECRET))
        _, files = await whole(mirrors, remote)
        assert files.read("w/weights.txt") == b"1"
        assert theirs.authorizations == {""}
        assert len(ours.authorizations) == 1
        assert "" not in ours.authorizations


async def test_a_host_that_wants_credentials_gets_none_and_the_message_says_so(
    tmp_path: Path, mirrors: GitMirrors
) -> None:
    both = {"basic": (USER, PASSWORD)}
    async with GitHTTPServer(tmp_path / "ours", **both) as ours, GitHTTPServer(tmp_path / "theirs", **both) as theirs:
        weights = theirs.repository("weights").commit({"weights.txt": "1"})
        ours.repository("models").commit({}, submodules={"w": (theirs.url("weights"), weights)})
        remote = GitRemote(ours.url("models"), auth_from_secret(ours.url("models"), SECRET))
        message = await refused(mirrors, remote)
        assert "authentication required (asked without credentials: those of the repository are for" in message


@needs_ssh
async def test_submodules_over_ssh_use_the_key_where_the_host_is_known(tmp_path: Path, mirrors: GitMirrors) -> None:
    async with GitSSHServer(tmp_path / "served") as server, GitSSHServer(tmp_path / "other") as other:
        weights = server.repository("weights").commit({"weights.txt": "1"})
        models = server.repository("models")
        models.commit({}, submodules={"w": ("../weights.git", weights)})
        url = server.url("models")
        secret = {"identity": server.identity(), "known_hosts": server.known_hosts}
        remote = GitRemote(url, auth_from_secret(url, secret))
        _, files = await whole(mirrors, remote)
        assert files.read("w/weights.txt") == b"1"
        foreign = other.repository("foreign").commit({"x": "1"})
        models.commit({}, submodules={"w": (other.url("foreign"), foreign)})
        assert "knownhosts: key is unknown" in await refused(mirrors, remote)
        assert other.users == []


@pytest.mark.parametrize("recurse", [False, True])
async def test_a_submodule_that_moves_is_a_change_of_data(tmp_path: Path, mirrors: GitMirrors, recurse: bool) -> None:
    async with GitHTTPServer(tmp_path / "served") as server:
        weights = server.repository("weights")
        first = weights.commit({"llm.dvc": DVC % ("a" * 32)})
        models = server.repository("models")
        old = models.commit({"a.yaml": "1"}, submodules={"w": ("../weights.git", first)})
        second = weights.commit({"llm.dvc": DVC % ("b" * 32)})
        models.commit({"a.yaml": "2"}, submodules={"w": ("../weights.git", second)})
        remote = GitRemote(server.url("models"))
        commit, files = await whole(mirrors, remote)
        recipe = Recipe(composition=Composition(), submodules=recurse)
        history = GitHistory(mirrors, remote, files if recurse else commit.tree, recipe, TIMEOUT)
        changed = {change.path: change for change in await history.files_changed(f"main@sha1:{old}") or ()}
        link = changed["w"]
        assert link.old is not None
        assert link.new is not None
        assert (link.old.data, link.new.data, link.new.mode) == (first.encode(), second.encode(), SUBMODULE)
        assert ("w/llm.dvc" in changed) is recurse
        tree = await history.tree_at(f"main@sha1:{old}")
        assert tree is not None
        assert (tree.stat("w/llm.dvc") is not None) is recurse
