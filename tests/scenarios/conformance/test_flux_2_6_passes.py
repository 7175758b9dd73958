"""Flux reference 2.6: what starts a pass, and what a pass without news costs."""

from __future__ import annotations

from pathlib import Path

from testbed.kube import condition
from tests.scenarios.conformance.flux_source import forget, looked, requests, stored
from tests.scenarios.conftest import REPO, RunningAgent, Story, conditions


async def test_a_look_without_news_is_one_listing_and_changes_nothing(story: Story) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    await looked(story, "first")
    source = await stored(story)
    await story.event("repo", "NewArtifact")
    forget(story)
    again = await looked(story, "second")
    # One request says which protocol is spoken, one lists.
    assert [(one.method, one.service) for one in requests(story)] == [("GET", "listing"), ("POST", "listing")]
    assert {**again["status"], "lastHandledReconcileAt": "first"} == source["status"]
    assert conditions(again)["Ready"][2] == f"stored artifact for revision 'main@sha1:{commit}'"
    reasons = [line.partition(":")[0] for line in await story.events("repo")]
    assert reasons == ["NewArtifact"]


async def test_two_of_one_address_share_a_mirror_and_its_fetches(story: Story, weir: RunningAgent) -> None:
    mirrors = weir.log.parent / "mirrors/git"
    story.git.commit({"a.yaml": "a: 1"})
    before = set(mirrors.glob("*")) if mirrors.exists() else set()
    await story.source()
    await stored(story)
    assert len(new := set(mirrors.glob("*")) - before) == 1
    forget(story)
    await story.source("other", ref={"name": "refs/heads/main"}, ignore="*.md")
    await stored(story, "other")
    assert set(mirrors.glob("*")) - before == new
    assert [one for one in requests(story) if one.service == "fetch"] == []
    commit = story.git.commit({"a.yaml": "a: 2"})
    for name in ("repo", "other"):
        await story.request(REPO, name, "news")
    for name in ("repo", "other"):
        await stored(story, name, commit)
    assert len([one for one in requests(story) if one.service == "fetch"]) == 1


async def test_labels_and_annotations_start_nothing(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await stored(story)
    forget(story)
    marks = {"metadata": {"labels": {"team": "models"}, "annotations": {"note": "x"}}}
    await story.admin.patch(*REPO, story.namespace, "repo", marks)
    # Another one's pass, begun later, is over: one of this would be as well.
    await story.source("other", url=story.server.url(f"{story.namespace}-other"))
    story.server.repository(f"{story.namespace}-other").commit({"a.yaml": "x"})
    await story.request(REPO, "other", "go")
    await stored(story, "other")
    assert requests(story) == []
    left = await story.admin.get(*REPO, story.namespace, "repo")
    assert left["status"] == source["status"]
    await story.source(ignore="*.md")
    await stored(story)
    assert requests(story) != []


async def test_the_interval_starts_a_pass(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source(interval="1s")
    await stored(story)
    commit = story.git.commit({"a.yaml": "a: 2"})
    await stored(story, revision=commit)


async def test_a_failure_is_tried_again_long_before_the_interval(story: Story, tmp_path: Path) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    away = story.git.path.rename(tmp_path / "away")
    await story.source(interval="1h")
    failed = await story.failed("repo", "not found", REPO)
    assert conditions(failed)["Reconciling"][1] == "ProgressingWithRetry"
    away.rename(story.git.path)
    await stored(story)


async def test_changes_of_what_goes_in_rebuild_without_a_fetch(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1", "b.md": "x"})
    await story.source()
    before = await stored(story)
    forget(story)
    await story.source(ignore="*.md")
    after = await stored(story)
    assert after["status"]["artifact"]["digest"] != before["status"]["artifact"]["digest"]
    assert after["status"]["artifact"]["revision"] == before["status"]["artifact"]["revision"]
    assert [one for one in requests(story) if one.service == "fetch"] == []


async def test_the_finalizer_comes_first_and_goes_last(story: Story) -> None:
    await story.source(url="http://127.0.0.1:9/x.git")
    failed = await story.failed("repo", "unable to clone", REPO)
    assert failed["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    await story.admin.delete(*REPO, story.namespace, "repo")
    await story.until(REPO, "repo", lambda found: found is None)


async def test_a_missing_include_is_looked_for_again(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source(include=[{"repository": {"name": "later"}}])
    await story.failed("repo", "could not get resource for include 'later'", REPO)
    await story.source("later")
    source = await stored(story)
    assert condition(source, "IncludeUnavailable") == ""
