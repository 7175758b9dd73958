"""What differs between two states of a registry in tags, as records."""

from __future__ import annotations

import pytest

from agent.core.models import ChangeRecord, Commit, FileRule, Rules
from agent.core.models.gto import ARTIFACTS, KEPT, Tag, registry
from agent.core.models.tagevents import Declared, declared, tag_changes, tag_records

A, B, C = (digit * 40 for digit in "abc")
MAIN = Commit("main@sha1:1", "main@sha1:1")
V1, V2 = ("nn@v1.0.0", A), ("nn@v2.0.0", B)
Tags = list[tuple[str, str]]


def records(before: Tags, after: Tags, place: Declared | None = None, rules: Rules | None = None) -> list[ChangeRecord]:
    states = [registry(Tag(name, name, commit) for name, commit in tags) for tags in (before, after)]
    return tag_records(
        tag_changes(*states), {"nn": place or Declared("nn")}, MAIN, rules=rules if rules is not None else Rules()
    )


def shown(record: ChangeRecord) -> tuple[str, str, str | None, str | None]:
    old, new = (ref.canonical.removeprefix("gto:") if ref else None for ref in (record.old, record.new))
    return record.slot, record.op, old, new


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param([V1], [V1], [], id="nothing"),
        pytest.param([], [V1], [("artifact", "added", None, f"nn@v1.0.0@{A}")], id="first version"),
        pytest.param([V1], [V1, V2], [("artifact", "changed", f"nn@v1.0.0@{A}", f"nn@v2.0.0@{B}")], id="a version"),
        pytest.param([V2], [V1, V2], [], id="a lower version is not the latest"),
        pytest.param([V1, V2], [V1], [("artifact", "changed", f"nn@v2.0.0@{B}", f"nn@v1.0.0@{A}")], id="undone"),
        pytest.param([V1], [], [("artifact", "removed", f"nn@v1.0.0@{A}", None)], id="gone"),
        pytest.param(
            [V1, V2, ("nn#prod#1", A)],
            [V1, V2, ("nn#prod#1", A), ("nn#prod#2", B)],
            [("stage[prod]", "changed", f"nn@v1.0.0@{A}", f"nn@v2.0.0@{B}")],
            id="a stage",
        ),
        pytest.param(
            [V1, ("nn#prod#1", A)], [V1, ("nn#prod#1", A), ("nn#prod#2", A)], [], id="assigned to the same once more"
        ),
        pytest.param(
            [("nn#prod#1", A)], [V1, ("nn#prod#1", A)], [("artifact", "added", None, f"nn@v1.0.0@{A}")], id="named"
        ),
        pytest.param(
            [V1, ("nn#prod#1", A)],
            [V1, ("nn#prod#1", A), ("nn#prod!#2", A)],
            [("stage[prod]", "removed", f"nn@v1.0.0@{A}", None)],
            id="unassigned",
        ),
        pytest.param(
            [V1], [("nn@v1.0.0", C)], [("artifact", "floated", f"nn@v1.0.0@{A}", f"nn@v1.0.0@{C}")], id="moved"
        ),
        pytest.param(
            [V1, V2],
            [("nn@v1.0.0", C), V2],
            [("version[v1.0.0]", "floated", f"nn@v1.0.0@{A}", f"nn@v1.0.0@{C}")],
            id="an earlier one moved",
        ),
        pytest.param(
            [V1],
            [("nn@v1.0.0", C), V2],
            [
                ("artifact", "changed", f"nn@v1.0.0@{A}", f"nn@v2.0.0@{B}"),
                ("version[v1.0.0]", "floated", f"nn@v1.0.0@{A}", f"nn@v1.0.0@{C}"),
            ],
            id="moved under a new one",
        ),
    ],
)
def test_what_is_told(before: Tags, after: Tags, told: list[tuple[str, str, str | None, str | None]]) -> None:
    found = records(before, after)
    assert [shown(record) for record in found] == told
    assert {record.cause for record in found} <= {"tag-event"}
    assert len({record.id for record in found}) == len(found)
    assert [record.id for record in records(before, after)] == [record.id for record in found]


def test_a_record_names_the_file_the_tag_and_the_commit() -> None:
    (found,) = records([V1], [V1, V2], Declared("models/nn.pkl", "model", "dvc.yaml", "$.artifacts.nn"))
    assert (found.object.kind, found.object.name) == ("File", "models/nn.pkl")
    assert (found.location.file, found.location.json_path) == ("dvc.yaml", "$.artifacts.nn")
    assert found.new is not None
    assert found.new.identity is not None
    assert (found.new.spelling, found.new.scheme, found.new.pinned) == ("nn@v2.0.0", "gto", True)
    assert (found.new.identity.revision, found.new.identity.version) == (B, "v2.0.0")
    assert (found.kind, found.action, found.commit) == ("model", "rollout", MAIN)
    assert found.describe() == f"model artifact of File models/nn.pkl: gto:nn@v1.0.0@{A} -> gto:nn@v2.0.0@{B}"


