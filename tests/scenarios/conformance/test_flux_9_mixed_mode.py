"""Flux reference, section 9: Weir's kustomize role on the sources of others, and its source role for others."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from agent.gates import FeatureGates
from testbed.kube import Admin, condition
from tests.scenarios.conftest import KS, OWN_AGENT, REPO, RunningAgent, Story, conditions
from tests.scenarios.foreign_sources import FileServer, archive_of, file_server, install, publish, sha256

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {greeting: %s}\n"
KUSTOMIZE = {"controllers": ("kustomize",)}


@pytest.fixture(scope="module")
async def foreign_kinds(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kinds of source that another controller reconciles."""
    await install(admin, tmp_path_factory.mktemp("kinds"))


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with file_server() as server:
        yield server


async def offer(files: FileServer, story: Story, kind: str, revision: str, greeting: str, name: str = "models") -> None:
    """A source whose artifact is one ConfigMap."""
    content = archive_of({f"deploy/{name}.yaml": CONFIG % (name, greeting)})
    files.files[f"/{name}/{greeting}.tar.gz"] = content
    await publish(
        story, kind, revision, name=name, url=f"http://{files.host}/{name}/{greeting}.tar.gz", digest=sha256(content)
    )


async def greets(story: Story, name: str, greeting: str) -> None:
    await story.admin.wait_for(
        "v1", "ConfigMap", story.namespace, name, lambda found: (found or {}).get("data") == {"greeting": greeting}
    )


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("GitRepository", "main@sha1:" + "a" * 40, "v2"),
        ("OCIRepository", "6.5.0@sha256:" + "b" * 64, "latest@sha256:" + "c" * 64),
        ("Bucket", "sha256:" + "d" * 64, "any text, really"),
    ],
)
async def test_every_kind_of_source_with_any_revision_and_each_new_one_at_once(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer, kind: str, first: str, second: str
) -> None:
    await offer(files, story, kind, first, "hello")
    async with own_agent(**KUSTOMIZE):
        await story.kustomization(sourceRef={"kind": kind, "name": "models"})
        ready = await story.ready()
        assert ready["status"]["lastAppliedRevision"] == ready["status"]["lastAttemptedRevision"] == first
        await greets(story, "models", "hello")
        await offer(files, story, kind, second, "again")
        await greets(story, "models", "again")
        await story.ready(revision=second)
    left = await story.admin.get("source.toolkit.fluxcd.io/v1", kind, story.namespace, "models")
    assert "finalizers" not in left["metadata"]
    assert not left["status"].keys() & {"conditions", "lastHandledReconcileAt"}, "nothing of the source is written"


