"""Flux reference 4.12 and 4.15: the fields of the status, and their shape as a whole."""

from __future__ import annotations

import re
from typing import Any

from tests.scenarios.conftest import KS, REPO, Story, conditions, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  progressDeadlineSeconds: 1
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec: {containers: [{name: server, image: "vllm:v1"}]}
"""
DURATION = r"([0-9.]+(h|m|s|ms|µs))+"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def _endings(found: dict[str, Any]) -> list[tuple[str, int]]:
    """How the entries of the history ended, and how often, newest first."""
    return [
        (entry["lastReconciledStatus"], entry["totalReconciliations"]) for entry in found["status"].get("history", [])
    ]


async def _commit(story: Story, text: str) -> str:
    """Commit one ConfigMap and have it fetched."""
    commit = story.git.commit({"c.yaml": text})
    await story.pull(commit)
    return commit


async def test_a_healthy_one_in_full(story: Story) -> None:
    commit = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    revision = f"main@sha1:{commit}"
    await story.source()
    await story.kustomization(wait=True)
    await story.ready()
    await story.request(KS, "app", "asked")
    found = await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "asked")
    status = found["status"]
    assert set(status) == {
        "observedGeneration",
        "lastHandledReconcileAt",
        "lastAppliedRevision",
        "lastAttemptedRevision",
        "inventory",
        "history",
        "conditions",
    }
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert (status["lastAppliedRevision"], status["lastAttemptedRevision"]) == (revision, revision)
    assert status["inventory"] == {"entries": [{"id": f"{story.namespace}_c__ConfigMap", "v": "v1"}]}
    (entry,) = status["history"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", entry["digest"])
    assert re.fullmatch(TIME, entry["firstReconciled"])
    assert entry["firstReconciled"] <= entry["lastReconciled"]
    assert re.fullmatch(DURATION, entry["lastReconciledDuration"])
    assert entry["lastReconciledStatus"] == "ReconciliationSucceeded"
    assert entry["totalReconciliations"] == 2
    assert entry["metadata"] == {"revision": revision}
    assert list(conditions(found)) == ["Ready", "Healthy"]
    assert conditions(found)["Ready"] == ("True", "ReconciliationSucceeded", f"Applied revision: {revision}")
    assert conditions(found)["Healthy"][:2] == ("True", "Succeeded")
    assert re.fullmatch(f"Health check passed in ({DURATION}|0s)", message(found, "Healthy"))
    assert {entry["observedGeneration"] for entry in status["conditions"]} == {found["metadata"]["generation"]}


async def test_the_same_one_when_its_next_generation_does_not_become_healthy(story: Story) -> None:
    first = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(wait=True, timeout="5m")
    await story.ready()
    await story.suspend(wait=True, timeout="5m")
    second = story.git.commit({"d.yaml": DEPLOYMENT})
    await story.pull("second")
    await story.until(REPO, "repo", lambda found: second in found["status"]["artifact"]["revision"])
    changed = await story.kustomization(wait=True, timeout="5m", namePrefix="new-")
    found = await story.failed(text="health check failed after")
    status, generation = found["status"], changed["metadata"]["generation"]
    assert status["observedGeneration"] == generation - 1
    assert status["lastAttemptedRevision"] == f"main@sha1:{second}"
    assert status["lastAppliedRevision"] == f"main@sha1:{first}"
    assert {entry["id"] for entry in status["inventory"]["entries"]} == {
        f"{story.namespace}_new-c__ConfigMap",
        f"{story.namespace}_new-chat_apps_Deployment",
    }
    step = f"Running health checks for revision main@sha1:{second} with a timeout of 5m0s"
    summary = message(found, "Healthy")
    assert list(conditions(found).items()) == [
        ("Reconciling", ("True", "ProgressingWithRetry", step)),
        ("Ready", ("False", "HealthCheckFailed", message(found))),
        ("Healthy", ("False", "HealthCheckFailed", summary)),
    ]
    assert re.fullmatch(f"health check failed after {DURATION}: {re.escape(summary)}", message(found))
    assert f"[Deployment/{story.namespace}/new-chat status: 'Failed'" in summary
    assert {entry["observedGeneration"] for entry in status["conditions"]} == {generation}
    assert _endings(found)[0][0] == "HealthCheckFailed"
    assert _endings(found)[0][1] >= 1


async def test_history_knows_sets_of_manifests_again(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "a")})
    await story.source()
    await story.kustomization()
    first = await story.ready()
    other = await story.ready(revision=await _commit(story, CONFIG % ("c", "b")))
    again = await story.ready(revision=await _commit(story, CONFIG % ("c", "a")))
    assert _endings(other) == [("ReconciliationSucceeded", 1)] * 2
    assert _endings(again) == [("ReconciliationSucceeded", 2), ("ReconciliationSucceeded", 1)]
    newest, older = again["status"]["history"]
    (original,) = first["status"]["history"]
    assert (newest["digest"], newest["firstReconciled"]) == (original["digest"], original["firstReconciled"])
    assert older["digest"] == other["status"]["history"][0]["digest"]
    assert newest["metadata"] == {"revision": again["status"]["lastAppliedRevision"]}


async def test_history_keeps_failures_of_the_apply_but_not_of_the_build(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "a")})
    await story.source()
    await story.kustomization(retryInterval="1h")
    await story.ready()
    await _commit(story, "kind: [broken")
    built = await story.failed(text="c.yaml")
    assert _endings(built) == [("ReconciliationSucceeded", 1)]
    await _commit(story, CONFIG % ("Not_Valid", "a"))
    applied = await story.failed(text="dry-run failed")
    assert _endings(applied) == [("ReconciliationFailed", 1), ("ReconciliationSucceeded", 1)]
    await story.request(KS, "app", "again")
    twice = await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "again")
    assert _endings(twice) == [("ReconciliationFailed", 2), ("ReconciliationSucceeded", 1)]


async def test_history_has_five_entries_at_most(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "0")})
    await story.source()
    await story.kustomization()
    first = await story.ready()
    later = [await story.ready(revision=await _commit(story, CONFIG % ("c", number))) for number in range(1, 7)]
    seen = [first, *later]
    newest = [found["status"]["history"][0]["digest"] for found in reversed(seen)]
    assert [entry["digest"] for entry in seen[-1]["status"]["history"]] == newest[:5]


async def test_a_pass_without_news_leaves_no_trace(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "a")})
    await story.source()
    await story.kustomization()
    before = await story.ready()
    # an empty commit: a new revision, and nothing to do for it
    story.git.commit({"readme.md": "hello"})
    await story.pull("readme")
    after = await story.until(
        KS, "app", lambda found: found["status"]["lastAppliedRevision"] != before["status"]["lastAppliedRevision"]
    )
    assert _endings(after) == [("ReconciliationSucceeded", 2)]
    assert after["status"]["inventory"] == before["status"]["inventory"]
