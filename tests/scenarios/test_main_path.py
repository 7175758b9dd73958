"""A commit arrives in the cluster: the thinnest whole story."""

from __future__ import annotations

from tests.scenarios.conftest import KS, Story, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: "%s"}
"""


async def test_a_commit_is_applied_and_the_status_says_so(story: Story) -> None:
    first = story.git.commit({"app.yaml": CONFIG % "hello"}, "first words")
    await story.source()
    await story.kustomization()

    applied = await story.ready(revision=first)
    assert message(applied) == f"Applied revision: main@sha1:{first}"
    assert applied["status"]["inventory"]["entries"] == [{"id": f"{story.namespace}_settings__ConfigMap", "v": "v1"}]
    assert applied["status"]["history"][0]["lastReconciledDuration"] != "0s"
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "settings")
    assert found["data"] == {"greeting": "hello"}
    assert found["metadata"]["labels"] == {
        "kustomize.toolkit.fluxcd.io/name": "app",
        "kustomize.toolkit.fluxcd.io/namespace": story.namespace,
    }
    managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
    assert managers == {"kustomize-controller"}

    second = story.git.commit({"app.yaml": CONFIG % "goodbye"}, "last words")
    await story.pull("now")
    await story.ready(revision=second)
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "settings")
    assert found["data"] == {"greeting": "goodbye"}


async def test_what_leaves_git_leaves_the_cluster(story: Story) -> None:
    story.git.commit({"a.yaml": CONFIG % "a", "b.yaml": CONFIG.replace("settings", "other") % "b"})
    await story.source()
    await story.kustomization()
    await story.ready()

    second = story.git.commit({"b.yaml": None})
    await story.pull("again")
    await story.ready(revision=second)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "other") is None
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "settings") is not None

    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda found: found is None)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "settings") is None
