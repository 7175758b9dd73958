"""Flux reference 4.1: every field of a Kustomization's spec that says what is built, and how often.

What the fields about applying, health, decryption and other clusters do is told with their own sections.
"""

from __future__ import annotations

from typing import Any

import pytest

from testbed.kube import ApiError
from tests.scenarios.conftest import KS, OWN_AGENT, Story, conditions

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, labels: {app: chat}}
spec:
  replicas: 0
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - {name: server, image: "vllm/vllm-openai:v0.9.0"}
"""
APPS = ("apps/v1", "Deployment")
COMPONENT = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"


def _annotations(found: dict[str, Any] | None) -> dict[str, str]:
    """The annotations of an object."""
    return dict((found or {})["metadata"].get("annotations") or {})


async def _deployment(story: Story, **spec: Any) -> dict[str, Any]:
    """What becomes of the Deployment."""
    story.git.commit({"kustomization.yaml": "resources: [d.yaml]\n", "d.yaml": DEPLOYMENT})
    await story.source()
    await story.kustomization(**spec)
    await story.ready()
    return await story.admin.get("apps/v1", "Deployment", story.namespace, "chat")


async def _build_failure(story: Story, text: str, **spec: Any) -> None:
    """The same Deployment does not build, and the message says why."""
    story.git.commit({"kustomization.yaml": "resources: [d.yaml]\n", "d.yaml": DEPLOYMENT})
    await story.source()
    await story.kustomization(**spec)
    failed = await story.failed(text=text)
    assert conditions(failed)["Ready"][1] == "BuildFailed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"interval": None}, "spec.interval"),
        ({"interval": "ten minutes"}, "spec.interval"),
        ({"retryInterval": "1"}, "spec.retryInterval"),
        ({"timeout": "1d"}, "spec.timeout"),
        ({"prune": None}, "spec.prune"),
        ({"sourceRef": None}, "spec.sourceRef"),
        ({"sourceRef": {"kind": "HelmRepository", "name": "repo"}}, "spec.sourceRef.kind"),
        ({"sourceRef": {"kind": "Bucket"}}, "spec.sourceRef.name"),
        ({"deletionPolicy": "Keep"}, "spec.deletionPolicy"),
        ({"targetNamespace": "n" * 64}, "spec.targetNamespace"),
        ({"targetNamespace": ""}, "spec.targetNamespace"),
        ({"namePrefix": "n" * 201}, "spec.namePrefix"),
        ({"nameSuffix": ""}, "spec.nameSuffix"),
        ({"patches": [{"target": {"kind": "Deployment"}}]}, "spec.patches[0].patch"),
        ({"images": [{"newTag": "v1"}]}, "spec.images[0].name"),
        ({"buildMetadata": ["managedByLabel"]}, "spec.buildMetadata[0]"),
        ({"dependsOn": [{"namespace": "other"}]}, "spec.dependsOn[0].name"),
        ({"postBuild": {"substituteStrategy": "Never"}}, "spec.postBuild.substituteStrategy"),
        ({"postBuild": {"substituteFrom": [{"kind": "Pod", "name": "p"}]}}, "spec.postBuild.substituteFrom[0].kind"),
        ({"postBuild": {"substituteFrom": [{"kind": "Secret", "name": ""}]}}, "spec.postBuild.substituteFrom[0].name"),
        ({"healthChecks": [{"kind": "Deployment"}]}, "spec.healthChecks[0].name"),
        ({"healthCheckExprs": [{"apiVersion": "v1", "kind": "A"}]}, "spec.healthCheckExprs[0].current"),
        ({"decryption": {"provider": "gpg"}}, "spec.decryption.provider"),
        ({"ignore": [{"target": {"kind": "Deployment"}}]}, "spec.ignore[0].paths"),
        ({"kubeConfig": {}}, "spec.kubeConfig"),
    ],
)
async def test_what_the_api_server_refuses_names_the_field(story: Story, change: dict[str, Any], field: str) -> None:
    spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}, **change}
    body = {
        "apiVersion": KS[0],
        "kind": KS[1],
        "metadata": {"name": "app", "namespace": story.namespace},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
    with pytest.raises(ApiError) as refused:
        await story.admin.create(body)
    assert refused.value.status == 422
    assert field in str(refused.value)


async def test_an_unknown_field_is_dropped_by_the_api_server_and_changes_nothing(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    source = {"kind": "GitRepository", "name": "repo", "apiVersion": "source.toolkit.fluxcd.io/v1beta2"}
    spec = {
        "interval": "10m",
        "prune": True,
        "sourceRef": source,
        "targetNamespace": story.namespace,
        "validation": "x",
    }
    metadata = {"name": "app", "namespace": story.namespace}
    created = await story.admin.create({"apiVersion": KS[0], "kind": KS[1], "metadata": metadata, "spec": spec})
    assert "validation" not in created["spec"]
    await story.ready()


async def test_a_source_that_does_not_exist_is_waited_for_without_an_event(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.kustomization(retryInterval="1s")
    failed = await story.failed(text=f"GitRepository/{story.namespace}/repo not found")
    assert list(conditions(failed)) == ["Ready"]
    assert conditions(failed)["Ready"][:2] == ("False", "ArtifactFailed")
    await story.source()
    await story.ready()
    assert not [line for line in await story.events("app") if line.startswith("ArtifactFailed")]


async def test_the_source_may_live_in_another_namespace(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    elsewhere = f"{story.namespace}-sources"
    await story.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    try:
        await story.admin.create(
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": {"name": "shared", "namespace": elsewhere},
                "spec": {"url": story.server.url(story.namespace), "interval": "10m", "ref": {"branch": "main"}},
            }
        )
        await story.kustomization(sourceRef={"kind": "GitRepository", "name": "shared", "namespace": elsewhere})
        await story.ready()
    finally:
        await story.admin.delete("source.toolkit.fluxcd.io/v1", "GitRepository", elsewhere, "shared", missing_ok=True)
        await story.admin.delete("v1", "Namespace", None, elsewhere)


async def test_the_path_is_a_folder_of_the_source_or_its_root(story: Story) -> None:
    story.git.commit({"apps/chat/c.yaml": CONFIG % ("c", "x"), "file.txt": "text"})
    await story.source()
    await story.kustomization("root", path="")
    await story.ready("root")
    await story.kustomization("folder", path="apps/chat/", prune=False, namePrefix="folder-")
    await story.ready("folder")

    await story.kustomization("file", path="./file.txt")
    failed = await story.failed("file", "kustomization path not found: file.txt is a file, not a directory")
    assert conditions(failed)["Ready"][1] == "ArtifactFailed"


async def test_without_prune_what_left_the_source_stays(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % ("a", "x"), "b.yaml": CONFIG % ("b", "x")})
    await story.source()
    await story.kustomization(prune=False)
    await story.ready()
    left = story.git.commit({"b.yaml": None})
    await story.pull("b-left")
    await story.ready(revision=left)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "b") is not None


async def test_a_failed_pass_is_tried_again_after_the_retry_interval(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "${word}")})
    await story.source()
    await story.kustomization(
        interval="1h", retryInterval="1s", postBuild={"substituteFrom": [{"kind": "ConfigMap", "name": "words"}]}
    )
    await story.failed(text="substitute from 'ConfigMap/words' error: configmaps \"words\" not found")
    words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words", "namespace": story.namespace}}
    await story.admin.create({**words, "data": {"word": "hi"}})
    await story.ready()


@pytest.mark.parametrize(
    ("spec", "timeout"),
    [
        ({"interval": "10m"}, "9m30s"),
        ({"interval": "40s"}, "30s"),
        ({"interval": "10m", "timeout": "5s"}, "30s"),
        ({"interval": "10m", "timeout": "1h30m"}, "1h30m0s"),
    ],
)
async def test_the_effective_timeout(story: Story, spec: dict[str, str], timeout: str) -> None:
    commit = story.git.commit({"c.yaml": "no: object"})
    await story.source()
    await story.kustomization(**spec)
    failed = await story.failed(text="c.yaml")
    step = f"Building manifests for revision main@sha1:{commit} with a timeout of {timeout}"
    assert conditions(failed)["Reconciling"] == ("True", "ProgressingWithRetry", step)


async def test_a_target_namespace_is_not_created(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(targetNamespace=f"{story.namespace}-none")
    failed = await story.failed(text=f'namespaces "{story.namespace}-none" not found')
    assert conditions(failed)["Ready"][1] == "ReconciliationFailed"
    await story.kustomization(targetNamespace=story.namespace)
    await story.ready()


async def test_names_get_a_prefix_and_a_suffix(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization(namePrefix="a-", nameSuffix="-z")
    await story.ready()
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "a-c-z") is not None
    await story.kustomization(namePrefix="Upper-")
    failed = await story.failed(text="Upper-c")
    assert conditions(failed)["Ready"][1] == "ReconciliationFailed"


async def test_common_metadata_wins_over_the_manifests(story: Story) -> None:
    found = await _deployment(
        story, commonMetadata={"labels": {"app": "x", "team": "ml"}, "annotations": {"owner": "ada"}}
    )
    assert {key: found["metadata"]["labels"][key] for key in ("app", "team")} == {"app": "x", "team": "ml"}
    assert found["metadata"]["annotations"]["owner"] == "ada"
    assert found["spec"]["template"]["metadata"]["labels"] == {"app": "chat"}

    await story.kustomization(commonMetadata={"labels": {"team": "ml"}})
    found = await story.until(APPS, "chat", lambda found: "owner" not in _annotations(found))
    assert {key: found["metadata"]["labels"][key] for key in ("app", "team")} == {"app": "chat", "team": "ml"}

    await story.kustomization(commonMetadata={"labels": {"team": "no label value!"}})
    await story.failed(text="no label value!")


async def test_components_are_built_in(story: Story) -> None:
    story.git.commit(
        {
            "app/c.yaml": CONFIG % ("c", "x"),
            "tls/kustomization.yaml": COMPONENT + "resources: [tls.yaml]\n",
            "tls/tls.yaml": CONFIG % ("tls", "x"),
        }
    )
    await story.source()
    await story.kustomization(path="./app", components=["../tls"])
    await story.ready()
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "tls") is not None

    await story.kustomization(path="./app", components=["../tls", "../gone"])
    failed = await story.failed(text="gone")
    assert conditions(failed)["Ready"][1] == "BuildFailed"
    await story.kustomization(path="./app", components=["../tls", "../gone"], ignoreMissingComponents=True)
    await story.ready()

    for address in ("https://example.org/tls", "/tls"):
        await story.kustomization(path="./app", components=[address], ignoreMissingComponents=True)
        await story.failed(text=f"component path '{address}' must be local and relative")


async def test_patches_of_every_form(story: Story) -> None:
    story.git.commit({"d.yaml": DEPLOYMENT, "c.yaml": CONFIG % ("gone", "x"), "e.yaml": CONFIG % ("too", "x")})
    await story.source()
    merge = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: not-used}\nspec: {paused: true}\n"
    several = "".join(
        f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n$patch: delete\n"
        for name in ("gone", "too")
    )
    operations = "- {op: replace, path: /spec/minReadySeconds, value: 7}\n"
    await story.kustomization(
        patches=[
            {"patch": merge, "target": {"kind": "Deployment", "labelSelector": "app=chat"}},
            {"patch": several},
            {"patch": "- {op: add, path: /spec/minReadySeconds, value: 1}\n", "target": {"name": "ch.*"}},
            {"patch": operations, "target": {"group": "apps", "version": "v1", "kind": "Deployment"}},
        ]
    )
    ready = await story.ready()
    found = await story.admin.get("apps/v1", "Deployment", story.namespace, "chat")
    assert (found["spec"]["paused"], found["spec"]["minReadySeconds"]) == (True, 7)
    assert [entry["id"] for entry in ready["status"]["inventory"]["entries"]] == [
        f"{story.namespace}_chat_apps_Deployment"
    ]


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        ({"patch": "nonsense"}, "patch"),
        ({"patch": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"}, "other"),
        ({"patch": "- {op: remove, path: /spec/none}", "target": {"kind": "Deployment"}}, "/spec/none"),
    ],
    ids=["no patch", "no such object", "no such field"],
)
async def test_patches_that_do_not_fit(story: Story, patch: dict[str, Any], text: str) -> None:
    await _build_failure(story, text, patches=[patch])


async def test_images_are_merged_field_by_field(story: Story) -> None:
    found = await _deployment(
        story,
        images=[
            {"name": "vllm/vllm-openai", "newName": "mirror.example.org/vllm", "newTag": "v1"},
            {"name": "vllm/vllm-openai", "newTag": "v2"},
            {"name": "unused", "newTag": "v9"},
        ],
    )
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example.org/vllm:v2"


async def test_build_metadata_leaves_the_origin_on_the_objects(story: Story) -> None:
    found = await _deployment(story, buildMetadata=["originAnnotations"])
    assert _annotations(found)["config.kubernetes.io/origin"] == "path: d.yaml\n"
    await story.kustomization()
    await story.until(APPS, "chat", lambda found: "config.kubernetes.io/origin" not in _annotations(found))


async def test_a_kustomization_that_another_agent_works_on_is_left_alone(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    story.labels = {OWN_AGENT: "true"}
    await story.kustomization("theirs")
    story.labels = {}
    await story.kustomization("ours", namePrefix="ours-")
    await story.ready("ours")
    theirs = await story.admin.get(*KS, story.namespace, "theirs")
    assert theirs["status"] == {"observedGeneration": -1}
    assert "finalizers" not in theirs["metadata"]
