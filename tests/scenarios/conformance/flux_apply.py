"""Objects, and the way to apply them, for the stories of server-side apply."""

from __future__ import annotations

from typing import Any

import yaml

from tests.scenarios.conftest import KS, Story

GROUP = "kustomize.toolkit.fluxcd.io"
CM = ("v1", "ConfigMap")


def config(name: str = "c", *, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": {"greeting": "hi"} if data is None else data,
    }


def definition(group: str, *fields: str) -> dict[str, Any]:
    """The kind `Widget` of a group: its objects have these numbers in their spec, or anything if none is named."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    numbers = {"type": "object", "properties": {field: {"type": "integer"} for field in fields}}
    schema = {"type": "object", "properties": {"spec": numbers if fields else anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def document(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


async def begin(story: Story, *objects: dict[str, Any], **spec: Any) -> None:
    story.git.commit({"all.yaml": document(*objects)})
    await story.source()
    await story.kustomization(**spec)


async def verify(story: Story, token: str) -> dict[str, Any]:
    """A pass that looks at every object again."""
    await story.request(KS, "app", token)
    return await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == token)
