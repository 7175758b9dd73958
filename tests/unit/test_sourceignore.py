"""What stays out of an artifact."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.sourceignore import FilteredTree, IgnoreRules, parse_rules, rules_of_tree
from agent.core.tree import MemoryTree, Tree


def files(tree: Tree, folder: str = "") -> list[str]:
    found: list[str] = []
    for entry in tree.list(folder):
        path = f"{folder}/{entry.name}" if folder else entry.name
        found += files(tree, path) if entry.kind == "dir" else [path]
    return found


def kept(paths: list[str], extra: str | None = None, ignore_files: dict[str, str] | None = None) -> list[str]:
    contents = dict.fromkeys(paths, b"") | {path: text.encode() for path, text in (ignore_files or {}).items()}
    tree = MemoryTree(contents)
    shown = files(FilteredTree(tree, rules_of_tree(tree, extra)))
    return [path for path in shown if path in paths]


@pytest.mark.parametrize(
    ("pattern", "path", "is_dir", "ignored"),
    [
        ("*.md", "README.md", False, True),
        ("*.md", "docs/deep/README.md", False, True),
        ("*.md", "README.mdx", False, False),
        ("docs", "docs", True, True),
        ("docs", "docs/index.html", False, True),
        ("docs", "a/docs/index.html", False, True),
        ("docs/", "docs", True, True),
        ("docs/", "docs", False, False),
        ("docs/", "a/docs/index.html", False, True),
        ("/docs", "docs/index.html", False, True),
        ("/docs", "a/docs", True, False),
        ("a/b", "a/b/c", False, True),
        ("a/b", "x/a/b", False, False),
        ("a/*/c", "a/b/c", False, True),
        ("a/*/c", "a/b/b/c", False, False),
        ("a/**/c", "a/c", False, True),
        ("a/**/c", "a/b/b/c", False, True),
        ("**/c", "a/b/c", False, True),
        ("**/c", "c", False, True),
        ("a/**", "a/b/c", False, True),
        ("a/b**", "a/bc", False, False),
        ("?.txt", "a.txt", False, True),
        ("?.txt", "ab.txt", False, False),
        ("[a-c].txt", "b.txt", False, True),
        ("[^a-c].txt", "b.txt", False, False),
        ("[^a-c].txt", "d.txt", False, True),
        ("[!a].txt", "!.txt", False, True),
        ("[a-", "a", False, False),
        ("[c-a]", "b", False, False),
        ("a\\*", "a*", False, True),
        ("a\\*", "ab", False, False),
        ("trailing  ", "trailing", False, True),
        ("kept\\ ", "kept ", False, True),
        ("#comment", "#comment", False, False),
        ("\\#file", "#file", False, True),
        ("\\!file", "!file", False, True),
    ],
)
def test_patterns(pattern: str, path: str, is_dir: bool, ignored: bool) -> None:
    assert IgnoreRules(parse_rules(pattern)).ignores(path, is_dir=is_dir) is ignored


@pytest.mark.parametrize("pattern", ["*a" * 30 + "*b", "*?[a-z]" * 30 + "b", "**/" * 30 + "b"])
def test_a_pattern_of_many_stars_takes_no_time(pattern: str) -> None:
    rules = IgnoreRules(parse_rules(pattern))
    started = time.process_time()
    assert not rules.ignores("a" * 250, is_dir=False)
    assert not rules.ignores("/".join("a" * 60), is_dir=False)
    assert time.process_time() - started < 1


@given(st.text("ab*?", max_size=8), st.text("ab", min_size=1, max_size=8))
def test_a_wildcard_matches_wherever_there_is_a_way(wildcard: str, name: str) -> None:
    def fits(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return fits(pattern[1:], text) or (bool(text) and fits(pattern, text[1:]))
        return bool(text) and pattern[0] in ("?", text[0]) and fits(pattern[1:], text[1:])

    assume(wildcard and "**" not in wildcard)
    assert IgnoreRules(parse_rules(wildcard)).ignores(name, is_dir=False) is fits(wildcard, name)


def test_the_last_matching_pattern_decides() -> None:
    rules = IgnoreRules(parse_rules("*.yaml\n!keep.yaml\nold/\n"))
    assert rules.ignores("a.yaml", is_dir=False)
    assert not rules.ignores("keep.yaml", is_dir=False)
    assert rules.ignores("old/keep.yaml", is_dir=False)


def test_everything_but_one_folder() -> None:
    paths = ["README.md", "apps/a.yaml", "deploy/a.yaml", "deploy/notes/x.md", "deploy/sub/b.yaml"]
    rules = "# exclude all\n/*\n# include deploy\n!/deploy\n/deploy/**/*.md\n"
    assert kept(paths, rules) == ["deploy/a.yaml", "deploy/sub/b.yaml"]


def test_files_of_git_itself_always_stay_out() -> None:
    paths = [".gitattributes", ".gitignore", ".gitmodules", "a/.gitignore", "a/b.yaml"]
    assert kept(paths) == ["a/b.yaml"]
    assert kept(paths, "*.md") == ["a/b.yaml"]


def test_a_git_folder_stays_out_but_not_a_file_of_that_name() -> None:
    assert kept([".git/config", "sub/.git"]) == ["sub/.git"]


DEFAULTS = [
    *("logo.png", "a/photo.jpeg", "dump.tar.gz", "x.zip"),
    *(".github/workflows/ci.yaml", ".circleci/config.yml", ".travis.yml", "appveyor.yml", "cloudbuild.yaml"),
    *("a/b/.sops.yaml", ".goreleaser.yml", "clusters/.flux.yaml"),
]


def test_images_and_ci_files_stay_out_where_nobody_wrote_rules() -> None:
    assert kept([*DEFAULTS, "app.yaml"]) == ["app.yaml"]
    assert kept([*DEFAULTS, "app.yaml"], "") == ["app.yaml"]
    assert kept([*DEFAULTS, "app.yaml"], "# only a comment\n\n") == ["app.yaml"]


def test_any_written_rule_brings_images_and_ci_files_back() -> None:
    assert kept([*DEFAULTS, "app.yaml"], "*.md") == sorted([*DEFAULTS, "app.yaml"], key=lambda path: path.split("/"))
    back = kept([*DEFAULTS], ignore_files={"deep/down/.sourceignore": "*.md"})
    assert sorted(back) == sorted(DEFAULTS)


def test_a_rules_file_speaks_for_its_own_folder() -> None:
    paths = ["a/x.txt", "a/deep/x.txt", "b/x.txt", "x.txt"]
    assert kept(paths, ignore_files={"a/.sourceignore": "/x.txt\n"}) == ["a/deep/x.txt", "b/x.txt", "x.txt"]
    assert kept(paths, ignore_files={"a/.sourceignore": "x.txt\n"}) == ["b/x.txt", "x.txt"]


def test_deeper_rules_beat_higher_ones_and_the_spec_beats_all() -> None:
    paths = ["a/keep.txt", "a/x.txt", "y.txt"]
    rules = {".sourceignore": "*.txt\n", "a/.sourceignore": "!keep.txt\n"}
    assert kept(paths, ignore_files=rules) == ["a/keep.txt"]
    assert kept(paths, "!/y.txt", ignore_files=rules) == ["a/keep.txt", "y.txt"]
    assert kept(paths, "keep.txt", ignore_files=rules) == []


def test_a_rules_file_with_windows_line_ends() -> None:
    assert kept(["a.txt", "b.yaml"], ignore_files={".sourceignore": "*.txt\r\n\r\n"}) == ["b.yaml"]


def test_what_is_left_out_cannot_be_read_or_seen() -> None:
    tree = MemoryTree({"docs/a.md": b"1", "app.yaml": b"2"})
    shown = FilteredTree(tree, rules_of_tree(tree, "docs/"))
    assert shown.stat("docs") is None
    assert shown.stat("docs/a.md") is None
    with pytest.raises(FileNotFoundError):
        shown.read("docs/a.md")
    with pytest.raises(FileNotFoundError):
        shown.list("docs")
    assert shown.read("app.yaml") == b"2"
    assert shown.stat("app.yaml/x") is None
    with pytest.raises(NotADirectoryError):
        shown.list("app.yaml")


names = st.sampled_from(["a", "b", "c", "x.md", ".gitignore"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
segments = st.sampled_from(["a", "b", "*", "**", "?", "x.*", "[a-b]", "[", ""])
lines = st.builds(
    lambda mark, parts, end: mark + "/".join(parts) + end,
    st.sampled_from(["", "!"]),
    st.lists(segments, min_size=1, max_size=4),
    st.sampled_from(["", "/"]),
)


@given(st.lists(lines, max_size=5), paths, st.booleans())
def test_rules_do_not_depend_on_what_does_not_match(rules: list[str], path: str, is_dir: bool) -> None:
    parsed = parse_rules("\n".join(rules))
    decision = IgnoreRules(parsed).ignores(path, is_dir=is_dir)
    telling = [rule for rule in parsed if rule.matches(tuple(path.split("/")), is_dir=is_dir)]
    assert decision == (bool(telling) and not telling[-1].brings_back)


@given(st.lists(lines, max_size=4), st.sets(paths, min_size=1, max_size=8))
def test_the_filtered_tree_shows_exactly_the_files_that_are_not_ignored(rules: list[str], candidates: set[str]) -> None:
    content = {path for path in candidates if not any(other.startswith(path + "/") for other in candidates)}
    tree = MemoryTree(dict.fromkeys(content, b""))
    decided = IgnoreRules(parse_rules("\n".join(rules)))
    shown = files(FilteredTree(tree, decided))
    assert sorted(shown) == sorted(path for path in content if not decided.ignores(path, is_dir=False))
