"""Flux reference 2.8: the events about a GitRepository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.scenarios.conformance.flux_source import looked, stored
from tests.scenarios.conftest import REPO, Story, message


async def first(story: Story, reason: str) -> dict[str, Any]:
    """The first event about the repository with a reason, once it is there."""
    return (await story.told("repo", lambda told: told[-1]["reason"] == reason))[-1]


async def test_a_new_artifact_is_told_with_its_commit(story: Story) -> None:
    subject = "Serve the larger model everywhere, with twice the context and half the price"
    commit = story.git.commit({"a.yaml": "a: 1"}, f"{subject}\n\nAnd more.\n")
    await story.source()
    source = await stored(story)
    told = await first(story, "NewArtifact")
    assert told["message"] == f"stored artifact for commit '{subject[:50]}'"
    assert told["type"] == "Normal"
    assert told["source"]["component"] == "source-controller"
    assert told["metadata"]["annotations"] == {
        "source.toolkit.fluxcd.io/revision": f"main@sha1:{commit}",
        "source.toolkit.fluxcd.io/digest": source["status"]["artifact"]["digest"],
    }


async def test_the_same_content_in_another_commit_is_no_new_artifact(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    await stored(story)
    commit = story.git.force_push({"a.yaml": "a: 1"}, "the same again\n")
    await looked(story, "same")
    await stored(story, revision=commit)
    await story.source("other")
    await stored(story, "other")
    await story.event("other", "NewArtifact")  # events come in order: what was to be told before this is
    assert [line.partition(":")[0] for line in await story.events("repo")] == ["NewArtifact"]


async def test_a_failure_is_a_warning_and_its_end_is_told(story: Story, tmp_path: Path) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"}, "first\n")
    await story.source()
    source = await stored(story)
    away = story.git.path.rename(tmp_path / "away")
    await story.pull("away")
    failed = await story.failed("repo", "not found", REPO)
    warning = await first(story, "GitOperationFailed")
    assert warning["type"] == "Warning"
    assert warning["message"] == message(failed)
    away.rename(story.git.path)
    await story.pull("back")
    await stored(story)
    told = await first(story, "Succeeded")
    # Nothing had to be fetched, so there is no commit to quote.
    assert told["message"] == f"stored artifact for commit 'main@sha1:{commit}'"
    assert told["type"] == "Normal"
    assert told["metadata"]["annotations"]["source.toolkit.fluxcd.io/digest"] == source["status"]["artifact"]["digest"]


async def test_a_missing_include_is_no_warning(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source(include=[{"repository": {"name": "absent"}}])
    told = await first(story, "NotFound")
    assert told["type"] == "Normal"
