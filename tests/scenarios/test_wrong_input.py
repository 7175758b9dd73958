"""Everything that people get wrong: a clear status, others unaffected, and recovery without a restart."""

from __future__ import annotations

import pytest

from testbed.git import GitHTTPServer
from testbed.kube import condition
from tests.scenarios.conftest import KS, REPO, Story, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""


async def test_an_unreachable_repository(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source(url="http://127.0.0.1:9/nothing.git", timeout="5s")
    await story.kustomization()
    failed = await story.failed("repo", kind=REPO)
    assert condition(failed, "FetchFailed") == "True"
    assert "GitOperationFailed" in {entry["reason"] for entry in failed["status"]["conditions"]}
    assert "http://127.0.0.1:9/nothing.git" in message(failed)
    await story.event("repo", "GitOperationFailed: ")

    await story.source()
    await story.ready()


async def test_wrong_credentials_are_told_without_showing_them(
    story: Story, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with GitHTTPServer(tmp_path_factory.mktemp("private"), basic=("ada", "opensesame")) as private:
        repository = private.repository("models")
        repository.commit({"c.yaml": CONFIG % ("c", "x")})
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login", "namespace": story.namespace},
            "stringData": {"username": "ada", "password": "hunter2-wrong"},
        }
        await story.source(url=private.url("models"), secretRef={"name": "login"})
        missing = await story.failed("repo", kind=REPO)
        assert {entry["reason"] for entry in missing["status"]["conditions"] if entry["type"] == "Ready"} == {
            "AuthenticationFailed"
        }
        assert "login" in message(missing)

        await story.admin.apply(secret)
        await story.request(REPO, "repo", "with-secret")
        refused = await story.until(
            REPO, "repo", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "with-secret"
        )
        assert {entry["reason"] for entry in refused["status"]["conditions"] if entry["type"] == "Ready"} == {
            "GitOperationFailed"
        }
        assert "hunter2-wrong" not in str(refused)

        await story.admin.apply({**secret, "stringData": {"username": "ada", "password": "opensesame"}})
        await story.kustomization()
        await story.request(REPO, "repo", "right")
        await story.ready()


async def test_a_deleted_and_a_force_pushed_branch(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "one")})
    await story.source()
    await story.kustomization()
    await story.ready()

    rewritten = story.git.force_push({"c.yaml": CONFIG % ("c", "two")})
    await story.pull("rewritten")
    await story.ready(revision=rewritten)

    story.git.commit({"x": "keeps the repository alive"}, branch="other")
    story.git.delete_branch("main")
    await story.pull("gone")
    failed = await story.failed("repo", kind=REPO)
    assert "main" in message(failed)
    assert failed["status"]["artifact"]["revision"] == f"main@sha1:{rewritten}"
    assert condition(await story.admin.get(*KS, story.namespace, "app"), "Ready") == "True"

    story.git.set_branch("main", rewritten)
    third = story.git.commit({"c.yaml": CONFIG % ("c", "three")})
    await story.pull("back")
    await story.ready(revision=third)


async def test_a_missing_path_and_a_path_out_of_the_source(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(path="./nowhere")
    failed = await story.failed(text="kustomization path not found")
    assert "nowhere" in message(failed)
    await story.kustomization(path="../../etc")
    await story.failed(text="../../etc")
    await story.kustomization(path="./")
    await story.ready()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"c.yaml": "apiVersion: v1\nkind: [unclosed"}, "c.yaml"),
        ({"c.yaml": "just: text"}, "c.yaml"),
        ({"kustomization.yaml": "resources: ['https://example.org/x//y?ref=main']"}, "example.org"),
        ({"kustomization.yaml": "resources: [missing.yaml]"}, "missing.yaml"),
        ({"kustomization.yaml": "resources: [.]"}, "cycle"),
    ],
    ids=["broken yaml", "no object", "needs the network", "missing resource", "cycle"],
)
async def test_manifests_that_cannot_be_built(story: Story, files: dict[str, str], text: str) -> None:
    bad = {f"bad/{name}": content for name, content in files.items()}
    story.git.commit({**bad, "good/c.yaml": CONFIG % ("good", "x")})
    await story.source()
    await story.kustomization(path="./bad")
    await story.kustomization("good", path="./good")
    failed = await story.failed(text=text)
    assert {entry["reason"] for entry in failed["status"]["conditions"] if entry["type"] == "Ready"} == {"BuildFailed"}
    await story.ready("good")

    mended = story.git.commit({**dict.fromkeys(bad), "bad/d.yaml": CONFIG % ("c", "x")})
    await story.pull("mended")
    await story.ready(revision=mended)


