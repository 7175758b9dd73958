"""Models that Git tags promote and take back, while no branch has a new commit (GTO, DVC's model registry)."""

from __future__ import annotations

from typing import Any

from tests.scenarios.conftest import REPO, RunningAgent, Story

DECLARED = "artifacts:\n  churn: {path: models/churn.pkl, type: model}\n"


async def test_a_tag_without_a_commit_promotes_a_model_and_another_takes_it_back(
    story: Story, weir: RunningAgent
) -> None:
    first = story.git.commit({"dvc.yaml": DECLARED, "models/churn.pkl": "1"})
    second = story.git.commit({"models/churn.pkl": "2"})
    story.git.tag("churn@v1.0.0", first, message="the first")
    story.git.tag("churn#prod#1", first, message="to production")
    await story.source()
    await story.look("0", "1")
    before = (await story.until(REPO, "repo", lambda found: found is not None))["status"]

    story.git.tag("churn@v1.1.0", second, message="the second")
    story.git.tag("churn#prod#2", second, message="to production")
    story.git.tag("churn#dev", second)  # a light tag is none of GTO's
    await story.look("2")
    old, new = f"gto:churn@v1.0.0@{first}", f"gto:churn@v1.1.0@{second}"
    await story.event("repo", f"model artifact of File models/churn.pkl: {old} -> {new}")
    assert (await story.event("repo", "model stage[prod]")).startswith("ModelChanged: ")

    story.git.tag("churn#prod!#3", second, message="back")
    await story.look("3")
    await story.event("repo", f"model stage[prod] of File models/churn.pkl: {new} -> {old}")

    story.git.delete_tag("churn@v1.0.0")
    story.git.tag("churn@v1.0.0", second, message="rewritten")
    await story.look("4")
    await story.event("repo", "ModelFloated: model version[v1.0.0]")

    after = (await story.until(REPO, "repo", lambda found: found is not None))["status"]
    assert after["artifact"] == before["artifact"]  # no commit, and nothing to build
    await story.look("5", "6")
    listed: list[Any] = (await weir.get(f"/api/v1/changes?source=GitRepository/{story.namespace}/repo"))["items"]
    records = [item["record"] for item in listed]
    assert {record["cause"] for record in records} == {"tag-event"}
    told = [(record["slot"], record["op"], record["direction"]) for record in records]
    assert sorted(told) == [
        ("artifact", "changed", "unknown"),
        ("stage[prod]", "changed", f"revert-to:{first}"),
        ("stage[prod]", "changed", "unknown"),
        ("version[v1.0.0]", "floated", "unknown"),
    ]
    assert all(item["revision"] == before["artifact"]["revision"] for item in listed)
