"""The tree that builds read from: paths, contents, and the record of what was read."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.tree import (
    Entry,
    Inputs,
    MemoryTree,
    PathEscapeError,
    RecordingTree,
    Stat,
    Tree,
    clean,
    differing,
    touched,
    unchanged,
)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", ""),
        (".", ""),
        ("a", "a"),
        ("./a//b/", "a/b"),
        ("a/../b", "b"),
        ("a/b/../..", ""),
        ("a/..b", "a/..b"),
        ("é/ü", "é/ü"),
    ],
)
def test_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize("path", ["..", "a/../..", "../a", "/", "/etc/passwd", "a\0b", "./../x"])
def test_paths_that_leave_the_tree(path: str) -> None:
    with pytest.raises(PathEscapeError):
        clean(path)


segments = st.text(alphabet="ab.", min_size=0, max_size=3)
paths = st.lists(segments, max_size=6).map("/".join)


@given(paths)
def test_cleaning_is_idempotent_and_never_climbs(path: str) -> None:
    try:
        cleaned = clean(path)
    except PathEscapeError:
        return
    assert clean(cleaned) == cleaned
    assert cleaned == "" or not {"", ".", ".."} & set(cleaned.split("/"))


TREE = MemoryTree({"a/b.txt": b"one", "a/c/d.txt": b"two", "top": b""})


class TestMemoryTree:
    def test_stat(self) -> None:
        assert TREE.stat("") == Stat("dir", 0, "")
        assert TREE.stat("a/c") == Stat("dir", 0, "")
        stat = TREE.stat("a/b.txt")
        assert stat is not None
        assert (stat.kind, stat.size) == ("file", 3)
        assert TREE.stat("a/x") is None
        assert TREE.stat("top/x") is None

    def test_the_same_content_has_the_same_id(self) -> None:
        tree = MemoryTree({"x": b"1", "y": b"1", "z": b"2"})
        ids = [stat.oid for stat in map(tree.stat, "xyz") if stat is not None]
        assert ids[0] == ids[1] != ids[2]

    def test_read_and_list(self) -> None:
        assert TREE.read("a/b.txt") == b"one"
        assert TREE.list("") == (Entry("a", "dir"), Entry("top", "file"))
        assert TREE.list("a") == (Entry("b.txt", "file"), Entry("c", "dir"))

    @pytest.mark.parametrize(
        ("call", "error"),
        [
            (lambda: TREE.read("a"), IsADirectoryError),
            (lambda: TREE.read(""), IsADirectoryError),
            (lambda: TREE.read("x"), FileNotFoundError),
            (lambda: TREE.list("x"), FileNotFoundError),
            (lambda: TREE.list("top"), NotADirectoryError),
        ],
    )
    def test_errors(self, call: Callable[[], object], error: type[Exception]) -> None:
        with pytest.raises(error):
            call()

    @pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"": b""}, {"a/..": b""}])
    def test_a_path_is_a_file_or_a_folder(self, files: dict[str, bytes]) -> None:
        with pytest.raises(ValueError, match="both a file and a folder"):
            MemoryTree(files)

    def test_the_empty_tree(self) -> None:
        assert MemoryTree({}).list("") == ()


names = st.sampled_from(["a", "b", "c"])
files = st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=2), max_size=6)


@st.composite
def trees(draw: st.DrawFn) -> MemoryTree:
    """Trees small enough that two of them are often alike."""
    drawn = draw(files)
    return MemoryTree({p: c for p, c in drawn.items() if not any(q != p and q.startswith(p + "/") for q in drawn)})


operations = st.lists(
    st.tuples(st.sampled_from(["stat", "read", "list"]), st.lists(names, max_size=3).map("/".join)), max_size=6
)


def observe(tree: Tree, wanted: list[tuple[str, str]]) -> list[object]:
    """The answers that a reader sees; of a stat only the kind."""
    seen: list[object] = []
    for operation, path in wanted:
        try:
            if operation == "stat":
                stat = tree.stat(path)
                seen.append(stat and stat.kind)
            else:
                seen.append(tree.read(path) if operation == "read" else tree.list(path))
        except OSError as err:
            seen.append(type(err))
    return seen


@given(trees(), trees(), operations)
def test_unchanged_means_that_every_answer_is_the_same(
    one: MemoryTree, other: MemoryTree, wanted: list[tuple[str, str]]
) -> None:
    recording = RecordingTree(one)
    answers = observe(recording, wanted)
    assert answers == observe(one, wanted)
    assert unchanged(recording.inputs, one)
    assert unchanged(recording.inputs, other) == (observe(other, wanted) == answers)
    again = RecordingTree(other)
    observe(again, wanted)
    assert (again.inputs == recording.inputs) == (again.inputs.digest() == recording.inputs.digest())


class TestRecording:
    def test_what_was_read_listed_and_probed(self) -> None:
        recording = RecordingTree(TREE)
        recording.read("a/b.txt")
        recording.list("a/c")
        recording.stat("top")
        recording.stat("missing")
        with pytest.raises(FileNotFoundError):
            recording.read("gone")
        inputs = recording.inputs
        assert [path for path, _ in inputs.files] == ["a/b.txt"]
        assert [path for path, _ in inputs.folders] == ["a/c"]
        assert inputs.probes == (("gone", None), ("missing", None), ("top", "file"))

    def test_the_order_of_reading_does_not_count(self) -> None:
        one, other = RecordingTree(TREE), RecordingTree(TREE)
        one.read("top")
        one.list("a")
        other.list("a")
        other.read("top")
        assert one.inputs.digest() == other.inputs.digest()

    def test_inputs_survive_being_written_down(self) -> None:
        recording = RecordingTree(TREE)
        recording.read("top")
        recording.stat("x")
        assert msgspec.json.decode(msgspec.json.encode(recording.inputs), type=Inputs) == recording.inputs

    def test_comparing_reads_no_content(self) -> None:
        class Unreadable(MemoryTree):
            def read(self, path: str) -> bytes:
                raise AssertionError(path)

        recording = RecordingTree(TREE)
        recording.read("top")
        assert unchanged(recording.inputs, Unreadable({"top": b""}))
        assert not unchanged(recording.inputs, Unreadable({"top": b"x"}))


FILES = st.dictionaries(
    st.sampled_from(["a/x", "a/y", "a/b/z", "b/x", "b", "c", "d/e/f/g"]), st.sampled_from([b"0", b"1"]), max_size=6
)


def _tree(files: dict[str, bytes]) -> MemoryTree:
    """The files, without those whose folder is a file."""
    return MemoryTree({path: text for path, text in files.items() if not (path.startswith("b/") and "b" in files)})


@given(old=FILES, new=FILES, asked=st.lists(st.sampled_from(["", "a", "a/x", "a/b", "b", "b/x", "d/e/f/g", "no"])))
def test_what_was_observed_is_unchanged_unless_a_differing_path_is_among_it(
    old: dict[str, bytes], new: dict[str, bytes], asked: list[str]
) -> None:
    before, after = _tree(old), _tree(new)
    recording = RecordingTree(before)
    for path in asked:
        stat = recording.stat(path)
        if stat is not None:
            recording.list(path) if stat.kind == "dir" else recording.read(path)
    if not touched(recording.inputs, differing(before, after)):
        assert unchanged(recording.inputs, after)


def test_a_file_that_changed_is_the_only_path_that_differs() -> None:
    before = MemoryTree({"a/b/c": b"0", "a/d": b"0", "e": b"0"})
    after = MemoryTree({"a/b/c": b"1", "a/d": b"0", "e": b"0"})
    assert differing(before, after) == {"a/b/c"}
