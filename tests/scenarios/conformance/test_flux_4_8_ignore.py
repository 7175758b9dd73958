"""Flux 4.8: drift-ignore rules. Fields that others may change without being corrected."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.scenarios.conftest import KS, Story, message

CM = ("v1", "ConfigMap")
APPS = ("apps/v1", "Deployment")


def config(name: str = "c", *, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels or {}, "annotations": {"note": "git"}},
        "data": {"mine": "git", "theirs": "git", **data},
    }


def rule(*paths: str, **target: str) -> dict[str, Any]:
    return {"paths": list(paths), **({"target": target} if target else {})}


async def begin(story: Story, *objects: dict[str, Any], ignore: list[dict[str, Any]]) -> None:
    story.git.commit({"all.yaml": yaml.safe_dump_all(objects)})
    await story.source()
    await story.kustomization(ignore=ignore)
    await story.ready()


async def verify(story: Story, token: str) -> None:
    await story.request(KS, "app", token)
    await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == token)


async def change(story: Story, **data: Any) -> dict[str, Any]:
    return await story.admin.patch(*CM, story.namespace, "c", {"data": data}, field_manager="tuner")


async def test_drift_of_an_ignored_field_is_left_and_of_the_others_is_not(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/data/theirs")])
    assert (await story.admin.get(*CM, story.namespace, "c"))["data"]["theirs"] == "git"

    drifted = await change(story, theirs="tuned")
    await verify(story, "one")
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["metadata"]["resourceVersion"] == drifted["metadata"]["resourceVersion"]

    await change(story, mine="tuned")
    await story.until(CM, "c", lambda found: (found or {})["data"] == {"mine": "git", "theirs": "tuned"})


async def test_marks_can_be_ignored_too(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/metadata/annotations/note")])
    patch = {"metadata": {"annotations": {"note": "tuned"}}}
    drifted = await story.admin.patch(*CM, story.namespace, "c", patch)
    await verify(story, "one")
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["metadata"]["resourceVersion"] == drifted["metadata"]["resourceVersion"]


def owned_by(found: dict[str, Any], manager: str) -> dict[str, Any]:
    entries = [entry for entry in found["metadata"]["managedFields"] if entry["manager"] == manager]
    fields: dict[str, Any] = entries[0]["fieldsV1"].get("f:data", {}) if entries else {}
    return fields


async def test_a_write_for_another_reason_adopts_the_live_value(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/data/theirs")])
    await change(story, theirs="tuned")
    second = story.git.commit({"all.yaml": yaml.safe_dump(config(mine="new"))})
    await story.pull("second")
    await story.ready(revision=second)
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"mine": "new", "theirs": "tuned"}
    assert set(owned_by(found, "kustomize-controller")) == {"f:mine", "f:theirs"}


async def test_a_field_that_another_manager_has_applied_is_not_claimed_any_more(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/data/theirs")])
    applied = {**config(), "metadata": {"name": "c", "namespace": story.namespace}, "data": {"theirs": "tuned"}}
    await story.admin.apply(applied, field_manager="tuner")
    second = story.git.commit({"all.yaml": yaml.safe_dump(config(mine="new"))})
    await story.pull("second")
    await story.ready(revision=second)
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"mine": "new", "theirs": "tuned"}
    assert set(owned_by(found, "kustomize-controller")) == {"f:mine"}
    assert set(owned_by(found, "tuner")) == {"f:theirs"}


async def test_a_field_that_somebody_removed_is_not_brought_back(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/data/theirs")])
    await change(story, theirs=None)
    second = story.git.commit({"all.yaml": yaml.safe_dump(config(mine="new"))})
    await story.pull("second")
    await story.ready(revision=second)
    assert (await story.admin.get(*CM, story.namespace, "c"))["data"] == {"mine": "new"}


async def test_an_object_is_created_anew_with_what_git_says(story: Story) -> None:
    await begin(story, config(), ignore=[rule("/data/theirs")])
    await change(story, theirs="tuned")
    await story.admin.delete(*CM, story.namespace, "c")
    found = await story.until(CM, "c", lambda found: found is not None and "deletionTimestamp" not in found["metadata"])
    assert found["data"] == {"mine": "git", "theirs": "git"}


@pytest.mark.parametrize(
    ("target", "selected"),
    [
        ({"kind": "ConfigMap"}, True),
        ({"kind": "Config"}, False),
        ({"kind": "Config.*", "version": "v1"}, True),
        ({"name": "c|d"}, True),
        ({"name": "[^c]"}, False),
        ({"labelSelector": "tuned in (yes,always)"}, True),
        ({"labelSelector": "tuned=no"}, False),
        ({"annotationSelector": "note=git"}, True),
        ({"annotationSelector": "!note"}, False),
        ({"labelSelector": "by-hand"}, True),
    ],
)
async def test_rules_are_for_the_objects_that_their_target_selects(
    story: Story, target: dict[str, str], selected: bool
) -> None:
    await begin(story, config(labels={"tuned": "yes"}), ignore=[rule("/data/theirs", **target)])
    patch = {"data": {"theirs": "tuned"}, "metadata": {"labels": {"by-hand": "x"}}}
    await story.admin.patch(*CM, story.namespace, "c", patch)
    if selected:
        await verify(story, "one")
        assert (await story.admin.get(*CM, story.namespace, "c"))["data"]["theirs"] == "tuned"
    else:
        await story.until(CM, "c", lambda found: (found or {})["data"]["theirs"] == "git")


async def test_an_autoscaler_and_git_share_a_deployment(story: Story) -> None:
    template = {
        "metadata": {"labels": {"app": "chat"}},
        "spec": {"containers": [{"name": "web", "image": "example.org/web:1"}, {"name": "log", "image": "log:1"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {
            "replicas": 1,
            "paused": True,
            "selector": {"matchLabels": {"app": "chat"}},
            "template": template,
        },
    }
    await begin(
        story, deployment, ignore=[rule("/spec/replicas", "/spec/template/spec/containers/1/image", kind="Deployment")]
    )
    await story.admin.patch(*APPS, story.namespace, "chat", {"spec": {"replicas": 4}}, subresource="scale")
    containers = [{"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "log:2"}]
    await story.admin.patch(*APPS, story.namespace, "chat", containers, patch_type="json", field_manager="updater")
    template["spec"]["containers"][0]["image"] = "example.org/web:2"  # type: ignore[index]  # a literal of ours
    second = story.git.commit({"all.yaml": yaml.safe_dump(deployment)})
    await story.pull("second")
    await story.ready(revision=second)
    spec = (await story.admin.get(*APPS, story.namespace, "chat"))["spec"]
    assert spec["replicas"] == 4
    images = {each["name"]: each["image"] for each in spec["template"]["spec"]["containers"]}
    assert images == {"web": "example.org/web:2", "log": "log:2"}


@pytest.mark.parametrize("target", [{"name": "("}, {"labelSelector": "a in"}])
async def test_a_rule_that_cannot_be_read_is_told(story: Story, target: dict[str, str]) -> None:
    story.git.commit({"all.yaml": yaml.safe_dump(config())})
    await story.source()
    await story.kustomization(ignore=[rule("/data/theirs", **target)])
    failed = await story.failed(text="spec.ignore: ")
    reasons = {entry["type"]: entry["reason"] for entry in failed["status"]["conditions"]}
    assert (reasons["Ready"], reasons["Stalled"]) == ("InvalidSelector", "InvalidSelector")
    assert next(iter(target.values())) in message(failed)
    await story.kustomization(ignore=[])
    await story.ready()
