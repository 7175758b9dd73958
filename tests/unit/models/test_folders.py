"""What a record says about the files of a folder that DVC tracks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agent.core.models import Blob, ChangeRecord, Commit, FileChange, RenderedSet, changes
from agent.core.models.folders import is_folder, with_files

OLD, NEW = "a" * 32, "b" * 32


def change(old: str, new: str) -> ChangeRecord:
    sides = [Blob(f"outs:\n- md5: {digest}\n  path: data\n".encode()) for digest in (old, new)]
    (record,) = changes(None, RenderedSet(()), [FileChange("data.dvc", *sides)], Commit("1", "2"))
    return record


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": "1"}, {"a": "1", "b": "2"}, "1 added: b"),
        ({"a": "1", "b": "2"}, {"b": "2"}, "1 removed: a"),
        ({"a": "1", "b": "2", "c": "3"}, {"b": "4", "c": "3", "d": "1"}, "1 added: d; 1 changed: b; 1 removed: a"),
        ({}, {str(name): "1" for name in range(7)}, "7 added: 0, 1, 2, 3, 4 and 2 more"),
        ({"a": "1"}, {"a": "1"}, "the same files"),
        ({}, {"x\ny": "1"}, "1 added: x?y"),
        ({}, {"x" * 100: "1"}, f"1 added: …{'x' * 79}"),
    ],
)
def test_files_are_counted_and_some_are_named(old: Mapping[str, str], new: Mapping[str, str], told: str) -> None:
    record = change(f"{OLD}.dir", f"{NEW}.dir")
    listings = {f"dvc:md5:{OLD}.dir": old, f"dvc:md5:{NEW}.dir": new}
    (found,) = with_files([record], listings)
    assert (found.id, found.action, found.reason.message) == (record.id, "job", told)
    assert found.describe() == f"{record.describe()} ({told})"


@pytest.mark.parametrize(
    ("old", "new", "listed"),
    [
        (f"{OLD}.dir", f"{NEW}.dir", (OLD,)),
        (f"{OLD}.dir", f"{NEW}.dir", ()),
        (OLD, f"{NEW}.dir", (OLD, NEW)),
        (OLD, NEW, (OLD, NEW)),
    ],
)
def test_without_both_listings_nothing_is_said(old: str, new: str, listed: tuple[str, ...]) -> None:
    record = change(old, new)
    listings = {f"dvc:md5:{digest}.dir": {"a": "1"} for digest in listed}
    assert with_files([record], listings) == [record]
    assert is_folder(record) is (old.endswith(".dir") and new.endswith(".dir"))
