"""Flux 4.7: server-side apply. Who owns what, in which order, what counts as drift, and what is told of failures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from agent.gates import FeatureGates
from testbed.kube import condition
from tests.scenarios.conformance.flux_apply import CM, GROUP, begin, config, definition, document, verify
from tests.scenarios.conftest import KS, RunningAgent, Story, message

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]


def managers(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}


async def test_the_field_manager_and_the_owner_labels_are_fluxs(story: Story) -> None:
    await begin(story, config())
    await story.ready()
    found = await story.admin.get(*CM, story.namespace, "c")
    assert managers(found) == {("kustomize-controller", "Apply")}
    labels = found["metadata"]["labels"]
    assert labels == {f"{GROUP}/name": "app", f"{GROUP}/namespace": story.namespace}


async def created_by(story: Story, manager: str, operation: str, **metadata: Any) -> None:
    """What was made before Git came: a field more than Git will have."""
    made = config(data={"greeting": "hi", "extra": "by hand"}, namespace=story.namespace, **metadata)
    if operation == "Apply":
        await story.admin.apply(made, field_manager=manager)
        return
    # The API server keeps no record of managers for an object that was empty at first.
    recorded = manager != "before-first-apply"
    await story.admin.create(config(data={"greeting": "hi"} if recorded else {}, namespace=story.namespace))
    change = {"data": made["data"], "metadata": metadata}
    await story.admin.patch(*CM, story.namespace, "c", change, field_manager=manager)


@pytest.mark.parametrize(
    ("manager", "operation"),
    [
        ("kubectl-client-side-apply", "Update"),
        ("kubectl", "Apply"),
        ("before-first-apply", "Update"),
        ("kustomize-controller", "Update"),
    ],
)
async def test_fields_of_earlier_tools_come_over_and_go_if_git_lacks_them(
    story: Story, manager: str, operation: str
) -> None:
    marks = {LAST_APPLIED: "{}", "mine": "stays"}
    await created_by(story, manager, operation, annotations=marks, labels={"fluxcd.io/sync-gc-mark": "x"})
    await begin(story, config(annotations={"mine": "stays"}))
    await story.ready()
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"greeting": "hi"}
    assert found["metadata"]["annotations"] == {"mine": "stays"}
    assert "fluxcd.io/sync-gc-mark" not in found["metadata"]["labels"]
    assert (manager, operation) not in managers(found)
    assert await story.event("app", f"ConfigMap/{story.namespace}/c configured")

    await verify(story, "again")
    again = await story.admin.get(*CM, story.namespace, "c")
    assert again["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


async def test_what_somebody_edits_with_kubectl_is_undone_also_where_git_says_nothing(story: Story) -> None:
    await begin(story, config())
    await story.ready()
    change = {"data": {"more": "x"}, "metadata": {"annotations": {"note": "x"}}}
    await story.admin.patch(*CM, story.namespace, "c", change, field_manager="kubectl-edit")
    await story.until(CM, "c", lambda found: (found or {})["data"] == {"greeting": "hi"})
    found = await story.until(CM, "c", lambda found: not (found or {})["metadata"].get("annotations"))
    assert managers(found) == {("kustomize-controller", "Apply")}


async def test_a_request_for_an_object_that_git_holds_reaches_it(story: Story) -> None:
    """`kubectl annotate` without a field manager, on a Kustomization that another one has applied."""
    reference = {"kind": "GitRepository", "name": "repo"}
    inner = {
        "apiVersion": KS[0],
        "kind": KS[1],
        "metadata": {"name": "inner"},
        "spec": {"interval": "1h", "prune": True, "path": "./inner", "sourceRef": reference},
    }
    made = {"all/inner.yaml": document(inner), "inner/c.yaml": document(config(namespace=story.namespace))}
    story.git.commit(made)
    await story.source()
    await story.kustomization(path="./all")
    await story.ready("inner")
    ask = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}
    await story.admin.patch(*KS, story.namespace, "inner", ask, field_manager="kubectl-annotate")
    await story.until(KS, "inner", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "now")


async def test_other_managers_keep_their_fields(story: Story) -> None:
    await created_by(story, "flux-client-side-apply", "Update")
    await begin(story, config())
    await story.ready()
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"greeting": "hi", "extra": "by hand"}
    assert ("flux-client-side-apply", "Update") in managers(found)


@pytest.mark.parametrize("where", ["labels", "annotations"])
async def test_merge_leaves_the_fields_of_earlier_tools(story: Story, where: str) -> None:
    await created_by(story, "kubectl-client-side-apply", "Update", annotations={LAST_APPLIED: "{}"})
    await begin(story, config(**{where: {f"{GROUP}/ssa": "Merge"}}))
    await story.ready()
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"greeting": "hi", "extra": "by hand"}
    assert found["metadata"]["annotations"][LAST_APPLIED] == "{}"


async def test_further_managers_are_taken_over_by_a_flag(story: Story, own_agent: OwnAgent) -> None:
    await created_by(story, "argocd-controller", "Apply")
    await begin(story, config())
    async with own_agent(override_managers=("argocd",)):
        await story.ready()
        found = await story.admin.get(*CM, story.namespace, "c")
        assert found["data"] == {"greeting": "hi"}
        assert managers(found) == {("kustomize-controller", "Apply")}


async def test_without_drift_nothing_is_written(story: Story, weir: RunningAgent) -> None:
    await begin(story, config())
    await story.ready()
    before = await story.admin.get(*CM, story.namespace, "c")
    await verify(story, "look")
    assert (await story.admin.get(*CM, story.namespace, "c")) == before
    await story.event("app", f"ConfigMap/{story.namespace}/c created")
    assert len([line for line in await story.events("app") if line.startswith("Progressing")]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {f"{GROUP}/name": "other"}}},
        {"metadata": {"annotations": {"team": "theirs"}}},
        {"data": {"greeting": "theirs"}},
    ],
)
async def test_labels_annotations_and_content_are_put_right(story: Story, change: dict[str, Any]) -> None:
    await begin(story, config(annotations={"team": "ours"}))
    await story.ready()
    await story.admin.patch(*CM, story.namespace, "c", change)
    await verify(story, "now")
    found = await story.admin.get(*CM, story.namespace, "c")
    assert found["data"] == {"greeting": "hi"}
    assert found["metadata"]["annotations"] == {"team": "ours"}
    assert found["metadata"]["labels"][f"{GROUP}/name"] == "app"


async def test_nothing_of_a_stage_is_written_if_one_of_it_is_refused_but_earlier_stages_stay(story: Story) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": story.namespace},
        "rules": [],
    }
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 99999}]}}
    await begin(story, config(), role, wrong, retryInterval="1h")  # what is created is told of once
    failed = await story.failed(text="dry-run failed")
    text = message(failed)
    assert text.startswith(f'Service/{story.namespace}/s dry-run failed (Invalid): Service "s" is invalid')
    assert text.splitlines()[-1] == f"ClusterRole/{story.namespace} created"
    assert await story.admin.find(*CM, story.namespace, "c") is None
    found = await story.admin.get("rbac.authorization.k8s.io/v1", "ClusterRole", None, story.namespace)
    assert found["metadata"]["labels"][f"{GROUP}/name"] == "app"


async def test_classes_have_a_stage_of_their_own(story: Story) -> None:
    kind = ("scheduling.k8s.io/v1", "PriorityClass")
    first = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": story.namespace}, "value": 7}
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 99999}]}}
    await begin(story, first, wrong, retryInterval="1h")
    await story.failed(text=f"PriorityClass/{story.namespace} created")
    assert await story.admin.find(*kind, None, story.namespace)


async def test_a_definition_that_will_never_be_served_ends_the_apply(story: Story) -> None:
    group = f"{story.namespace}.example.org"
    other = definition(group)
    other["metadata"] = {"name": f"gadgets.{group}"}
    other["spec"]["names"] |= {"plural": "gadgets", "singular": "gadget"}
    await story.admin.create(definition(group))
    served = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    await story.admin.wait_for(
        *served, None, f"widgets.{group}", lambda found: condition(found, "Established") == "True"
    )
    await begin(story, other, config(), retryInterval="1h")
    failed = await story.failed(text="stalled")
    assert message(failed).splitlines() == [
        f"failed early due to stalled resources: [CustomResourceDefinition/gadgets.{group} status: 'Failed']",
        f"CustomResourceDefinition/gadgets.{group} created",
    ]
    assert await story.admin.find(*CM, story.namespace, "c") is None
    await story.admin.delete(*served, None, f"widgets.{group}")


async def test_records_of_an_older_api_version_are_moved_where_the_gate_says_so(
    story: Story, own_agent: OwnAgent
) -> None:
    kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
    made = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "x"}}
    old = {**made, "apiVersion": "autoscaling/v1", "metadata": {"name": "x", "namespace": story.namespace}}
    await story.admin.apply({**old, "spec": {"maxReplicas": 2, "scaleTargetRef": target}})
    await begin(story, {**made, "spec": {"maxReplicas": 2, "scaleTargetRef": target}})
    async with own_agent(gates=FeatureGates(migrate_api_version=True)):
        await story.ready()
        found = await story.admin.get(*kind, story.namespace, "x")
        versions = {entry["manager"]: entry["apiVersion"] for entry in found["metadata"]["managedFields"]}
        assert versions == {"test": "autoscaling/v2", "kustomize-controller": "autoscaling/v2"}
        await verify(story, "again")
        again = await story.admin.get(*kind, story.namespace, "x")
        assert again["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


async def test_a_custom_stage_comes_before_the_rest(story: Story, own_agent: OwnAgent) -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 99999}]}}
    await begin(story, config(), wrong, retryInterval="1h")
    async with own_agent(custom_apply_stage_kinds=frozenset({"ConfigMap"})):
        failed = await story.failed(text="dry-run failed")
        assert f"ConfigMap/{story.namespace}/c created" in message(failed)
        assert await story.admin.find(*CM, story.namespace, "c")


def widget(group: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


async def test_a_definition_is_waited_for_before_its_objects_are_sent(story: Story) -> None:
    group = f"{story.namespace}.example.org"
    await begin(story, widget(group, size=1), definition(group))
    await story.ready()
    found = await story.admin.get(f"{group}/v1", "Widget", story.namespace, "w")
    assert found["spec"] == {"size": 1}


@pytest.mark.parametrize("substitute", [None, {"word": "x"}])
async def test_integers_keep_all_their_digits(story: Story, substitute: dict[str, str] | None) -> None:
    """Upstream rounds those above 2^53 in custom resources once there are variables."""
    group = f"{story.namespace}.example.org"
    numbers = {"seed": 2**53 + 1, "bytes": 2**63 - 1, "small": -(2**53) - 3}
    await begin(
        story,
        definition(group),
        widget(group, **numbers, name="${word:=x}"),
        **({"postBuild": {"substitute": substitute}} if substitute else {}),
    )
    await story.ready()
    found = await story.admin.get(f"{group}/v1", "Widget", story.namespace, "w")
    assert {name: found["spec"][name] for name in numbers} == numbers


async def test_a_namespace_that_nobody_named_and_one_that_is_not_there(story: Story) -> None:
    story.git.commit({"all.yaml": document(config())})
    await story.source()
    spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}}
    await story.admin.apply(
        {"apiVersion": KS[0], "kind": KS[1], "metadata": {"name": "app", "namespace": story.namespace}, "spec": spec}
    )
    failed = await story.failed(text="namespace not specified")
    assert message(failed).startswith("ConfigMap/c namespace not specified: ")

    await story.kustomization(targetNamespace=f"{story.namespace}-none")
    failed = await story.failed(text="not found")
    assert message(failed).startswith(f'ConfigMap/{story.namespace}-none/c not found: namespaces "')


async def test_a_kind_that_nobody_defined(story: Story) -> None:
    await begin(story, widget("nobody.example.org"))
    failed = await story.failed(text="no matches for kind")
    assert message(failed) == (
        f'Widget/{story.namespace}/w dry-run failed: no matches for kind "Widget" in version "nobody.example.org/v1"'
    )
    assert not (failed["status"].get("inventory") or {}).get("entries")


async def test_what_has_no_place_in_a_desired_object_is_dropped_before_it_is_sent(story: Story) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "x"}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "creationTimestamp": None},
        "spec": {"ports": [{"port": 53}, {"name": "udp", "port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {}},
    }
    service["spec"]["ports"][0]["name"] = "tcp"
    await begin(story, secret, service)
    await story.ready()
    found = await story.admin.get("v1", "Secret", story.namespace, "s")
    assert found["data"] == {"a": "eA=="}
    ports = (await story.admin.get("v1", "Service", story.namespace, "s"))["spec"]["ports"]
    assert [port["protocol"] for port in ports] == ["TCP", "UDP"]
    await verify(story, "again")
    assert not [line for line in await story.events("app") if "configured" in line]


@pytest.mark.parametrize("field", ["data", "stringData"])
async def test_cipher_text_is_never_applied(story: Story, field: str) -> None:
    """Upstream lets one form of it through, with Ready True."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        field: {"a": "RU5DW0FFUzI1Nl9HQ01d"},
        "sops": {"mac": "ENC[AES256_GCM,data:x,type:str]", "version": "3.9.0"},
    }
    await begin(story, secret, config())
    failed = await story.failed(text="SOPS")
    assert message(failed) == (
        f"Secret/{story.namespace}/s is SOPS encrypted, "
        "configuring decryption is required for this secret to be reconciled"
    )
    reasons = {entry["type"]: entry["reason"] for entry in failed["status"]["conditions"]}
    assert reasons["Ready"] == "ReconciliationFailed"
    assert await story.admin.find("v1", "Secret", story.namespace, "s") is None
    assert await story.admin.find(*CM, story.namespace, "c") is None
