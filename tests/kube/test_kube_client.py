"""The client's verbs against a real API server."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, FixedCredentials
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NoMatch,
    NotFound,
    Unauthorized,
)
from agent.adapters.kube.events import CoreEvents
from agent.adapters.kube.resource import EVENTS, Resource
from agent.errors import ConfigurationError

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", namespaced=True)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "model", "image": "example.org/model:1"}]},
            },
        },
    }


async def apply(client: KubeClient, namespace: str, name: str, manager: str = "weir", **data: str) -> dict[str, Any]:
    return await client.apply(CONFIG_MAPS, namespace, name, config_map(name, **data), field_manager=manager)


async def test_apply_creates_and_then_changes_nothing(client: KubeClient, namespace: str) -> None:
    created = await apply(client, namespace, "settings", model="a")
    assert created["data"] == {"model": "a"}
    assert created["metadata"]["managedFields"][0]["manager"] == "weir"
    again = await apply(client, namespace, "settings", model="a")
    assert again["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    changed = await apply(client, namespace, "settings", model="b")
    assert changed["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]


async def test_apply_takes_bytes_and_may_answer_metadata_only(client: KubeClient, namespace: str) -> None:
    body = b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": {"a": "1"}}'
    answer = await client.apply(CONFIG_MAPS, namespace, "raw", body, field_manager="weir", metadata_only=True)
    assert answer["kind"] == "PartialObjectMetadata"
    assert "data" not in answer
    assert (await client.get(CONFIG_MAPS, namespace, "raw"))["data"] == {"a": "1"}


async def test_dry_run_shows_the_result_and_stores_nothing(client: KubeClient, namespace: str) -> None:
    shown = await client.apply(
        CONFIG_MAPS, namespace, "dry", config_map("dry", a="1"), field_manager="weir", dry_run=True
    )
    assert shown["data"] == {"a": "1"}
    assert "resourceVersion" not in shown["metadata"], "by which one knows that there is no such object yet"
    assert await client.find(CONFIG_MAPS, namespace, "dry") is None

    await apply(client, namespace, "dry", "other", a="1")
    again = await client.apply(
        CONFIG_MAPS, namespace, "dry", config_map("dry", a="2"), field_manager="weir", dry_run=True
    )
    assert again["metadata"]["resourceVersion"]


async def test_apply_conflict_names_the_manager_and_the_field(client: KubeClient, namespace: str) -> None:
    await apply(client, namespace, "shared", "weir", model="a")
    with pytest.raises(Conflict) as refused:
        await client.apply(
            CONFIG_MAPS, namespace, "shared", config_map("shared", model="b"), field_manager="other", force=False
        )
    assert refused.value.status == 409
    assert refused.value.api_reason == "Conflict"
    (cause,) = refused.value.causes
    assert cause.field == ".data.model"
    assert '"weir"' in cause.message
    forced = await apply(client, namespace, "shared", "other", model="b")
    assert forced["data"] == {"model": "b"}


async def test_not_found(client: KubeClient, namespace: str) -> None:
    with pytest.raises(NotFound, match='configmaps "nothing" not found') as refused:
        await client.get(CONFIG_MAPS, namespace, "nothing")
    assert refused.value.api_reason == "NotFound"
    assert await client.find(CONFIG_MAPS, namespace, "nothing") is None
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAPS, namespace, "nothing")


async def test_create_twice(client: KubeClient, namespace: str) -> None:
    await client.create(CONFIG_MAPS, namespace, config_map("one"))
    with pytest.raises(AlreadyExists) as refused:
        await client.create(CONFIG_MAPS, namespace, config_map("one"))
    assert isinstance(refused.value, Conflict)


async def test_invalid_objects_are_explained(client: KubeClient, namespace: str) -> None:
    wrong = deployment("wrong", -1)
    with pytest.raises(Invalid, match=r"spec\.replicas.*greater than or equal to 0") as refused:
        await client.apply(DEPLOYMENTS, namespace, "wrong", wrong, field_manager="weir")
    assert refused.value.causes[0].field == "spec.replicas"


async def test_secret_values_are_blanked_in_errors(client: KubeClient, namespace: str) -> None:
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    attempts = [
        {"data": {"password": "hunter2 is not base64"}},
        {"stringData": {"password": {"hunter2": "nested"}}},
        {"stringData": {"bad key hunter2!": "x"}},
        {
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(b"hunter2").decode()},
        },
    ]
    for extra in attempts:
        body = {**secret, **extra}
        calls = [
            client.apply(SECRETS, namespace, "s", body, field_manager="weir"),
            client.create(SECRETS, namespace, body),
        ]
        for call in calls:
            with pytest.raises(ApiError) as refused:
                await call
            assert refused.value.status in {400, 422, 500}
            for text in (str(refused.value), repr(refused.value), repr(refused.value.causes)):
                assert "hunter2" not in text


async def test_merge_patch_status_and_scale(client: KubeClient, namespace: str) -> None:
    await client.apply(DEPLOYMENTS, namespace, "chat", deployment("chat", 1), field_manager="weir")
    scale = await client.merge_patch(DEPLOYMENTS, namespace, "chat", {"spec": {"replicas": 3}}, subresource="scale")
    assert scale["kind"] == "Scale"
    patched = await client.merge_patch(
        DEPLOYMENTS, namespace, "chat", {"metadata": {"annotations": {"a": "1"}}}, field_manager="person"
    )
    assert patched["spec"]["replicas"] == 3
    assert "person" in {entry["manager"] for entry in patched["metadata"]["managedFields"]}


async def test_merge_patch_with_an_old_version_conflicts(client: KubeClient, namespace: str) -> None:
    old = await apply(client, namespace, "versioned", a="1")
    await apply(client, namespace, "versioned", a="2")
    with pytest.raises(Conflict):
        await client.merge_patch(
            CONFIG_MAPS,
            namespace,
            "versioned",
            {"data": {"a": "3"}},
            resource_version=old["metadata"]["resourceVersion"],
        )
    assert (await client.get(CONFIG_MAPS, namespace, "versioned"))["data"] == {"a": "2"}


async def test_json_patch_and_its_test_operation(client: KubeClient, namespace: str) -> None:
    await apply(client, namespace, "listed", a="1", b="2")
    patched = await client.json_patch(
        CONFIG_MAPS,
        namespace,
        "listed",
        [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/b"}],
    )
    assert patched["data"] == {"a": "1"}
    with pytest.raises(Invalid):
        await client.json_patch(CONFIG_MAPS, namespace, "listed", [{"op": "test", "path": "/data/a", "value": "x"}])


async def test_delete_of_another_incarnation_is_refused(client: KubeClient, namespace: str) -> None:
    made = await apply(client, namespace, "gone", a="1")
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, namespace, "gone", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIG_MAPS, namespace, "gone", uid=made["metadata"]["uid"])
    assert await client.find(CONFIG_MAPS, namespace, "gone") is None


async def test_replace_needs_the_current_version(client: KubeClient, namespace: str) -> None:
    made = await apply(client, namespace, "replaced", a="1")
    made["data"] = {"a": "2"}
    await client.replace(CONFIG_MAPS, namespace, "replaced", made)
    with pytest.raises(Conflict):
        await client.replace(CONFIG_MAPS, namespace, "replaced", made)


async def test_list_pages_through_everything(client: KubeClient, namespace: str) -> None:
    for number in range(7):
        await apply(client, namespace, f"item-{number}", n=str(number))
    page = await client.list_page(CONFIG_MAPS, namespace, limit=3)
    assert len(page.items) == 3
    assert page.token
    listing = await client.list(CONFIG_MAPS, namespace, limit=3)
    names = {item["metadata"]["name"] for item in listing.items}
    assert {f"item-{number}" for number in range(7)} <= names
    assert listing.resource_version.isdigit()
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
    bare = await client.list(CONFIG_MAPS, namespace, metadata_only=True)
    assert all("data" not in item for item in bare.items)


async def test_list_by_label(client: KubeClient, namespace: str) -> None:
    labelled = config_map("labelled")
    labelled["metadata"]["labels"] = {"part": "one"}
    await client.create(CONFIG_MAPS, namespace, labelled)
    await client.create(CONFIG_MAPS, namespace, config_map("plain"))
    listing = await client.list(CONFIG_MAPS, namespace, label_selector="part in (one, two)")
    assert [item["metadata"]["name"] for item in listing.items] == ["labelled"]


async def test_impersonation_is_limited_to_the_service_account(client: KubeClient, namespace: str) -> None:
    tenant = client.as_service_account(namespace, "deployer")
    with pytest.raises(Forbidden, match=f'User "system:serviceaccount:{namespace}:deployer" cannot patch'):
        await apply(tenant, namespace, "theirs", a="1")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "deployer"}}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    await client.create(ROLES, namespace, {**role, "rules": rules})
    # Bound to the group, so that it also proves that the groups are sent.
    subject = {"kind": "Group", "apiGroup": ROLES.group, "name": f"system:serviceaccounts:{namespace}"}
    binding = {
        **role,
        "kind": "RoleBinding",
        "subjects": [subject],
        "roleRef": {"apiGroup": ROLES.group, "kind": "Role", "name": "deployer"},
    }
    await client.create(BINDINGS, namespace, binding)
    await _eventually_allowed(tenant, namespace)
    with pytest.raises(Forbidden):
        await tenant.get(SECRETS, namespace, "any")
    async with tenant:
        pass
    assert await client.find(CONFIG_MAPS, namespace, "theirs") is not None


async def _eventually_allowed(tenant: KubeClient, namespace: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await apply(tenant, namespace, "theirs", a="1")
            except Forbidden:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_wrong_token(cluster: Cluster) -> None:
    wrong = Cluster(cluster.server, FixedCredentials("Bearer nonsense"), cluster.tls)
    async with KubeClient(wrong) as client:
        with pytest.raises(Unauthorized):
            await client.get(CONFIG_MAPS, "default", "any")


async def test_names_that_would_lead_elsewhere(client: KubeClient, namespace: str) -> None:
    for name in ("", ".", ".."):
        with pytest.raises(ConfigurationError):
            await client.delete(CONFIG_MAPS, namespace, name)
    with pytest.raises(ConfigurationError):
        await client.get(CONFIG_MAPS, "", "name")
    with pytest.raises(ApiError):
        await client.get(CONFIG_MAPS, namespace, "../../default/configmaps/kube-root-ca.crt")


async def test_events(client: KubeClient, namespace: str) -> None:
    made = await apply(client, namespace, "noted", a="1")
    regarding = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": namespace,
        "name": "noted",
        "uid": made["metadata"]["uid"],
        "resourceVersion": made["metadata"]["resourceVersion"],
    }
    written = CoreEvents(client)

    async def tell(message: str, note: str) -> None:
        await written.create_event(
            regarding,
            event_type="Warning",
            reason="Tested",
            message=message,
            component="weir",
            annotations={"k": note},
        )

    async def told() -> list[tuple[int, int, str]]:
        """Count, length of the message and note of each Event."""
        listing = await client.list(EVENTS, namespace, field_selector="involvedObject.name=noted")
        assert {(event["type"], event["reason"]) for event in listing.items} == {("Warning", "Tested")}
        return sorted(
            (event["count"], len(event["message"]), event["metadata"]["annotations"]["k"]) for event in listing.items
        )

    await tell("m" * 5000, "a")
    assert await told() == [(1, 1024, "a")]
    await tell("m" * 5000, "b")
    await tell("other", "c")
    await tell("m" * 5000, "d")
    assert await told() == [(1, 5, "c"), (3, 1024, "d")]

    # Events do not live long; one that has expired is made anew
    for event in (await client.list(EVENTS, namespace, field_selector="involvedObject.name=noted")).items:
        await client.delete(EVENTS, namespace, event["metadata"]["name"])
    await tell("m" * 5000, "e")
    assert await told() == [(1, 1024, "e")]


async def test_requests_are_counted_by_verb_resource_and_code(cluster: Cluster, namespace: str) -> None:
    seen: list[tuple[str, str, int]] = []
    async with KubeClient(
        cluster, on_request=lambda verb, resource, code, _s: seen.append((verb, resource, code))
    ) as client:
        await apply(client, namespace, "counted", a="1")
        await client.find(CONFIG_MAPS, namespace, "absent")
        await client.list(CONFIG_MAPS, namespace)
    assert seen == [("apply", "configmaps", 201), ("get", "configmaps", 404), ("list", "configmaps", 200)]


async def test_discovery(client: KubeClient, discovery: Discovery) -> None:
    assert await discovery.resource("apps/v1", "Deployment") == DEPLOYMENTS
    assert await discovery.resource("v1", "ConfigMap") == CONFIG_MAPS
    assert (await discovery.preferred("autoscaling", "HorizontalPodAutoscaler")).version == "v2"
    assert (await discovery.preferred("", "Secret")) == SECRETS
    with pytest.raises(NoMatch) as missed:
        await discovery.resource("example.org/v1", "Thing")
    assert str(missed.value) == 'no matches for kind "Thing" in version "example.org/v1"'
    with pytest.raises(NoMatch):
        await discovery.resource("apps/v1", "Thing")
    with pytest.raises(NoMatch):
        await discovery.preferred("example.org", "Thing")


async def test_discovery_finds_a_kind_that_is_defined_later(client: KubeClient) -> None:
    clock = [0.0]
    discovery = Discovery(client, clock=lambda: clock[0])
    with pytest.raises(NoMatch):
        await discovery.resource("late.weir.test/v1", "Late")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lates.late.weir.test"},
        "spec": {
            "group": "late.weir.test",
            "scope": "Namespaced",
            "names": {"kind": "Late", "plural": "lates"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    try:
        await client.create(CRDS, None, definition)
        # Misses are believed for a moment, so that a missing kind does not cost a request per object.
        with pytest.raises(NoMatch):
            await discovery.resource("late.weir.test/v1", "Late")
        found = await _eventually_known(discovery, clock)
        assert found == Resource("late.weir.test", "v1", "lates", "Late", namespaced=True)
    finally:
        await client.delete(CRDS, None, "lates.late.weir.test")


async def _eventually_known(discovery: Discovery, clock: list[float]) -> Resource:
    async with asyncio.timeout(60):
        while True:
            clock[0] += 10.0
            try:
                return await discovery.resource("late.weir.test/v1", "Late")
            except NoMatch:
                await asyncio.sleep(0.05)
