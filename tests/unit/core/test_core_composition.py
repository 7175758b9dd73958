"""What a GitRepository's artifact consists of."""

import pytest

from agent.core.composition import Composition, CopyError, Included, MissingFolderError
from agent.core.tree import MemoryTree, Tree

REPOSITORY = MemoryTree(
    {
        ".sourceignore": b"*.md\n",
        "readme.md": b"top",
        "app.yaml": b"a: 1",
        "app/c.yaml": b"c: 1",
        "apps/chat/c.yaml": b"c: 2",
        "apps/chat/notes.md": b"notes",
        "apps/draw/c.yaml": b"c: 3",
        "infra/c.yaml": b"c: 4",
    }
)


def files(tree: Tree, folder: str = "") -> set[str]:
    prefix = f"{folder}/" if folder else ""
    found: set[str] = set()
    for entry in tree.list(folder):
        path = prefix + entry.name
        found |= {path} if entry.kind == "file" else files(tree, path)
    return found


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("apps/chat",), {"apps/chat/c.yaml", "apps/chat/notes.md"}),
        (("./apps/chat", "infra"), {"apps/chat/c.yaml", "apps/chat/notes.md", "infra/c.yaml"}),
        (("app/",), {"app/c.yaml"}),
        (("apps/draw/c.yaml",), {"apps/draw/c.yaml"}),
        (("app",), {"app.yaml", "app/c.yaml", "apps/chat/c.yaml", "apps/chat/notes.md", "apps/draw/c.yaml"}),
    ],
)
def test_a_sparse_artifact_has_the_folders_asked_for_and_rules_only_from_there(
    paths: tuple[str, ...], expected: set[str]
) -> None:
    composition = Composition(sparse=paths)
    composition.check(REPOSITORY)
    tree = composition.compose(REPOSITORY)
    assert files(tree) == expected
    assert {path for path in REPOSITORY if composition.takes(path)} == expected
    assert tree.stat("infra") is None or "infra/c.yaml" in expected
    with pytest.raises(FileNotFoundError):
        tree.read("readme.md")
    with pytest.raises(FileNotFoundError):
        tree.list("docs")


def test_rules_of_the_spec_hold_in_a_sparse_artifact() -> None:
    assert files(Composition(ignore="*.md", sparse=("apps",)).compose(REPOSITORY)) == {
        "apps/chat/c.yaml",
        "apps/draw/c.yaml",
    }


def test_all_files_without_folders() -> None:
    composition = Composition()
    composition.check(REPOSITORY)
    assert files(composition.compose(REPOSITORY)) == set(REPOSITORY) - {"readme.md", "apps/chat/notes.md"}
    assert composition.takes("readme.md")


@pytest.mark.parametrize("path", ["docs", "apps/video", "../elsewhere", "apps//chat", "ap/../app"])
def test_a_folder_that_is_not_there(path: str) -> None:
    with pytest.raises(MissingFolderError, match=f"sparse checkout dir '{path}' does not exist in repository"):
        Composition(sparse=("apps", path) if path == "docs" else (path,)).check(REPOSITORY)


SHARED = MemoryTree({"base/c.yaml": b"b: 1", "base/deep/d.yaml": b"b: 2", "lone.yaml": b"b: 3", ".sourceignore": b"x"})


@pytest.mark.parametrize(
    ("from_path", "to_path", "expected"),
    [
        ("", "shared", {"shared/base/c.yaml", "shared/base/deep/d.yaml", "shared/lone.yaml", "shared/.sourceignore"}),
        ("base", "apps/base", {"apps/base/c.yaml", "apps/base/deep/d.yaml"}),
        ("./base/deep/", "./new/folder/", {"new/folder/d.yaml"}),
        ("../../base/deep", "/../x", {"x/d.yaml"}),
        ("lone.yaml", "one/lone.yaml", {"one/lone.yaml"}),
        ("lone.yaml", "readme.md", set()),
    ],
)
def test_folders_of_other_artifacts_are_copied_in(from_path: str, to_path: str, expected: set[str]) -> None:
    plain = MemoryTree({"readme.md": b"top", "apps/c.yaml": b"c: 1"})
    tree = Composition(included=(Included("shared", from_path, to_path, SHARED),)).compose(plain)
    assert files(tree) == {"readme.md", "apps/c.yaml"} | expected
    for path in expected:
        stat = tree.stat(path)
        assert stat is not None
        assert tree.read(path) == SHARED.read(next(other for other in SHARED if SHARED.read(other) == tree.read(path)))
    assert tree.read("apps/c.yaml") == b"c: 1"
    assert tree.read("readme.md") == (b"b: 3" if to_path == "readme.md" else b"top")


def test_a_later_include_may_lie_within_an_earlier_one_and_their_rules_count() -> None:
    tree = Composition(
        included=(
            Included("one", "base", "copied", SHARED),
            Included("two", "", "copied/two", MemoryTree({"a.yaml": b"a", "b.yaml": b"b", ".sourceignore": b"b.*"})),
        )
    ).compose(MemoryTree({"b.yaml": b"kept"}))
    assert files(tree) == {
        *("b.yaml", "copied/c.yaml", "copied/deep/d.yaml"),
        *("copied/two/a.yaml", "copied/two/.sourceignore"),
    }
    with pytest.raises(IsADirectoryError):
        tree.read("copied/two")


@pytest.mark.parametrize(
    ("from_path", "to_path", "why"),
    [
        ("none", "shared", "cannot stat 'none'"),
        ("base", "apps", "'apps' exists already"),
        ("base", "../", "'.' exists already"),
        ("base", "readme.md", "'readme.md' exists already"),
        ("lone.yaml", "apps", "'apps' exists already"),
        ("base", "readme.md/x/y", "'readme.md' is not a directory"),
    ],
)
def test_a_copy_that_has_no_source_or_no_place(from_path: str, to_path: str, why: str) -> None:
    plain = MemoryTree({"readme.md": b"top", "apps/c.yaml": b"c: 1"})
    with pytest.raises(CopyError, match="failed to copy 'shared' include from") as failed:
        Composition(included=(Included("shared", from_path, to_path, SHARED),)).compose(plain)
    assert why in str(failed.value)
