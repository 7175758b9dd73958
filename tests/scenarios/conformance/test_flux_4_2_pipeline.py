"""Flux reference 4.2: the steps of a pass, in their order, and what the status says where each of them stops."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from testbed.kube import condition
from testbed.ports import free_port
from tests.scenarios.conftest import KS, OWN_AGENT, REPO, Story, conditions, message

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
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec: {containers: [{name: server, image: "vllm:v1"}]}
"""
REVISION = "v1@sha256:" + "0" * 64
ORIGIN = "main@sha1:" + "1" * 40


class Artifacts:
    """Serves one archive, when the gate is open, from an address that a source's status can name."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/artifact.tar.gz"
        self.content: bytes | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def pack(self, files: dict[str, str]) -> str:
        """Serve these files from now on; returns the digest of the archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.content = buffer.getvalue()
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    async def answer(self, _request: web.Request) -> web.Response:
        """What a consumer gets."""
        await self.gate.wait()
        return web.Response(body=self.content) if self.content is not None else web.Response(status=404)


@pytest.fixture
async def artifacts() -> AsyncIterator[Artifacts]:
    """An artifact server of somebody else."""
    served = Artifacts()
    application = web.Application()
    application.router.add_get("/artifact.tar.gz", served.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(served.url.split(":")[2].split("/")[0])).start()
    yield served
    served.gate.set()
    await runner.cleanup()


async def _foreign(story: Story, artifacts: Artifacts, digest: str) -> None:
    """A GitRepository of another controller, whose status names the archive."""
    story.labels = {OWN_AGENT: "true"}
    await story.source()
    story.labels = {}
    artifact = {
        "url": artifacts.url,
        "digest": digest,
        "path": "artifact.tar.gz",
        "revision": REVISION,
        "lastUpdateTime": "2026-01-02T03:04:05Z",
        "metadata": {"org.opencontainers.image.revision": ORIGIN},
    }
    status = {"status": {"artifact": artifact, "observedGeneration": 1}}
    await story.admin.patch(*REPO, story.namespace, "repo", status, subresource="status")


