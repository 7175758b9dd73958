"""Versions and stages of models that tags between two revisions have (GTO)."""

from __future__ import annotations

import os
import subprocess

from tests.plan.plan_repository import PlanRepository

DECLARED = "artifacts:\n  nn: {path: models/nn.pkl, type: model}\n  set: {path: data/set, type: dataset}\n"


def tag(repository: PlanRepository, name: str, commit: str, at: int = 0) -> None:
    """An annotated tag, made so many seconds after the epoch's first billion."""
    environment = {**os.environ, "GIT_COMMITTER_DATE": f"{1_000_000_000 + at} +0000"}
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    arguments = ["git", *identity, "tag", "--annotate", "--message", name, name, commit]
    subprocess.run(arguments, cwd=repository.folder, env=environment, check=True)


def told(repository: PlanRepository, *revisions: str) -> list[tuple[str, str, str, str]]:
    found = repository.plan(*revisions).changes
    assert {change["cause"] for change in found} <= {"tag-event"}
    return [
        (change["object"]["name"], change["slot"], change["op"], (change["new"] or {}).get("spelling", ""))
        for change in found
    ]


def test_tags_on_commits_of_the_new_revision_alone_are_told(repository: PlanRepository) -> None:
    first = repository.commit({"dvc.yaml": DECLARED})
    second = repository.commit({"README.md": "2"})
    third = repository.commit({})
    repository.git("tag", "nn@v9.0.0", second)  # a light one
    tag(repository, "nn@v1.0.0", first)
    tag(repository, "nn#prod#1", first)
    tag(repository, "nn@v1.1.0", second)
    tag(repository, "nn#prod#2", second)
    tag(repository, "set@v0.1.0", third)
    assert told(repository, first, second) == [
        ("models/nn.pkl", "artifact", "changed", "nn@v1.1.0"),
        ("models/nn.pkl", "stage[prod]", "changed", "nn#prod#2"),
    ]
    # nothing but the tag
    assert told(repository, second, third) == [("data/set", "artifact", "added", "set@v0.1.0")]
    assert told(repository, third, first) == []
    assert told(repository, first, first) == []
    (found,) = repository.plan(second, third).changes
    assert (found["kind"], found["action"]) == ("data", "job")
    assert (found["location"]["file"], found["location"]["jsonPath"]) == ("dvc.yaml", "$.artifacts.set")
    assert (found["new"]["pinned"], found["new"]["identity"]["revision"]) == (True, third)
    assert repository.plan(second, third).changes[0]["id"] == found["id"]


def test_tags_of_another_branch_are_not_taken_away(repository: PlanRepository) -> None:
    repository.commit({"dvc.yaml": DECLARED})
    repository.git("checkout", "--quiet", "-b", "topic")
    topic = repository.commit({"b": "1"})
    repository.git("checkout", "--quiet", "main")
    main = repository.commit({"c": "1"})
    tag(repository, "nn@v1.0.0", main)
    assert told(repository, main, topic) == []
    assert told(repository, topic, main) == [("models/nn.pkl", "artifact", "added", "nn@v1.0.0")]


def test_releases_of_what_nobody_calls_a_model_are_none(repository: PlanRepository) -> None:
    repository.commit({"dvc.yaml": DECLARED})
    head = repository.commit({"a": "2"})
    tag(repository, "api@v1.0.0", head)
    assert told(repository) == []
    tag(repository, "nn@v1.0.0", head)
    tag(repository, "api#prod#1", head)
    assert told(repository) == [
        ("api", "artifact", "added", "api@v1.0.0"),
        ("api", "stage[prod]", "added", "api#prod#1"),
        ("models/nn.pkl", "artifact", "added", "nn@v1.0.0"),
    ]


def test_tags_go_by_their_time_where_nothing_else_tells(repository: PlanRepository) -> None:
    repository.commit({"a": "1"})
    head = repository.commit({"a": "2"})
    tag(repository, "nn#prod!", head, at=1)
    tag(repository, "nn#prod", head, at=2)
    assert told(repository) == [("nn", "stage[prod]", "added", "nn#prod")]


def test_the_first_commit_and_tags_of_files_and_folders(repository: PlanRepository) -> None:
    first = repository.commit({"folder/a": "1"})
    tag(repository, "nn#prod", first)
    tag(repository, "nn@v1.0.0", first)
    tag(repository, "nn@v2.0.0", f"{first}^{{tree}}")
    tag(repository, "nn@v3.0.0", f"{first}:folder/a")
    assert told(repository) == [
        ("nn", "artifact", "added", "nn@v1.0.0"),
        ("nn", "stage[prod]", "added", "nn#prod"),
    ]
    assert told(repository, f"{first}^{{tree}}", first) == []
    text = repository.plan(output="text").out
    assert "+ model artifact" in text
    assert f"gto:nn@v1.0.0@{first[:12]}" in text