async def test_an_object_whose_kind_does_not_exist_yet(story: Story) -> None:
    group = f"{story.namespace}.example.org"
    story.git.commit({"w.yaml": f"apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {{}}\n"})
    await story.source()
    await story.kustomization()
    failed = await story.failed(text='no matches for kind "Widget"')
    assert "dry-run failed" in message(failed)

    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    await story.admin.create(crd)
    try:
        await story.ready()
    finally:
        await story.admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, f"widgets.{group}")


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  suspend: true
  template:
    spec:
      restartPolicy: Never
      containers: [{name: job, image: "%s"}]
"""


async def test_an_immutable_field_is_refused_unless_forced(story: Story) -> None:
    story.git.commit({"job.yaml": JOB % "one"})
    await story.source()
    await story.kustomization()
    await story.ready()
    before = await story.admin.get("batch/v1", "Job", story.namespace, "once")

    story.git.commit({"job.yaml": JOB % "two", "c.yaml": CONFIG % ("c", "x")})
    await story.pull("two")
    failed = await story.failed(text="immutable")
    assert f"Job/{story.namespace}/once dry-run failed (Invalid)" in message(failed)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c") is None  # nothing of the stage was applied

    await story.kustomization(force=True)
    await story.ready()
    after = await story.admin.get("batch/v1", "Job", story.namespace, "once")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_an_empty_render_never_prunes(story: Story) -> None:
    story.git.commit({"apps/c.yaml": CONFIG % ("c", "x"), "readme.md": "hello"})
    await story.source()
    await story.kustomization(path="./apps")
    await story.ready()

    story.git.commit({"apps/c.yaml": None, "apps/notes.txt": "nothing to apply"})
    await story.pull("empty")
    failed = await story.failed(text="has no objects")
    assert "weir.dev/allow-empty" in message(failed)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c") is not None

    patch = {"metadata": {"annotations": {"weir.dev/allow-empty": "true"}}}
    await story.admin.patch(*KS, story.namespace, "app", patch)
    await story.ready()
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c") is None


async def test_an_object_as_large_as_the_api_server_takes_and_one_larger(story: Story) -> None:
    story.git.commit({"big.yaml": CONFIG % ("big", "x" * (1 << 20)), "c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()

    story.git.commit({"big.yaml": CONFIG % ("big", "x" * (1 << 21))})
    await story.pull("larger")
    failed = await story.failed(text="ConfigMap")
    assert len(message(failed)) < 2000
    mended = story.git.commit({"big.yaml": None})
    await story.pull("smaller")
    await story.ready(revision=mended)


async def test_two_kustomizations_that_claim_one_object(story: Story) -> None:
    story.git.commit({"one/c.yaml": CONFIG % ("shared", "one"), "two/c.yaml": CONFIG % ("shared", "two")})
    await story.source()
    await story.kustomization("one", path="./one")
    await story.ready("one")
    await story.kustomization("two", path="./two")
    failed = await story.failed("two", "is also applied by Kustomization")
    assert f"{story.namespace}/one" in message(failed)
    await story.event("two", "is also applied by Kustomization")
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "shared")
    assert found["data"] == {"greeting": "one"}

    moved = story.git.commit({"one/c.yaml": CONFIG % ("own", "one")})
    await story.pull("moved")
    await story.ready("one", moved)
    await story.ready("two", moved)
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "shared")
    assert found["data"] == {"greeting": "two"}