async def test_a_source_without_an_artifact(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source(url="http://127.0.0.1:9/nothing.git", timeout="1s")
    await story.kustomization()
    failed = await story.failed(text="Source artifact not found, retrying in 1s")
    assert list(conditions(failed)) == ["Ready"]
    assert conditions(failed)["Ready"][1] == "ArtifactFailed"
    assert "lastAttemptedRevision" not in failed["status"]
    await story.source()
    await story.ready()
    assert not [line for line in await story.events("app") if line.startswith("ArtifactFailed")]


async def test_an_artifact_that_its_server_does_not_have(story: Story, artifacts: Artifacts) -> None:
    await _foreign(story, artifacts, "sha256:" + "0" * 64)
    await story.kustomization()
    failed = await story.failed(text="Source is not ready, artifact not found, retrying in 1s")
    assert conditions(failed)["Ready"][1] == "ArtifactFailed"
    assert not [line for line in await story.events("app") if line.startswith("ArtifactFailed")]
    await _foreign(story, artifacts, artifacts.pack({"c.yaml": CONFIG % ("c", "x")}))
    ready = await story.ready()
    assert ready["status"]["lastAppliedRevision"] == REVISION
    assert ready["status"]["lastAppliedOriginRevision"] == ORIGIN
    assert ready["status"]["history"][0]["metadata"] == {"revision": REVISION, "originRevision": ORIGIN}


async def test_an_artifact_that_is_not_what_its_digest_says(story: Story, artifacts: Artifacts) -> None:
    digest = artifacts.pack({"c.yaml": CONFIG % ("c", "x")})
    await _foreign(story, artifacts, "sha256:" + "0" * 64)
    await story.kustomization()
    failed = await story.failed(text=f"computed digest '{digest}' doesn't match 'sha256:{'0' * 64}'")
    step = f"Fetching manifests for revision {REVISION} with a timeout of 9m30s"
    assert conditions(failed)["Reconciling"] == ("True", "ProgressingWithRetry", step)
    assert conditions(failed)["Ready"][1] == "ArtifactFailed"
    assert "lastAttemptedRevision" not in failed["status"]
    await story.event("app", "ArtifactFailed: failed to verify artifact")


async def test_a_download_that_takes_long_is_in_the_status(story: Story, artifacts: Artifacts) -> None:
    artifacts.gate.clear()
    await _foreign(story, artifacts, artifacts.pack({"c.yaml": CONFIG % ("c", "x")}))
    await story.kustomization(timeout="5m")
    progress = f"Fetching manifests for revision {REVISION} with a timeout of 5m0s"
    waiting = await story.until(KS, "app", lambda found: message(found, "Reconciling") == progress)
    assert conditions(waiting) == {
        "Reconciling": ("True", "Progressing", progress),
        "Ready": ("Unknown", "Progressing", "Reconciliation in progress"),
    }
    artifacts.gate.set()
    await story.ready()


async def test_dependencies_come_before_the_download(story: Story, artifacts: Artifacts) -> None:
    await _foreign(story, artifacts, "sha256:" + "0" * 64)
    await story.kustomization(dependsOn=[{"name": "base"}])
    failed = await story.failed(text="dependency")
    assert conditions(failed)["Ready"][1] == "DependencyNotReady"


async def test_a_missing_path_is_no_attempt_yet(story: Story) -> None:
    commit = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(path="./nowhere", postBuild={"substituteFrom": [{"kind": "Secret", "name": "none"}]})
    failed = await story.failed(text="kustomization path not found: stat nowhere: no such file or directory")
    step = f"Fetching manifests for revision main@sha1:{commit} with a timeout of 9m30s"
    assert conditions(failed)["Reconciling"] == ("True", "ProgressingWithRetry", step)
    assert conditions(failed)["Ready"][1] == "ArtifactFailed"
    assert "lastAttemptedRevision" not in failed["status"]
    await story.event("app", "ArtifactFailed: kustomization path not found")


async def test_a_failed_build_changes_nothing_but_the_attempted_revision(story: Story) -> None:
    first = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    before = (await story.ready())["status"]
    second = story.git.commit({"c.yaml": "kind: [broken"})
    await story.pull("broken")
    failed = (await story.failed(text="c.yaml"))["status"]
    assert conditions({"status": failed})["Ready"][1] == "BuildFailed"
    assert failed["lastAttemptedRevision"] == f"main@sha1:{second}"
    assert failed["lastAppliedRevision"] == f"main@sha1:{first}"
    assert (failed["inventory"], failed["history"]) == (before["inventory"], before["history"])


async def test_a_failed_apply_keeps_the_observed_generation_behind(story: Story) -> None:
    commit = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()
    changed = await story.kustomization(namePrefix="Not_Valid-")
    failed = await story.failed(text="Not_Valid-c")
    generation = changed["metadata"]["generation"]
    assert failed["status"]["observedGeneration"] == generation - 1
    assert {entry["observedGeneration"] for entry in failed["status"]["conditions"]} == {generation}
    step = f"Detecting drift for revision main@sha1:{commit} with a timeout of 9m30s"
    assert conditions(failed) == {
        "Reconciling": ("True", "ProgressingWithRetry", step),
        "Ready": ("False", "ReconciliationFailed", message(failed)),
    }
    assert message(failed).startswith(f"ConfigMap/{story.namespace}/Not_Valid-c dry-run failed (Invalid): ")


async def test_while_health_is_waited_for_the_status_says_so(story: Story) -> None:
    commit = story.git.commit({"d.yaml": DEPLOYMENT})
    await story.source()
    await story.kustomization(wait=True, timeout="5m")
    step = f"Running health checks for revision main@sha1:{commit} with a timeout of 5m0s"
    waiting = await story.until(KS, "app", lambda found: message(found, "Reconciling") == step)
    assert list(conditions(waiting).items()) == [
        ("Reconciling", ("True", "Progressing", step)),
        ("Ready", ("Unknown", "Progressing", "Reconciliation in progress")),
        ("Healthy", ("Unknown", "Progressing", step)),
    ]
    assert waiting["status"]["lastAttemptedRevision"] == f"main@sha1:{commit}"
    assert "lastAppliedRevision" not in waiting["status"]
    assert waiting["status"]["inventory"]["entries"]


async def test_ready_is_never_seen_before_what_it_stands_for(story: Story) -> None:
    seen: list[dict[str, Any]] = []
    first = story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(suspend=True)

    def at(commit: str, found: dict[str, Any] | None) -> bool:
        seen.append(found or {})
        return condition(found, "Ready") == "True" and commit in message(found)

    async with asyncio.TaskGroup() as group:
        group.create_task(story.until(KS, "app", lambda found: at(first, found)))
        await story.kustomization()
    second = story.git.commit({"c.yaml": CONFIG % ("d", "y")})
    async with asyncio.TaskGroup() as group:
        group.create_task(story.until(KS, "app", lambda found: at(second, found)))
        await story.pull("second")
    ready = [found for found in seen if condition(found, "Ready") == "True"]
    assert len(ready) > 1
    for found in ready:
        assert message(found) == f"Applied revision: {found['status']['lastAppliedRevision']}"
        assert found["status"]["inventory"]["entries"]
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        assert condition(found, "Reconciling") == ""


async def test_the_status_is_written_under_fluxs_name(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    ready = await story.ready()
    writers = {entry["manager"] for entry in ready["metadata"]["managedFields"] if entry.get("subresource") == "status"}
    assert writers == {"gotk-kustomize-controller"}
    assert ready["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]


async def test_a_suspended_one_answers_requests_and_does_nothing_else(story: Story) -> None:
    first = story.git.commit({"c.yaml": CONFIG % ("c", "one")})
    await story.source()
    await story.kustomization()
    before = await story.ready()
    suspended = await story.suspend()
    story.git.commit({"c.yaml": CONFIG % ("c", "two")})
    await story.pull("two")
    await story.request(KS, "app", "asked")
    answered = await story.until(
        KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "asked"
    )
    assert answered["status"]["observedGeneration"] == suspended["metadata"]["generation"]
    assert answered["status"]["conditions"] == before["status"]["conditions"]
    assert answered["status"]["lastAttemptedRevision"] == f"main@sha1:{first}"
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "c")
    assert found["data"] == {"greeting": "one"}


async def test_a_suspended_one_that_is_not_ready_keeps_its_generation(story: Story) -> None:
    story.git.commit({"c.yaml": "kind: [broken"})
    await story.source()
    await story.kustomization()
    await story.failed(text="c.yaml")
    await story.kustomization(suspend=True)
    await story.request(KS, "app", "asked")
    answered = await story.until(
        KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "asked"
    )
    assert answered["status"]["observedGeneration"] == -1
    assert condition(answered, "Ready") == "False"


async def test_one_that_is_suspended_in_the_middle_of_a_health_check_does_not_claim_to_go_on(story: Story) -> None:
    story.git.commit({"d.yaml": DEPLOYMENT})
    await story.source()
    await story.kustomization(wait=True, timeout="5m")
    await story.until(KS, "app", lambda found: message(found, "Reconciling").startswith("Running health checks"))
    await story.kustomization(wait=True, timeout="5m", suspend=True)
    held = await story.failed(text=f"New reconciliation triggered by Kustomization/{story.namespace}/app")
    assert conditions(held)["Ready"][1] == "HealthCheckCanceled"
    await story.event("app", "HealthCheckCanceled: Health checks canceled")
    await story.kustomization(wait=True, timeout="5m")
    await story.until(KS, "app", lambda found: condition(found, "Ready") == "Unknown")


async def test_a_spec_that_can_never_work_stalls_until_it_changes(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    check = {"apiVersion": "v1", "kind": "ConfigMap", "current": "status."}
    created = await story.kustomization(healthCheckExprs=[check])
    stalled = await story.failed(text="Reconciliation failed terminally due to configuration error: ")
    assert list(conditions(stalled)) == ["Stalled", "Ready"]
    assert {reason for _, reason, _ in conditions(stalled).values()} == {"InvalidCELExpression"}
    assert stalled["status"]["observedGeneration"] == created["metadata"]["generation"]
    await story.event("app", "InvalidCELExpression: Reconciliation failed terminally due to configuration error: ")
    await story.kustomization()
    assert list(conditions(await story.ready())) == ["Ready"]


async def test_every_end_of_a_pass_answers_the_request(story: Story) -> None:
    story.git.commit({"c.yaml": "kind: [broken"})
    await story.source()
    await story.kustomization(retryInterval="1h")
    await story.failed(text="c.yaml")
    await story.request(KS, "app", "again")
    answered = await story.until(
        KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "again"
    )
    assert conditions(answered)["Reconciling"][1] == "ProgressingWithRetry"


async def test_a_refusal_carries_its_generation_so_that_nobody_waits_for_more(story: Story) -> None:
    created = await story.kustomization(sourceRef={"kind": "ExternalArtifact", "name": "models"})
    stalled = await story.failed(text="ExternalArtifact feature gate is disabled")
    denied = ("AccessDenied", message(stalled))
    assert conditions(stalled) == {"Stalled": ("True", *denied), "Ready": ("False", *denied)}
    assert stalled["status"]["observedGeneration"] == created["metadata"]["generation"]
    await story.event("app", f"AccessDenied: can't access 'ExternalArtifact/{story.namespace}/models'")
