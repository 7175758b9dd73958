"""Repositories that were made in order to hurt: names, depths and sizes that Git itself would not make."""

from __future__ import annotations

import io
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode, ObjectType

from agent.adapters.archives import TooLargeError, pack
from agent.adapters.artifacts import ArtifactStorage, StorageError
from agent.adapters.git import GitMirrors, GitOperationError, GitRemote
from agent.core.gitref import GitReference
from agent.core.sourceignore import FilteredTree, rules_of_tree
from agent.core.tree import MemoryTree, Stat, Tree
from testbed.git import GitHTTPServer

TIMEOUT = 60.0
MAIN = GitReference(branch="main")


class Forge:
    """Writes trees as they are told, without Git's own checks."""

    def __init__(self, server: GitHTTPServer) -> None:
        self._at = server.repository("hostile").path
        self._repository = pygit2.Repository(str(self._at))
        self.remote = GitRemote(server.url("hostile"))

    def blob(self, content: bytes) -> str:
        return str(self._repository.create_blob(content))

    def tree(self, *entries: tuple[bytes, int, str]) -> str:
        """A tree of name, mode and id; in the order given."""
        raw = b"".join(b"%o %s\0" % (mode, name) + bytes.fromhex(oid) for name, mode, oid in entries)
        return str(self._repository.odb.write(ObjectType.TREE, raw))

    def push(self, tree: str) -> None:
        """Make a commit of the tree the head of main."""
        who = pygit2.Signature("Mallory", "mallory@example.org", 1, 0)
        self._repository.create_commit("refs/heads/main", who, who, "look\n", pygit2.Oid(hex=tree), [])


@pytest.fixture
def forge(server: GitHTTPServer) -> Forge:
    return Forge(server)


async def composed(mirrors: GitMirrors, remote: GitRemote) -> Tree:
    commit = await mirrors.checkout(remote, MAIN, TIMEOUT)
    return FilteredTree(commit.tree, rules_of_tree(commit.tree))


@pytest.mark.parametrize("name", [b"..", b".", b"../../etc", b"/etc/passwd", b".git", b".GIT", b"a/b"])
@pytest.mark.parametrize("mode", [FileMode.BLOB, FileMode.TREE])
async def test_names_that_are_none_are_refused(forge: Forge, mirrors: GitMirrors, name: bytes, mode: FileMode) -> None:
    below = forge.blob(b"x") if mode is FileMode.BLOB else forge.tree((b"x", FileMode.BLOB, forge.blob(b"x")))
    forge.push(forge.tree((b"ok", FileMode.TREE, forge.tree((name, mode, below)))))
    with pytest.raises(GitOperationError, match="is no name of a file") as caught:
        await composed(mirrors, forge.remote)
    assert "'ok'" in caught.value.message


async def test_links_lead_nowhere(forge: Forge, mirrors: GitMirrors) -> None:
    forge.push(
        forge.tree(
            (b"a.yaml", FileMode.BLOB, forge.blob(b"a: 1")),
            (b"folder", FileMode.LINK, forge.blob(b"/etc")),
            (b"passwd", FileMode.LINK, forge.blob(b"/etc/passwd")),
        )
    )
    tree = await composed(mirrors, forge.remote)
    assert [entry.name for entry in tree.list("")] == ["a.yaml"]
    for path in ("passwd", "folder", "folder/passwd", "a.yaml/x"):
        assert tree.stat(path) is None
        with pytest.raises(FileNotFoundError):
            tree.read(path)


async def test_folders_without_end_are_refused(forge: Forge, mirrors: GitMirrors) -> None:
    tree = forge.tree((b"x", FileMode.BLOB, forge.blob(b"x")))
    for _ in range(2000):
        tree = forge.tree((b"d", FileMode.TREE, tree))
    forge.push(tree)
    with pytest.raises(GitOperationError, match="folders are nested deeper than"):
        await composed(mirrors, forge.remote)


async def test_few_objects_that_stand_for_endless_files_are_refused(forge: Forge, mirrors: GitMirrors) -> None:
    tree = forge.tree((b"x", FileMode.BLOB, forge.blob(b"x")))
    for _ in range(10):
        tree = forge.tree(*((b"%02d" % number, FileMode.TREE, tree) for number in range(40)))
    forge.push(tree)
    with pytest.raises(GitOperationError, match=r"more than [0-9]+ files and folders"):
        await composed(mirrors, forge.remote)


class Vast(MemoryTree):
    """Claims that its files are vast."""

    def stat(self, path: str) -> Stat | None:
        stat = super().stat(path)
        return stat._replace(size=700 * 1024 * 1024) if stat is not None and stat.kind == "file" else stat

    def read(self, path: str) -> bytes:
        if path != "a":
            raise AssertionError(f"{path} was read")
        return super().read(path)


async def test_what_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    vast = Vast({"a": b"1", "b": b"2"})
    with pytest.raises(TooLargeError, match=r"leave files out with spec\.ignore"):
        pack(vast, io.BytesIO())
    storage = ArtifactStorage(tmp_path, "x")
    with pytest.raises(StorageError, match="unable to archive artifact to storage: more than") as caught:
        await storage.store("GitRepository", "default", "x", "1.tar.gz", vast)
    assert caught.value.reason == "ArchiveOperationFailed"
    assert [file.name for file in (tmp_path / "gitrepository/default/x").iterdir()] == ["1.tar.gz.lock"]


@pytest.mark.parametrize(
    "reference",
    [
        GitReference(branch="--upload-pack=touch /tmp/x"),
        GitReference(branch="../../config"),
        GitReference(tag="v1\n+refs/*:refs/*"),
        GitReference(name="-c"),
        GitReference(name="refs/heads/*"),
        GitReference(commit="HEAD"),
        GitReference(commit="a" * 39),
        GitReference(semver="*" * 5000),
    ],
)
async def test_no_reference_is_an_option_or_a_pattern(
    server: GitHTTPServer, mirrors: GitMirrors, reference: GitReference
) -> None:
    server.repository("apps").commit({"a.yaml": "1"})
    with pytest.raises(GitOperationError):
        await mirrors.checkout(GitRemote(server.url("apps")), reference, TIMEOUT)
