"""An InferenceService in Standard mode, from the commit on: the new reference is withheld, tried, promoted or removed.

KServe's controller is played by a writer of statuses (testbed/kserve); the API server and the agent are real.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from canary_agent import eventually
from canary_cluster import FLAGGER, Rollouts
from canary_gitops import Judge, whole_agent
from kserve_world import KServeStory, kserve_story, version_in

from testbed.controlplane import ControlPlane
from testbed.kube import Admin, Object
from testbed.ociregistry import OciRegistry, oci_registry

CACHES = "serving.kserve.io/v1alpha1"
GIB = 2**30


@pytest.fixture
async def story(admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path) -> AsyncIterator[KServeStory]:
    async with kserve_story(admin, namespace, judge[1], tmp_path) as (found, _):
        yield found


@pytest.fixture
def rollouts(admin: Admin, namespace: str, tmp_path: Path) -> Rollouts:
    """Questions about the Canary; nothing of it runs as pods here."""
    return Rollouts(admin, namespace, tmp_path)


def shares(service: Object) -> Any:
    """The stable predictor's version, and version and percentage of each canary."""
    entries = service["spec"].get("canary") or ()
    tried = [(version_in({"spec": entry}), entry["trafficPercent"]) for entry in entries]
    return version_in(service), tried


