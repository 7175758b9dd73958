"""Byte-exact edits: a reference changes, every other byte stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.tree import MemoryTree
from agent.core.writeback.edits import MOST, TooManyPlacesError, proposals, readings
from agent.core.writeback.overlay import OverlayTree

OLD, NEW = "hf://acme/chat@2222222", "hf://acme/chat@1111111"


@pytest.mark.parametrize(
    ("text", "old", "new", "edited"),
    [
        (f"args: [--model={OLD}] # {{}}\n", OLD, NEW, f"args: [--model={NEW}] # {{}}\n"),
        (f'model: "{OLD}"\r\nx: 1\r\n', OLD, NEW, f'model: "{NEW}"\r\nx: 1\r\n'),
        (f"- '{OLD}'", OLD, NEW, f"- '{NEW}'"),
        (f"MODEL_ID={OLD}\nOTHER=1\n", OLD, NEW, f"MODEL_ID={NEW}\nOTHER=1\n"),
        ("- --revision=abc2 # pinned\n", "acme/chat@abc2", "acme/chat@abc1", "- --revision=abc1 # pinned\n"),
        (
            "  newTag: v2   # by hand\n",
            "ghcr.io/acme/server:v2",
            "ghcr.io/acme/server:v1",
            "  newTag: v1   # by hand\n",
        ),
        (
            "  newName: ghcr.io/acme/new\n",
            "ghcr.io/acme/new:v1",
            "ghcr.io/acme/old:v1",
            "  newName: ghcr.io/acme/old\n",
        ),
        (
            f"  digest: sha256:{'b' * 64}\n",
            f"acme/server@sha256:{'b' * 64}",
            f"acme/server@sha256:{'a' * 64}",
            f"  digest: sha256:{'a' * 64}\n",
        ),
        ("base: s3://b\nversion: v2\n", "s3://b/chat/v2/model", "s3://b/chat/v1/model", "base: s3://b\nversion: v1\n"),
    ],
)
def test_the_reference_is_found_as_it_is_written(text: str, old: str, new: str, edited: str) -> None:
    found = [item[0] for item in proposals({"f.yaml": text.encode()}, old, new)]
    assert found == [{"f.yaml": edited.encode()}]


def test_every_place_is_a_proposal_of_its_own() -> None:
    files = {"a.yaml": f"x: {OLD} # was {OLD}\n".encode(), "b.yaml": f"y: {OLD}\n".encode()}
    found = [item[0] for item in proposals(files, OLD, NEW)]
    assert len(found) == 3
    assert all(len(changed) == 1 for changed in found)


def test_name_and_revision_that_stand_apart_change_together() -> None:
    text = "--model=acme/new\n--revision=abc2\n"
    found = [item[0] for item in proposals({"f": text.encode()}, "acme/new@abc2", "acme/old@abc1")]
    assert {"f": b"--model=acme/old\n--revision=abc1\n"} in found


def test_what_would_be_read_as_a_number_comes_with_quotes_as_well() -> None:
    (item,) = proposals({"f": b"newTag: v2\n"}, "acme/server:v2", "acme/server:1.10")
    assert item == ({"f": b"newTag: 1.10\n"}, {"f": b'newTag: "1.10"\n'})
    (quoted,) = proposals({"f": b'newTag: "1.11"\n'}, "acme/server:1.11", "acme/server:1.10")
    assert quoted == ({"f": b'newTag: "1.10"\n'},)


@pytest.mark.parametrize("text", [f"x: {OLD}2\n", f"x: {OLD}.old\n", "x: 1\n", f"x: {NEW}\n"])
def test_parts_of_other_words_are_not_the_reference(text: str) -> None:
    assert proposals({"f": text.encode()}, OLD, NEW) == []


def test_large_files_and_files_that_are_no_text_are_left_alone() -> None:
    assert proposals({"f": OLD.encode() + b"\0", "g": OLD.encode() + b"\n" * (1 << 20)}, OLD, NEW) == []


def test_a_word_that_stands_everywhere_is_given_up() -> None:
    with pytest.raises(TooManyPlacesError):
        proposals({"f": b"v2\n" * (MOST + 1)}, "acme/server:v2", "acme/server:v1")


_WORDS = st.text("abcdefgh0123456789", min_size=3, max_size=12)
_FILLER = st.text("xyz: #'\"\n\t-=é€", max_size=40)


@given(_WORDS, _WORDS, _WORDS, _FILLER, _FILLER, st.sampled_from(["hf://org/{}@{}", "reg.io/{}:{}", "s3://b/{}/{}/m"]))
def test_only_the_reference_changes(name: str, old: str, new: str, before: str, after: str, form: str) -> None:
    rejected, restored = form.format(name, old), form.format(name, new)
    head, tail = f"{before} ".encode(), f" {after}".encode()
    data = head + rejected.encode() + tail
    found = [item[0] for item in proposals({"f": data}, rejected, restored)]
    if old == new:
        assert all(changed["f"] == data for changed in found)
        return
    assert {"f": head + restored.encode() + tail} in found
    for changed in found:
        assert changed["f"].startswith(head)
        assert changed["f"].endswith(tail)


@given(_WORDS, _WORDS)
def test_no_reading_is_empty_or_changes_nothing(old: str, new: str) -> None:
    for way in readings(f"hf://{old}@{old}", f"hf://{new}@{old}"):
        assert all(piece.old and piece.new for piece in way)


def test_a_tree_with_other_contents() -> None:
    tree = MemoryTree({"a/f": b"1", "a/g": b"2"})
    over = OverlayTree(tree, {"a/f": b"one"})
    assert (over.read("a/f"), over.read("a/g"), over.list("a")) == (b"one", b"2", tree.list("a"))
    stat, old = over.stat("a/f"), tree.stat("a/f")
    assert stat is not None
    assert old is not None
    assert (stat.size, stat.oid != old.oid) == (3, True)
    assert over.stat("a/h") is None
