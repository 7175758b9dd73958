"""Which Kustomizations the record of a file names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from agent.api.kustomization import Kustomization
from agent.controllers.belonging import Belonging
from agent.core.models import Blob, Commit, FileChange, RenderedSet, changes
from agent.core.models.belonging import by_folder, nearest, with_kustomizations
from agent.core.tree import Inputs


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ((("all", ""), ("apps", "apps"), ("chat", "apps/chat"), ("other", "apps/ch")), {"chat"}),
        ((("all", ""), ("other", "apps/chatter")), {"all"}),
        ((("one", "apps"), ("two", "apps")), {"one", "two"}),
        ((("other", "deploy"),), set()),
        ((), set()),
    ],
)
def test_the_nearest_folder_above_counts(folders: Sequence[tuple[str, str]], expected: set[str]) -> None:
    assert nearest("apps/chat/data.dvc", by_folder(folders)) == expected


class Folders(Mapping[str, frozenset[str]]):
    """A thousand folders that only tell of those they are asked about."""

    asked = 0

    def __getitem__(self, folder: str) -> frozenset[str]:
        self.asked += 1
        if folder != "team-7":
            raise KeyError(folder)
        return frozenset({"seven"})

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("nobody has to walk through all of them")

    def __len__(self) -> int:
        return 1000


def test_only_the_folders_above_a_file_are_asked_about() -> None:
    folders = Folders()
    assert nearest("team-7/a/b/data.dvc", folders) == {"seven"}
    assert folders.asked <= 4
    assert nearest("elsewhere/data.dvc", folders) == frozenset()


def kustomization(name: str, path: str, source: str = "repo") -> Kustomization:
    return Kustomization.from_object(
        {
            "metadata": {"namespace": "ml", "name": name},
            "spec": {
                "interval": "10m",
                "prune": True,
                "path": path,
                "sourceRef": {"kind": "GitRepository", "name": source},
            },
        }
    )


def test_readers_and_those_in_whose_folder_it_lies_are_named() -> None:
    listed = [
        kustomization("reader", "./apps"),
        kustomization("holder", "./data"),
        kustomization("outside", "../data"),
        kustomization("stranger", "./data", source="other"),
    ]
    read = {("ml", "reader"): Inputs(files=(("data/train.dvc", "1"),)), ("ml", "stranger"): None}
    belonging = Belonging(lambda: listed, read.get)
    assert belonging.of("GitRepository/ml/repo", {"data/train.dvc", "data/eval.dvc", "top.dvc"}) == {
        "data/train.dvc": ("ml/holder", "ml/reader"),
        "data/eval.dvc": ("ml/holder",),
        "top.dvc": (),
    }


def test_records_of_files_name_them() -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1\n".encode()
    files = [FileChange(path, None, Blob(pointer)) for path in ("a.bin", "b.bin")]
    records = changes(None, RenderedSet(()), files, Commit("1", "2"))
    named = with_kustomizations(records, {"a.bin": ("ml/app",)})
    assert [record.impact.kustomizations for record in named] == [("ml/app",), ()]
    assert [record.id for record in named] == [record.id for record in records]