async def test_a_new_reference_is_withheld_tried_and_promoted_in_one_write(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        assert await story.serving() == "1"
        async with story.watched(shares) as seen:
            await story.push("2")
            assert await story.wanted() == "2"
            await rollouts.phase("Succeeded")
            await eventually(lambda: seen[-1][0] == "2")
            before = (await rollouts.status())["lastAppliedSpec"]
            await story.push("2:main")
            await rollouts.until(lambda status: status["lastPromotedSpec"] == status["lastAppliedSpec"] != before)
            assert await story.wanted() == "2:main", "the same in other words, of which no pod hears"
            await eventually(lambda: rollouts.told(f"Target chat.{story.namespace} is the promoted revision in other"))
    assert seen == [("1", []), ("1", [("2", 0)]), ("1", [("2", 30)]), ("1", [("2", 60)]), ("2", [])]
    live = await story.live()
    assert live["spec"]["predictor"]["name"].startswith("weir-"), "the Deployment that was tried goes on"
    assert live["spec"]["predictor"]["maxReplicas"] == 4
    withheld = [text for text in await rollouts.events("app", "Kustomization") if "withheld" in text]
    what = f"InferenceService/{story.namespace}/chat: spec.predictor.model.storageUri withheld"
    assert set(withheld) == {f"{what}, the rollout of its Canary decides when it serves"}


async def test_a_rollback_removes_the_canary_and_survives_syncs_commits_and_restarts(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        judge[0].refuses = True
        await story.push("2")
        rejected = await rollouts.phase("Failed")
        await eventually(lambda: story.serves(("1", []), shares))
        await story.again()
        await story.push("2", note="unrelated", replicas=3)
        live = await story.live()
        assert (shares(live), live["spec"]["predictor"]["minReplicas"]) == (("1", []), 3)
        assert (await rollouts.status(), await story.wanted()) == (rejected, "2")
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await story.again()
        assert shares(await story.live()) == ("1", [])
        assert await rollouts.status() == rejected

        await story.push("1", replicas=3)
        await rollouts.phase("Succeeded")
        assert shares(await story.live()) == ("1", [])
        judge[0].refuses = False
        await story.push("3", replicas=3)
        await eventually(lambda: story.serves(("3", []), shares))
        await rollouts.phase("Succeeded")
    starts = [text for text in await rollouts.events() if text.startswith("New revision detected!")]
    assert len(starts) == 2, "neither the unrelated commit nor the revert is a run"


async def test_a_model_that_cannot_be_loaded_is_rolled_back_at_once(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(shares) as seen:
            await story.push("broken")
            await rollouts.phase("Failed")
            await eventually(lambda: len(seen) >= 3)
    assert seen == [("1", []), ("1", [("broken", 0)]), ("1", [])], "it never had traffic"
    texts = await rollouts.events()
    assert any("ModelLoadFailed in pod chat-weir-" in text and "no such model" in text for text in texts), texts


async def test_a_model_that_loads_slowly_has_the_time_of_its_bytes_and_another_one_takes_its_place(
    control_plane: ControlPlane, admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    stored = kserve_story(admin, namespace, judge[1], tmp_path, store="oci://registry.example/org")
    async with oci_registry(tmp_path) as registry, stored as (story, _):
        for version, size in (("1", GIB), ("2", GIB), ("slow", 100 * GIB)):
            await registry.push(f"org/chat-{version}", "latest", {"application/json": version.encode()}, claimed=size)
        await rollouts.apply(resolving(namespace, registry))
        async with whole_agent(control_plane, namespace, tmp_path / "weir"), rollouts.phases() as phases:
            await rollouts.phase("Initialized")
            async with story.watched(shares) as seen:
                await story.push("slow")
                await eventually(lambda: seen[-1] == ("1", [("slow", 0)]))
                loads = {"bytes": 100 * GIB, "rate": 0, "loading": True}
                await rollouts.until(lambda status: status.get("load") == loads)
                await begun_earlier(rollouts, timedelta(seconds=700))
                await looked_at(rollouts)
                await story.push("2")
                await rollouts.phase("Succeeded")
                await eventually(lambda: seen[-1] == ("2", []))
                load = (await rollouts.status())["load"]
                assert (load["bytes"], load["loading"], load["rate"] > 0) == (GIB, False, True)

                await story.push("slow")
                await eventually(lambda: seen[-1] == ("2", [("slow", 0)]))
                await rollouts.phase("Progressing")
                await story.push("2")
                await rollouts.phase("Succeeded")
                assert shares(await story.live()) == ("2", [])
                assert "Failed" not in phases, "600 seconds are for the start, the bytes have theirs beside"

                await story.push("slow")
                loads["rate"] = load["rate"]
                await rollouts.phase("Progressing")
                await rollouts.until(lambda status: status.get("load") == loads)
                await begun_earlier(rollouts, timedelta(days=365))
                await rollouts.phase("Failed")
                await eventually(lambda: story.serves(("2", []), shares))
        assert ("slow", []) not in seen
        allowed = f"progressDeadlineSeconds {600 + math.ceil(loads['bytes'] / loads['rate'] * 2)} exceeded"
        assert any(allowed in text for text in await rollouts.events()), "twice as long as at the pace of the last load"


def resolving(namespace: str, registry: OciRegistry) -> Object:
    """A policy by which the size of a model is known."""
    resolution = {"registries": [{"scheme": "oci", "endpoint": registry.url}]}
    return {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "ChangePolicy",
        "metadata": {"name": "sizes", "namespace": namespace},
        "spec": {"resolution": resolution},
    }


async def begun_earlier(rollouts: Rollouts, by: timedelta) -> None:
    """Have the run begin so much earlier."""
    since = datetime.fromisoformat((await rollouts.status())["lastTransitionTime"]) - by
    patch = {"status": {"lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, "chat", patch, subresource="status")


async def looked_at(rollouts: Rollouts) -> None:
    """Wait until the agent has found again that the canary is not ready."""

    async def looks() -> int:
        return sum("not ready: waiting for predictor" in text for text in await rollouts.events())

    async def again() -> bool:
        return await looks() > before

    before = await looks()
    await eventually(again)


async def test_a_service_that_cannot_be_tried_is_told_why(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        await story.push("2", replicas=0)
        assert "minReplicas is 0" in await rollouts.blocked("TargetInvalid")
        await story.admin.patch(*story.kind, story.namespace, "chat", {"spec": {"predictor": {"workerSpec": {}}}})
        await rollouts.until(lambda status: "spec.predictor.workerSpec" in str(status))
        assert "use an LLMInferenceService" in await rollouts.blocked("TargetInvalid")
    assert shares(await story.live()) == ("1", [])


async def test_no_run_begins_without_room_for_its_accelerators(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        await story.push("2", gpus=3)
        assert "1 pods with 3 example.com/gpu each needed" in await rollouts.blocked("InsufficientAccelerators")
        assert ((await rollouts.status())["phase"], shares(await story.live())) == ("Initialized", ("1", []))
        await story.push("2")
        await rollouts.phase("Succeeded")


async def test_another_runtime_for_the_same_model_is_loaded_by_the_stable_predictor_too(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    """KServe allows another name only together with another `storageUri`."""
    form = lambda obj: (*shares(obj), obj["spec"]["predictor"]["model"].get("runtime"))  # noqa: E731 - a view of one test
    async with whole_agent(control_plane, story.namespace, tmp_path / "weir"):
        await rollouts.phase("Initialized")
        async with story.watched(form) as seen:
            await story.push("1", runtime="newer")
            await rollouts.phase("Succeeded")
            await eventually(lambda: seen[-1] == ("1", [], "newer"))
    assert seen == [
        ("1", [], None),
        ("1", [("1", 0)], None),
        ("1", [("1", 30)], None),
        ("1", [("1", 60)], None),
        ("1", [("1", 60)], "newer"),
        ("1", [("1", 0)], "newer"),
        ("1", [], "newer"),
    ]
    assert "name" not in (await story.live())["spec"]["predictor"]


async def test_a_run_begins_when_the_model_is_on_the_nodes_if_somebody_has_it_copied_there(
    control_plane: ControlPlane, rollouts: Rollouts, story: KServeStory, tmp_path: Path
) -> None:
    uri = f"hf://org/chat-{story.namespace}"
    notes = {"labels": {"weir.dev/prefetch": "true"}, "annotations": {"weir.dev/prefetches": uri}}
    pods = {"spec": {"containers": [{"name": "pull", "image": "pull"}], "restartPolicy": "Never"}}
    job = {
        "metadata": {"name": "pull", "namespace": story.namespace, **notes},
        "spec": {"suspend": True, "template": pods},
    }
    await story.admin.apply({"apiVersion": "batch/v1", "kind": "Job", **job})
    async with (
        cache(story.admin, "LocalModelNamespaceCache", story.namespace, "own", uri) as own_copied,
        cache(story.admin, "LocalModelCache", None, story.namespace, uri) as copied,
        whole_agent(control_plane, story.namespace, tmp_path / "weir"),
    ):
        await rollouts.phase("Initialized")
        await story.push(story.namespace)
        await rollouts.until(lambda status: f"Job pull has not fetched {uri} yet" in str(status))
        await story.admin.delete("batch/v1", "Job", story.namespace, "pull")
        absent = f"has {uri} on 0 of 0 nodes"
        await rollouts.until(lambda status: f"LocalModelNamespaceCache own {absent}" in str(status))
        await own_copied()
        await rollouts.until(lambda status: f"LocalModelCache {story.namespace} {absent}" in str(status))
        assert absent in await rollouts.blocked("ModelNotOnNodes")
        assert shares(await story.live()) == ("1", [])
        await copied()
        await rollouts.phase("Succeeded")


@asynccontextmanager
async def cache(
    admin: Admin, kind: str, namespace: str | None, name: str, uri: str
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """One of KServe's caches, on no node until what it gives is called. It goes again: it may be one of the cluster."""

    async def copied() -> None:
        done = {"status": {"copies": {"available": 2, "total": 2}}}
        await admin.patch(CACHES, kind, namespace, name, done, subresource="status")

    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    await admin.apply({"apiVersion": CACHES, "kind": kind, "metadata": metadata, "spec": {"sourceModelUri": uri}})
    try:
        yield copied
    finally:
        await admin.delete(CACHES, kind, namespace, name)
