"""Flux reference 4.13 (and the Event of 4.15): what a Kustomization tells, in which words, order and annotations."""

from __future__ import annotations

import re
from typing import Any

from tests.scenarios.conftest import KS, Story

GROUP = "kustomize.toolkit.fluxcd.io"
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
REASONS = {"Progressing", "ReconciliationSucceeded", "ReconciliationFailed", "DependencyNotReady"}
FINISHED = re.compile(r"Reconciliation finished in [0-9.ms]+, next run in 10m0s")


async def _told(story: Story, text: str, name: str = "app", times: int = 1) -> list[dict[str, Any]]:
    """What was told until that text was, so many times, in order; what is about models and data is left out."""

    def enough(found: list[dict[str, Any]]) -> bool:
        return sum(text in event["message"] for event in found) >= times

    return [event for event in await story.told(name, enough) if event["reason"] in REASONS]


async def test_a_new_revision_tells_of_changes_pruning_health_and_its_end(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x"), "b.yaml": CONFIG % ("b", "x")})
    await story.source()
    await story.kustomization(wait=True)
    await story.ready()
    first = await _told(story, "Reconciliation finished")
    here = story.namespace
    assert [(event["reason"], event["message"]) for event in first[:1]] == [
        ("Progressing", f"ConfigMap/{here}/a created\nConfigMap/{here}/b created")
    ]

    commit = story.git.commit({"a.yaml": CONFIG % ("a", "y"), "b.yaml": None, "d.yaml": CONFIG % ("d", "x")})
    await story.pull("second")
    await story.ready(revision=commit)
    second = (await _told(story, "Reconciliation finished", times=2))[len(first) :]
    changes, pruned, healthy, finished = second
    assert changes["message"] == f"ConfigMap/{here}/a configured\nConfigMap/{here}/d created"
    assert pruned["message"] == f"ConfigMap/{here}/b deleted"
    assert healthy["message"].startswith("Health check passed in ")
    assert FINISHED.fullmatch(finished["message"])
    assert [event["reason"] for event in second] == ["Progressing"] * 3 + ["ReconciliationSucceeded"]
    revision = {f"{GROUP}/revision": f"main@sha1:{commit}"}
    assert [event["metadata"]["annotations"] for event in second[:3]] == [revision] * 3
    assert finished["metadata"]["annotations"] == {**revision, f"{GROUP}/commit_status": "update"}
    assert {event["type"] for event in second} == {"Normal"}


async def test_an_event_has_the_shape_of_fluxs(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x")})
    await story.source()
    applied = await story.kustomization()
    (changes, *_) = await _told(story, "Reconciliation finished")
    assert re.fullmatch(r"app\.[0-9a-f]{16}", changes["metadata"]["name"])
    assert changes["metadata"]["namespace"] == story.namespace
    about = changes["involvedObject"]
    assert about.pop("resourceVersion")
    assert about == {
        "apiVersion": KS[0],
        "kind": KS[1],
        "namespace": story.namespace,
        "name": "app",
        "uid": applied["metadata"]["uid"],
    }
    assert changes["source"] == {"component": "kustomize-controller"}
    assert changes["reportingComponent"] == "kustomize-controller"


async def test_a_failure_is_a_warning_with_the_reason_and_text_of_the_condition(story: Story) -> None:
    commit = story.git.commit({"a.yaml": CONFIG % ("Not_Valid", "x")})
    await story.source()
    await story.kustomization(retryInterval="1h")
    failed = await story.failed(text="dry-run failed")
    (event,) = await _told(story, "dry-run failed")
    (ready,) = (entry for entry in failed["status"]["conditions"] if entry["type"] == "Ready")
    assert (event["type"], event["reason"]) == ("Warning", "ReconciliationFailed")
    assert event["message"].strip() == ready["message"].strip()
    assert event["metadata"]["annotations"] == {f"{GROUP}/revision": f"main@sha1:{commit}"}


async def test_a_failure_that_repeats_itself_is_counted_in_one_event(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("Not_Valid", "x")})
    await story.source()
    await story.kustomization(retryInterval="1s")
    first, second, third = await _told(story, "dry-run failed", times=3)
    assert [event["count"] for event in (first, second, third)] == [1, 2, 3]
    assert len({event["metadata"]["name"] for event in (first, second, third)}) == 1
    assert first["firstTimestamp"] == third["firstTimestamp"] < third["lastTimestamp"]


async def test_every_requested_pass_tells_that_it_is_finished(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization()
    before = await _told(story, "Reconciliation finished")
    await story.request(KS, "app", "again")
    told = await _told(story, "Reconciliation finished", times=2)
    assert FINISHED.fullmatch(told[-1]["message"])
    assert told[-1]["metadata"]["annotations"][f"{GROUP}/commit_status"] == "update"
    assert len(told) == len(before) + 1


async def test_passes_without_news_are_told_of_together_every_ten_minutes(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(interval="1s")
    found = await story.ready()
    (entry,) = found["status"]["history"]
    told = {**entry, "firstReconciled": "2026-01-02T03:00:00Z", "lastReconciled": "2026-01-02T03:04:05Z"}
    await story.admin.patch(*KS, story.namespace, "app", {"status": {"history": [told]}}, subresource="status")
    found = await story.until(
        KS,
        "app",
        lambda now: (now or {})["status"]["history"][0]["totalReconciliations"] > entry["totalReconciliations"],
    )
    (again,) = found["status"]["history"]
    assert again["totalReconciliations"] == entry["totalReconciliations"] + 1
    assert (again["firstReconciled"], again["lastReconciledStatus"]) == (
        "2026-01-02T03:00:00Z",
        "ReconciliationSucceeded",
    )
    assert again["lastReconciled"] >= entry["lastReconciled"]
    await _told(story, "Reconciliation finished", times=2)


async def test_health_is_told_again_only_after_it_was_lost_or_with_a_new_revision(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization(wait=True)
    await _told(story, "Reconciliation finished")
    story.git.commit({"readme.md": "hello"})
    await story.pull("readme")
    told = await _told(story, "Reconciliation finished", times=2)
    healthy = [event for event in told if event["message"].startswith("Health check passed")]
    assert len(healthy) == 1


async def test_annotations_for_events_are_in_every_event(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization(suspend=True)
    wanted = {"event.toolkit.fluxcd.io/change_request": "33", "event.toolkit.fluxcd.io/commit": "c0ffee"}
    patch = {"metadata": {"annotations": {**wanted, "team": "serving"}}}
    await story.admin.patch(*KS, story.namespace, "app", patch)
    await story.kustomization()
    for event in await _told(story, "Reconciliation finished"):
        annotations = event["metadata"]["annotations"]
        assert annotations.items() >= wanted.items()
        assert "team" not in annotations


async def test_a_source_or_a_dependency_that_is_missing_tells_no_failure(story: Story) -> None:
    await story.kustomization("no-source", retryInterval="1s")
    await story.failed("no-source", "not found")
    commit = story.git.commit({"a.yaml": CONFIG % ("a", "x")})
    await story.source()
    await story.kustomization("waiting", dependsOn=[{"name": "none"}])
    (event, *_) = await _told(story, "Dependencies do not meet", name="waiting")
    assert (event["type"], event["reason"]) == ("Normal", "DependencyNotReady")
    assert event["message"] == "Dependencies do not meet ready condition, retrying in 1s"
    assert event["metadata"]["annotations"] == {f"{GROUP}/revision": f"main@sha1:{commit}"}
    assert not [line for line in await story.events("no-source") if line.startswith("ArtifactFailed")]
