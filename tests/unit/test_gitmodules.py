"""Reading `.gitmodules`, which anybody who can push writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.gitmodules import Submodule, SubmoduleError, parse_gitmodules, submodule_url

PARENT = "https://user@git.example.org:8443/serving/models.git"


def test_sections_with_path_and_url_are_submodules() -> None:
    text = """
    # what we serve
    [submodule "weights"]
        path = data/weights
        url = ../weights.git
        branch = main
    [core] bare = true
    [submodule "tok\\"enizer"] ; the other one
        URL = "https://git.example.org/tok#1.git" # with a comment
        path = "tokenizer dir"
    [submodule "nowhere"]
        path = x
    """
    assert parse_gitmodules(text) == (
        Submodule("weights", "data/weights", "../weights.git"),
        Submodule('tok"enizer', "tokenizer dir", "https://git.example.org/tok#1.git"),
    )


def test_the_last_word_counts_and_lines_go_on() -> None:
    text = '[submodule "a"]\npath=a\nurl=one\nurl = t\\\nwo\r\n[submodule "b"]\npath=./a/\nurl=three\n'
    assert parse_gitmodules(text) == (Submodule("b", "a", "three"),)


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../..", ".git", "a/.git/hooks", "."])
def test_paths_out_of_the_repository_are_refused(path: str) -> None:
    with pytest.raises(SubmoduleError, match="submodule 's'"):
        parse_gitmodules(f'[submodule "s"]\npath = {path}\nurl = ../x\n')


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("../weights.git", "https://user@git.example.org:8443/serving/weights.git"),
        ("../../other/weights.git", "https://user@git.example.org:8443/other/weights.git"),
        ("./sub.git", "https://user@git.example.org:8443/serving/models.git/sub.git"),
        ("https://elsewhere.example.org/x.git", "https://elsewhere.example.org/x.git"),
        ("ssh://git@elsewhere.example.org/x.git", "ssh://git@elsewhere.example.org/x.git"),
        ("git@elsewhere.example.org:team/x.git", "ssh://git@elsewhere.example.org/team/x.git"),
        ("elsewhere.example.org:/x.git", "ssh://elsewhere.example.org/x.git"),
    ],
)
def test_addresses(url: str, found: str) -> None:
    assert submodule_url(PARENT, url) == found


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc", "/srv/git/x.git", "git://host/x", "ext::sh -c id", "-oProxyCommand=id", "--upload-pack=id"),
        *("../../../x.git", "https://host/a\nb", "ftp://host/x", "javascript://x"),
    ],
)
def test_what_is_not_for_the_network_is_refused(url: str) -> None:
    with pytest.raises(SubmoduleError):
        submodule_url(PARENT, url)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_gitmodules(f'[submodule "s"]\n{text}')
    except SubmoduleError:
        return
    for one in found:
        assert one.path
        assert ".." not in one.path.split("/")
        assert not one.path.startswith("/")


@given(st.text(max_size=60))
def test_any_address_stays_on_the_network(url: str) -> None:
    try:
        found = submodule_url(PARENT, url)
    except SubmoduleError:
        return
    assert found.partition("://")[0] in {"http", "https", "ssh"}