def test_an_artifact_that_nobody_declares_is_at_its_tag() -> None:
    (found,) = records([], [V1])
    assert (found.object.name, found.location.file, found.location.json_path) == ("nn", None, "refs/tags/nn@v1.0.0")


def test_a_moved_tag_is_a_finding() -> None:
    (found,) = records([V1], [("nn@v1.0.0", C)])
    assert (found.action, found.reason.code) == ("alert", "moved-tag")


def test_data_starts_jobs_and_rules_of_ones_own_count() -> None:
    place = Declared("data/train", "data", "artifacts.yaml", "$.nn")
    (found,) = records([V1], [V1, V2], place)
    assert (found.kind, found.action) == ("data", "job")
    (found,) = records([V1], [V1, V2], place, Rules(files=(FileRule("data/*", "adapter"),)))
    assert found.kind == "adapter"


def test_a_stage_that_goes_back_says_so() -> None:
    states = [
        registry(Tag(name, name, commit) for name, commit in tags)
        for tags in ([V1, V2, ("nn#prod#1", A), ("nn#prod#2", B)], [V1, V2, ("nn#prod#1", A)])
    ]
    (found,) = tag_records(
        tag_changes(*states), {"nn": Declared("nn")}, MAIN, history=lambda _key, _slot, _ref: "main@sha1:0"
    )
    assert (found.direction, found.reason.code) == (f"revert-to:{A}", "revert")


def test_what_has_no_room_is_neither_new_nor_gone() -> None:
    many = [Tag(f"n{number:04}@v1.0.0", "", A) for number in range(1000)]
    full, less = registry(many), registry(many[1:])
    assert len(full) == len(less) == ARTIFACTS
    assert list(tag_changes(full, less)) == list(tag_changes(less, full)) == []
    moved = registry([Tag("n0001@v1.1.0", "", B), *many])
    assert [change.artifact for change in tag_changes(full, moved)] == ["n0001"]
    stages = [Tag(f"nn#s{number:03}#{number + 1}", "", A) for number in range(100)]
    assert len(registry(stages)["nn"].stages) == KEPT
    assert list(tag_changes(registry(stages), registry(stages[1:]))) == []


DVC = b"artifacts:\n  nn: {path: models/nn.pkl, type: model}\n  set: {path: train, type: dataset}\n"


@pytest.mark.parametrize(
    ("artifact", "files", "place"),
    [
        ("nn", {}, Declared("nn")),
        ("nn", {"dvc.yaml": DVC}, Declared("models/nn.pkl", "model", "dvc.yaml", "$.artifacts.nn")),
        ("set", {"dvc.yaml": DVC}, Declared("train", "data", "dvc.yaml", "$.artifacts.set")),
        ("a/b:nn", {"dvc.yaml": b"", "a/b/dvc.yaml": DVC},
         Declared("a/b/models/nn.pkl", "model", "a/b/dvc.yaml", "$.artifacts.nn")),
        ("nn", {"dvc.yaml": b"stages: {}", "artifacts.yaml": b"nn: {type: data, path: x}"},
         Declared("x", "data", "artifacts.yaml", "$.nn")),
        ("nn", {"artifacts.yaml": b"nn: {type: metrics}"}, Declared("nn", "model", "artifacts.yaml", "$.nn")),
        ("nn", {"artifacts.yaml": b"nn: {path: ../../etc}"}, Declared("nn", "model", "artifacts.yaml", "$.nn")),
        ("nn", {"artifacts.yaml": b"nn: {path: /etc}"}, Declared("nn", "model", "artifacts.yaml", "$.nn")),
        ("nn", {"artifacts.yaml": b"nn: {path: [a], type: [b]}"}, Declared("nn", "model", "artifacts.yaml", "$.nn")),
        ("nn", {"artifacts.yaml": b"nn: text"}, Declared("nn")),
        ("nn", {"artifacts.yaml": b"{"}, Declared("nn")),
        ("nn", {"artifacts.yaml": b"- nn"}, Declared("nn")),
        ("../x:nn", {"../x/dvc.yaml": DVC}, Declared("../x:nn")),
    ],
)  # fmt: skip
def test_what_files_declare(artifact: str, files: dict[str, bytes], place: Declared) -> None:
    assert declared(artifact, files.get) == place
