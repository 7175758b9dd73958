"""Data files of a commit, and what differs between two, also where a force-push hides that."""

from __future__ import annotations

import pytest

from agent.adapters.git import GitMirrors, GitRemote
from agent.controllers.gitrepository.history import GitHistory
from agent.controllers.gitrepository.recipe import Recipe
from agent.core.composition import Composition
from agent.core.gitref import GitReference
from agent.core.models import Blob, Commit, changes_since
from agent.core.models.extract.files import file_slots
from agent.core.models.extract.pointers import SUBMODULE
from testbed.git import GitHTTPServer

TIMEOUT = 60.0
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12\n"
DVC = "outs:\n- md5: %s\n  size: 1\n  path: llm\n"
RECIPE = Recipe(composition=Composition(), submodules=False)


async def history_of(mirrors: GitMirrors, remote: GitRemote) -> GitHistory:
    commit = await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
    return GitHistory(mirrors, remote, commit.tree, RECIPE, TIMEOUT)


async def test_data_that_a_force_push_changes_is_found(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    models = server.repository("models")
    old = models.commit({"a.bin": LFS % ("a" * 64), "same.bin": LFS % ("c" * 64), "gone.dvc": DVC % ("d" * 32)})
    remote = GitRemote(server.url("models"))
    await history_of(mirrors, remote)
    models.force_push({"a.bin": LFS % ("b" * 64), "same.bin": LFS % ("c" * 64)})
    history = await history_of(mirrors, remote)
    found = await history.files_changed(f"main@sha1:{old}")
    assert found is not None
    assert {change.path: (change.old is not None, change.new is not None) for change in found} == {
        "a.bin": (True, True),
        "gone.dvc": (True, False),
    }


@pytest.mark.parametrize("there", [True, False])
async def test_an_agent_that_lost_its_copy_asks_for_the_old_commit(
    server: GitHTTPServer, mirrors: GitMirrors, *, there: bool
) -> None:
    models = server.repository("models")
    models.configure("uploadpack.allowAnySHA1InWant", value=True)
    old = models.commit({"a.bin": LFS % ("a" * 64)})
    models.force_push({"a.bin": LFS % ("b" * 64), "readme.md": "text", "w/llm.dvc": DVC % ("c" * 32)})
    history = await history_of(mirrors, GitRemote(server.url("models")))
    found = await history.files_changed(f"main@sha1:{old if there else 'f' * 40}")
    assert (found is not None) is there
    if found is not None:
        assert [change.path for change in found if change.old is not None] == ["a.bin"]
    standing = await history.files()
    assert [(change.path, change.old) for change in sorted(standing, key=lambda one: one.path)] == [
        ("a.bin", None),
        ("w/llm.dvc", None),
    ]


async def test_submodules_count_as_data_files(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    first = server.repository("weights").commit({"llm.dvc": DVC % ("a" * 32)})
    server.repository("models").commit({"a.yaml": "1"}, submodules={"w": ("../weights.git", first)})
    (found,) = await (await history_of(mirrors, GitRemote(server.url("models")))).files()
    assert found.new is not None
    assert (found.path, found.new.mode, found.new.data) == ("w", SUBMODULE, first.encode())


async def test_what_is_known_of_files_tells_what_a_force_push_hides(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    models = server.repository("models")
    models.commit(dict.fromkeys(("known.bin", "same.bin", "unknown.bin"), LFS % ("b" * 64)))
    standing = await (await history_of(mirrors, GitRemote(server.url("models")))).files()
    known = {}
    for change in standing:
        assert change.new is not None
        (slot,) = file_slots(change.path, change.new)
        known[change.path, slot.name] = slot.ref
    del known["unknown.bin", "content"]
    (before,) = file_slots("known.bin", Blob((LFS % ("a" * 64)).encode()))
    known["known.bin", "content"] = before.ref
    (record,) = changes_since(known, standing, Commit("1", "2"))
    assert (record.op, record.object.name, record.direction) == ("changed", "known.bin", "unknown")
    assert record.old is not None
    assert record.new is not None
    assert (record.old.canonical, record.new.canonical) == (f"git-lfs:sha256:{'a' * 64}", f"git-lfs:sha256:{'b' * 64}")
