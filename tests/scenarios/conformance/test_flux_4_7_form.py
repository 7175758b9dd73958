"""Flux 4.7: objects that do not have the form of their kind."""

from __future__ import annotations

from tests.scenarios.conformance.flux_apply import begin, definition
from tests.scenarios.conftest import Story, conditions, message

DEPLOYMENT = ("apps/v1", "Deployment")


async def test_a_field_that_a_kind_of_kubernetes_does_not_have_is_left_out_and_told(story: Story) -> None:
    """Upstream drops it without a word, as it reads these kinds into Go's types."""
    container = {"name": "main", "image": "example.org/web:1", "imagePolicy": "Always"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "replica": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await begin(story, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    await story.ready()
    found = await story.admin.get(*DEPLOYMENT, story.namespace, "web")
    assert found["spec"]["replicas"] == 0
    assert await story.event("app", "left out") == (
        f"Progressing: Deployment/{story.namespace}/web: .spec.replica, "
        '.spec.template.spec.containers[name="main"].imagePolicy left out, its kind does not have that in this cluster'
    )


async def test_a_value_of_another_type_is_refused_in_the_api_server_s_words(story: Story) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"replicas": 3}}
    await begin(story, config)
    failed = await story.failed(text="ConfigMap")
    assert conditions(failed)["Ready"][1] == "ReconciliationFailed"
    here = f"({story.namespace}/c; /v1, Kind=ConfigMap)"
    assert message(failed).startswith(
        f"ConfigMap/{story.namespace}/c dry-run failed: failed to create typed patch object {here}: .data.replicas: "
    )


async def test_a_field_that_a_custom_kind_does_not_have_is_refused(story: Story) -> None:
    group = f"{story.namespace}.example.org"
    spec = {"size": 1, "colour": "red"}
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    await begin(story, definition(group, "size"), widget)
    failed = await story.failed(text="field not declared in schema")
    here = f"({story.namespace}/w; {group}/v1, Kind=Widget)"
    assert message(failed).startswith(
        f"Widget/{story.namespace}/w dry-run failed: failed to create typed patch object {here}: "
        ".spec.colour: field not declared in schema"
    )
    assert await story.admin.find(f"{group}/v1", "Widget", story.namespace, "w") is None
