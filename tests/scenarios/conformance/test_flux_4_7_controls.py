"""Flux 4.7: what a single object says about how it is applied, and what happens to fields that cannot be changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.conformance.flux_apply import CM, GROUP, begin, config, document, verify
from tests.scenarios.conftest import Story, message

SKIPS = [("reconcile", "disabled"), ("reconcile", "Disabled"), ("ssa", "Ignore"), ("ssa", "ignore")]


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize(("control", "value"), SKIPS)
async def test_an_object_that_asks_for_it_in_git_is_left_alone(
    story: Story, where: str, control: str, value: str
) -> None:
    await begin(story, config("seen"), config(**{where: {f"{GROUP}/{control}": value}}))
    ready = await story.ready()
    assert await story.admin.find(*CM, story.namespace, "c") is None
    ids = {entry["id"] for entry in ready["status"]["inventory"]["entries"]}
    assert ids == {f"{story.namespace}_seen__ConfigMap", f"{story.namespace}_c__ConfigMap"}


@pytest.mark.parametrize("where", ["labels", "annotations"])
async def test_an_object_that_asks_for_it_in_the_cluster_is_left_alone(story: Story, where: str) -> None:
    await begin(story, config())
    await story.ready()
    change = {"metadata": {where: {f"{GROUP}/reconcile": "DISABLED"}}, "data": {"greeting": "mine"}}
    await story.admin.patch(*CM, story.namespace, "c", change)
    await verify(story, "now")
    assert (await story.admin.get(*CM, story.namespace, "c"))["data"] == {"greeting": "mine"}

    await story.admin.patch(*CM, story.namespace, "c", {"metadata": {where: {f"{GROUP}/reconcile": None}}})
    await story.until(CM, "c", lambda found: (found or {})["data"] == {"greeting": "hi"})


@pytest.mark.parametrize("where", ["labels", "annotations"])
async def test_an_object_that_is_only_to_be_created_is_never_changed(story: Story, where: str) -> None:
    mark = {where: {f"{GROUP}/ssa": "IfNotPresent"}}
    await begin(story, config(**mark))
    await story.ready()
    second = story.git.commit({"all.yaml": document(config(data={"greeting": "new"}, **mark))})
    await story.pull("second")
    await story.ready(revision=second)
    assert (await story.admin.get(*CM, story.namespace, "c"))["data"] == {"greeting": "hi"}


async def test_that_mark_counts_in_git_only(story: Story) -> None:
    made = config(data={"greeting": "old"}, namespace=story.namespace, labels={f"{GROUP}/ssa": "IfNotPresent"})
    await story.admin.create(made)
    await begin(story, config())
    await story.ready()
    assert (await story.admin.get(*CM, story.namespace, "c"))["data"] == {"greeting": "hi"}


def fixed(value: str, **metadata: Any) -> dict[str, Any]:
    return {**config(data={"greeting": value}, **metadata), "immutable": True}


async def test_an_immutable_field_is_refused(story: Story) -> None:
    await begin(story, fixed("one"))
    await story.ready()
    story.git.commit({"all.yaml": document(fixed("two"))})
    await story.pull("two")
    failed = await story.failed(text="immutable")
    assert message(failed).startswith(f"ConfigMap/{story.namespace}/c dry-run failed (Invalid): ")


@pytest.mark.parametrize(
    ("spec", "metadata"),
    [
        ({"force": True}, {}),
        ({}, {"labels": {f"{GROUP}/force": "enabled"}}),
        ({}, {"annotations": {f"{GROUP}/force": "Enabled"}}),
    ],
)
async def test_an_object_with_an_immutable_field_is_made_anew_where_that_is_allowed(
    story: Story, spec: dict[str, Any], metadata: dict[str, Any]
) -> None:
    await begin(story, fixed("one", **metadata), **spec)
    await story.ready()
    before = await story.admin.get(*CM, story.namespace, "c")
    second = story.git.commit({"all.yaml": document(fixed("two", **metadata))})
    await story.pull("two")
    await story.ready(revision=second)
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"greeting": "two"}
    assert found["metadata"]["uid"] != before["metadata"]["uid"]