async def test_digests_links_and_the_origin_of_an_artifact(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    content = archive_of({"deploy/c.yaml": CONFIG % ("c", "hi")}, link="deploy/passwd.yaml")
    digests = {
        "sha384": f"sha384:{hashlib.sha384(content).hexdigest()}",
        "sha512": f"sha512:{hashlib.sha512(content).hexdigest()}",
        "bare": hashlib.sha256(content).hexdigest(),
        "wrong": "sha256:" + "0" * 64,
        "none": "",
    }
    files.files["/x.tgz"] = content
    origin = {"org.opencontainers.image.revision": "main@sha1:" + "e" * 40}
    for name, digest in digests.items():
        url = f"http://{files.host}/x.tgz"
        await publish(story, "OCIRepository", f"r-{name}", name=name, url=url, digest=digest, metadata=origin)
        await story.kustomization(name, sourceRef={"kind": "OCIRepository", "name": name}, nameSuffix=f"-{name}")
    async with own_agent(**KUSTOMIZE):
        for name in ("sha384", "sha512", "bare"):
            ready = await story.ready(name)
            assert ready["status"]["lastAppliedOriginRevision"] == origin["org.opencontainers.image.revision"]
            entries = [entry["id"] for entry in ready["status"]["inventory"]["entries"]]
            assert entries == [f"{story.namespace}_c-{name}__ConfigMap"]
        await story.failed("wrong", "failed to verify artifact: computed digest")
        await story.failed("none", "failed to verify artifact: empty digest")


async def test_an_archive_that_is_not_there_yet(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    content = archive_of({"c.yaml": CONFIG % ("c", "late")})
    await publish(story, "Bucket", "r1", url=f"http://{files.host}/late.tar.gz", digest=sha256(content))
    async with own_agent(**KUSTOMIZE):
        await story.kustomization(sourceRef={"kind": "Bucket", "name": "models"})
        failed = await story.failed(text="Source is not ready, artifact not found, retrying in 1s")
        assert conditions(failed)["Ready"][1] == "ArtifactFailed"
        files.files["/late.tar.gz"] = content
        await story.ready(revision="r1")


async def test_a_server_in_trouble_is_asked_again_and_without_retries_the_status_tells(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    files.answers = [503] * 1000
    await offer(files, story, "Bucket", "r1", "hi")
    async with own_agent(**KUSTOMIZE, http_retry=0):
        await story.kustomization(sourceRef={"kind": "Bucket", "name": "models"})
        failed = await story.failed(text="status 503")
        assert conditions(failed)["Ready"][1] == "ArtifactFailed"
        files.answers.clear()
        await story.ready(revision="r1")


async def test_with_retries_the_status_says_that_it_is_fetching(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    files.answers = [503]
    files.closed_after = 1
    await offer(files, story, "Bucket", "r1", "hi")
    async with own_agent(**KUSTOMIZE):
        await story.kustomization(sourceRef={"kind": "Bucket", "name": "models"})
        busy = await story.until(KS, "app", lambda found: condition(found, "Reconciling") == "True")
        assert conditions(busy)["Ready"] == ("Unknown", "Progressing", "Reconciliation in progress")
        assert conditions(busy)["Reconciling"][2].startswith("Fetching manifests for revision r1")
        files.open.set()
        await story.ready(revision="r1")
    assert files.asked == 2
    assert not [line for line in await story.events("app") if line.startswith("ArtifactFailed")]


async def test_an_agent_outside_of_the_cluster_reaches_the_artifact_servers(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    content = archive_of({"c.yaml": CONFIG % ("c", "hi")})
    files.files["/bucket/x.tar.gz"] = content
    service = "http://source-controller.flux-system.svc.cluster.local./bucket/x.tar.gz"
    await publish(story, "Bucket", "r1", url=service, digest=sha256(content))
    async with own_agent(**KUSTOMIZE, source_controller_localhost=files.host):
        await story.kustomization(sourceRef={"kind": "Bucket", "name": "models"})
        await story.ready(revision="r1")


async def test_an_external_artifact_takes_its_gate(
    story: Story, own_agent: OwnAgent, foreign_kinds: None, files: FileServer
) -> None:
    await offer(files, story, "ExternalArtifact", "r1", "hi")
    await story.kustomization(sourceRef={"kind": "ExternalArtifact", "name": "models"})
    async with own_agent(**KUSTOMIZE):
        text = f"can't access 'ExternalArtifact/{story.namespace}/models', ExternalArtifact feature gate is disabled"
        refused = await story.failed(text=text)
        assert {conditions(refused)[kind][1] for kind in ("Ready", "Stalled")} == {"AccessDenied"}
    async with own_agent(**KUSTOMIZE, gates=FeatureGates(external_artifact=True)):
        await story.ready(revision="r1")
        await offer(files, story, "ExternalArtifact", "r2", "again")
        await greets(story, "models", "again")


async def test_the_source_role_alone_publishes_for_others_and_leaves_kustomizations_alone(
    story: Story, own_agent: OwnAgent
) -> None:
    commit = story.git.commit({"c.yaml": CONFIG % ("c", "hi")})
    await story.source()
    await story.kustomization()
    fetched: list[int] = []
    async with own_agent(controllers=("source",)) as agent:
        ready = await story.until(REPO, "repo", lambda found: condition(found, "Ready") == "True")
        artifact = ready["status"]["artifact"]
        assert artifact.keys() >= {"digest", "lastUpdateTime", "path", "revision", "url", "size"}
        assert artifact["revision"] == f"main@sha1:{commit}"
        async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(artifact["url"]) as response:
            content = await response.read()
            fetched.append(response.status)
        assert sha256(content) == artifact["digest"]
        requests = await agent.requests()
        assert not [name for name in requests if name.endswith((" kustomizations", " canaries", " secrets"))]
    assert fetched == [200]
    untouched = await story.admin.get(*KS, story.namespace, "app")
    assert "finalizers" not in untouched["metadata"]
    assert "status" not in untouched or "conditions" not in untouched["status"]


async def test_the_canary_role_alone_follows_no_source_and_no_kustomization(story: Story, own_agent: OwnAgent) -> None:
    async with own_agent(controllers=("canary",)) as agent:
        await agent.ready()
        requests = await agent.requests()
        assert not [name for name in requests if name.endswith((" kustomizations", " gitrepositories"))]


async def test_the_kustomize_role_alone_has_no_use_for_git_and_canaries_of_others_stay_theirs(
    story: Story, own_agent: OwnAgent
) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "hi")})
    await story.source()
    await story.kustomization()
    async with own_agent(**KUSTOMIZE):
        await story.failed(text="Source artifact not found, retrying in 1s")
    left = await story.admin.get(*REPO, story.namespace, "repo")
    assert "finalizers" not in left["metadata"]
    assert left["metadata"]["labels"] == {OWN_AGENT: "true"}
