"""Flux reference 2.7: the conditions of a GitRepository, and what else its status says. Tables in tests/unit/core."""

from __future__ import annotations

from testbed.git import Fault
from testbed.kube import condition
from tests.scenarios.conformance.flux_source import looked, stored
from tests.scenarios.conftest import REPO, Story, conditions, message


async def test_what_a_good_pass_leaves(story: Story) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await looked(story, "now")
    said = f"stored artifact for revision 'main@sha1:{commit}'"
    assert conditions(source) == {
        "Ready": ("True", "Succeeded", said),
        "ArtifactInStorage": ("True", "Succeeded", said),
    }
    assert {entry["observedGeneration"] for entry in source["status"]["conditions"]} == {1}
    assert set(source["status"]) == {"artifact", "conditions", "lastHandledReconcileAt", "observedGeneration"}
    assert set(source["status"]["artifact"]) == {"digest", "lastUpdateTime", "path", "revision", "size", "url"}
    managers = {entry["manager"] for entry in source["metadata"]["managedFields"] if entry.get("subresource")}
    assert managers == {"source-controller"}


async def test_a_new_spec_is_being_worked_on_until_it_is_done(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    gate = story.server.repository(f"{story.namespace}-slow")
    gate.commit({"a.yaml": "a: 1"})
    await story.source()
    before = await stored(story)
    story.server.fault = Fault.HANG
    try:
        await story.source(url=story.server.url(f"{story.namespace}-slow"), timeout="5m")
        working = await story.until(REPO, "repo", lambda found: condition(found, "Reconciling") == "True")
        assert conditions(working)["Reconciling"][1:] == ("Progressing", "processing object: new generation 1 -> 2")
        assert condition(working, "Ready") == "True"
        assert working["status"]["observedGeneration"] == 1
        assert working["status"]["artifact"] == before["status"]["artifact"]
    finally:
        story.server.fault = None
        story.server.release()
    done = await stored(story)
    assert condition(done, "Reconciling") == ""


async def test_a_first_pass_is_of_unknown_end(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    story.server.fault = Fault.HANG
    try:
        await story.source(timeout="5m")
        working = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "Unknown")
        said = ("Progressing", "processing object: new generation -1 -> 1")
        assert conditions(working) == {"Reconciling": ("True", *said), "Ready": ("Unknown", *said)}
        assert working["status"]["observedGeneration"] == -1
    finally:
        story.server.fault = None
        story.server.release()
    await stored(story)


async def test_a_failure_keeps_what_was_and_leaves_the_generation_behind(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    before = await stored(story)
    await story.source(ref={"branch": "gone"})
    await story.pull("asked")
    failed = await story.until(
        REPO,
        "repo",
        lambda found: (
            condition(found, "Ready") == "False" and (found or {})["status"].get("lastHandledReconcileAt") == "asked"
        ),
    )
    told = conditions(failed)
    assert told["Ready"] == ("False", *told["FetchFailed"][1:])
    assert told["Reconciling"][1] == "ProgressingWithRetry"
    assert told["ArtifactInStorage"][0] == "True"
    assert "Stalled" not in told
    assert failed["status"]["observedGeneration"] == 1
    assert failed["status"]["artifact"] == before["status"]["artifact"]


async def test_an_address_that_is_none_stalls(story: Story) -> None:
    await story.source(url="https://user:pass[word@git.example.org/x.git")
    failed = await story.failed("repo", "failed to parse url", REPO)
    told = conditions(failed)
    assert told["Stalled"][1] == told["FetchFailed"][1] == told["Ready"][1] == "URLInvalid"
    assert "Reconciling" not in told
    assert failed["status"]["observedGeneration"] == 1
    assert "pass[word" not in message(failed)
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    assert set(conditions(await stored(story))) == {"Ready", "ArtifactInStorage"}


async def test_an_include_without_an_artifact(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source("broken", ref={"branch": "gone"})
    await story.failed("broken", "couldn't find remote ref", REPO)
    await story.source(include=[{"repository": {"name": "broken"}}])
    failed = await story.failed("repo", "no artifact available for include 'broken'", REPO)
    told = conditions(failed)
    assert told["IncludeUnavailable"][:2] == ("True", "NoArtifact")
    assert told["Ready"][1] == "NoArtifact"
    assert "FetchFailed" not in told
