"""Flux 5.7 and 4.10, several teams on one agent: whatever is done with a team's objects is done in the team's name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import load
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.target import Target
from agent.controllers.kustomization.health import HealthFailedError, HealthWaiter
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Entry
from agent.core.objects import ObjectKey
from agent.telemetry.metrics import Metrics
from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.processes import until
from tests.scenarios.conftest import KS, PATIENCE, RunningAgent, Story, message

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {greeting: hi}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"
CONFIG_MAP = ("v1", "ConfigMap")
RBAC = "rbac.authorization.k8s.io"
TEAM = "team"
ALL = ["*"]


async def account(story: Story, name: str = TEAM, verbs: list[str] = ALL) -> str:
    """A ServiceAccount that may do something with ConfigMaps of the story's namespace and nothing else: its user."""
    metadata = {"name": name, "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    await story.admin.apply(binding)
    await allow(story, name, verbs)
    return f"system:serviceaccount:{story.namespace}:{name}"


async def allow(story: Story, name: str, verbs: list[str]) -> None:
    """Change what the account may do; the API server goes by it when this returns."""
    metadata = {"name": name, "namespace": story.namespace}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]
    await story.admin.apply({"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules})

    async def in_force() -> bool:
        wanted = {verb: bool({verb, "*"} & set(verbs)) for verb in ("get", "create", "patch", "delete")}
        return {verb: await may(story, name, verb) for verb in wanted} == wanted

    await until(in_force, timeout=PATIENCE, what=f"the rights of {name}")


async def may(story: Story, name: str, verb: str) -> bool:
    """Whether the API server lets the account do something with ConfigMaps of the story's namespace."""
    attributes = {"namespace": story.namespace, "verb": verb, "resource": "configmaps"}
    user = f"system:serviceaccount:{story.namespace}:{name}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{story.namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }
    return bool((await story.admin.create(review))["status"]["allowed"])


async def inventory(story: Story, name: str = "app") -> list[str]:
    """What the Kustomization owns."""
    found = await story.admin.get(*KS, story.namespace, name)
    return [entry["id"] for entry in found["status"]["inventory"]["entries"]]


def text(found: dict[str, Any]) -> str:
    """Everything that the status says."""
    return json.dumps(found["status"])


async def test_a_team_applies_what_its_account_may_and_no_more(story: Story) -> None:
    user = await account(story)
    story.git.commit({"fine/c.yaml": CONFIG, "more/c.yaml": CONFIG, "more/s.yaml": SECRET})
    await story.source()
    await story.kustomization("fine", path="./fine", serviceAccountName=TEAM)
    await story.kustomization("more", path="./more", serviceAccountName=TEAM, namePrefix="x-")
    await story.ready("fine")
    refused = await story.failed("more", f'User "{user}" cannot')
    reasons = {entry["type"]: entry["reason"] for entry in refused["status"]["conditions"]}
    assert reasons["Ready"] == "ReconciliationFailed"
    assert "secrets" in message(refused)
    assert "hunter2" not in text(refused)
    # of a stage with a refusal nothing is written
    assert not [
        found for found in await story.admin.list(*CONFIG_MAP, story.namespace) if found["metadata"]["name"] == "x-c"
    ]


async def test_other_namespaces_are_out_of_reach(story: Story) -> None:
    user = await account(story)
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(serviceAccountName=TEAM, targetNamespace="default")
    refused = await story.failed("app", f'User "{user}" cannot')
    assert 'in the namespace "default"' in message(refused)


async def test_a_weaker_account_is_asked_about_although_nothing_else_has_changed(story: Story) -> None:
    await account(story)
    weak = await account(story, "weak", ["get"])
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(serviceAccountName=TEAM)
    await story.ready()
    await story.kustomization(serviceAccountName="weak")
    await story.failed("app", f'User "{weak}" cannot patch resource "configmaps"')
    await story.kustomization(serviceAccountName=TEAM)
    await story.ready()


async def test_drift_is_corrected_in_the_name_of_the_team(story: Story) -> None:
    user = await account(story)
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(serviceAccountName=TEAM)
    await story.ready()
    await story.admin.patch(*CONFIG_MAP, story.namespace, "c", {"data": {"greeting": "bye"}})
    await story.until(CONFIG_MAP, "c", lambda now: now is not None and now["data"] == {"greeting": "hi"})
    await allow(story, TEAM, ["get"])
    await story.admin.patch(*CONFIG_MAP, story.namespace, "c", {"data": {"greeting": "bye"}})
    await story.failed("app", f'User "{user}" cannot patch')
    assert (await story.admin.get(*CONFIG_MAP, story.namespace, "c"))["data"] == {"greeting": "bye"}
    await allow(story, TEAM, ALL)
    await story.ready()


async def test_pruning_takes_the_right_to_delete_and_forgets_nothing_without_it(story: Story) -> None:
    user = await account(story, verbs=["get", "create", "patch"])
    story.git.commit({"c.yaml": CONFIG, "d.yaml": CONFIG.replace("name: c", "name: d")})
    await story.source()
    await story.kustomization(serviceAccountName=TEAM)
    await story.ready()
    story.git.delete("d.yaml")
    await story.pull("1")
    refused = await story.failed("app", f'User "{user}" cannot delete')
    assert {entry["reason"] for entry in refused["status"]["conditions"] if entry["type"] == "Ready"} == {"PruneFailed"}
    assert f"{story.namespace}_d__ConfigMap" in await inventory(story)
    await allow(story, TEAM, ALL)
    await story.until(CONFIG_MAP, "d", lambda now: now is None)


async def variables_of(story: Story) -> None:
    """A ConfigMap and a Secret of the name `vars`; the account of the team may not read the Secret."""
    await account(story)
    for kind, name in (("ConfigMap", "vars"), ("Secret", "vars")):
        metadata = {"name": name, "namespace": story.namespace}
        data = {"data": {"greeting": "hi"}} if kind == "ConfigMap" else {"stringData": {"greeting": "hunter2"}}
        await story.admin.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **data})
    story.git.commit({"c.yaml": CONFIG.replace("hi", "'${greeting}'")})
    await story.source()


def variables_from(kind: str) -> dict[str, Any]:
    """A spec that takes them from one of the two."""
    substitute = [{"kind": kind, "name": "vars", "optional": True}]
    return {"serviceAccountName": TEAM, "postBuild": {"substituteFrom": substitute}}


async def test_variables_are_read_by_the_agent_as_by_flux(story: Story) -> None:
    await variables_of(story)
    await story.kustomization(**variables_from("Secret"))
    await story.ready()
    assert (await story.admin.get(*CONFIG_MAP, story.namespace, "c"))["data"] == {"greeting": "hunter2"}


async def test_variables_are_read_in_the_name_of_the_team_where_the_flag_says_so(
    story: Story, own_agent: OwnAgent
) -> None:
    await variables_of(story)
    await story.kustomization("fine", **variables_from("ConfigMap"))
    await story.kustomization("more", namePrefix="x-", **variables_from("Secret"))
    async with own_agent(tenant_reads_variables=True):
        await story.ready("fine")
        refused = await story.failed("more", "substitute from 'Secret/vars' error: ")
    assert f'User "system:serviceaccount:{story.namespace}:{TEAM}" cannot get' in message(refused)
    assert "hunter2" not in text(refused)


async def test_an_account_that_is_gone_leaves_its_objects_and_lets_go(story: Story) -> None:
    await account(story)
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(serviceAccountName=TEAM)
    await story.ready()
    await story.admin.delete("v1", "ServiceAccount", story.namespace, TEAM)
    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda now: now is None)
    await story.event("app", "unable to prune objects: ")
    assert (await story.admin.get(*CONFIG_MAP, story.namespace, "c"))["data"] == {"greeting": "hi"}


async def test_a_default_account_takes_the_place_of_the_agent(story: Story, own_agent: OwnAgent) -> None:
    default = await account(story, "common", ["get"])
    await account(story)
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization("silent")
    await story.kustomization("named", serviceAccountName=TEAM, namePrefix="x-")
    async with own_agent(default_service_account="common"):
        await story.failed("silent", f'User "{default}" cannot')
        await story.ready("named")


# Health checks: what one may not read says nothing, however well others know it


@pytest.fixture
async def agent_target(control_plane: ControlPlane) -> AsyncIterator[Target]:
    """The cluster with all rights, and nothing watched."""
    async with KubeClient(await load(str(control_plane.kubeconfig))) as client:
        live = LiveIndex(client, on_problem=lambda _name, _error: None)
        yield Target(client, Discovery(client), live, Memory())


async def test_a_health_check_of_something_unreadable_is_forbidden_and_tells_nothing(
    story: Story, admin: Admin, agent_target: Target
) -> None:
    user = await account(story)
    metadata = {"name": "theirs", "namespace": "default"}
    await admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"secret": "hunter2"}})
    waiter = HealthWaiter(None, Shortcuts(Metrics(), verify=False))  # type: ignore[arg-type]  # no expressions here
    there = [Entry(ObjectKey("", "ConfigMap", "default", "theirs"), "v1")]
    missing = [Entry(ObjectKey("", "ConfigMap", "default", "nothing"), "v1")]
    try:
        await waiter.wait(agent_target, there, PATIENCE)  # the agent itself finds it healthy
        client = agent_target.client.as_service_account(story.namespace, TEAM)
        team = Target(client, agent_target.discovery, agent_target.live, agent_target.memory)
        said = []
        for entries in (there, missing):
            assert not waiter.known_healthy(team, entries)
            with pytest.raises(HealthFailedError) as failed:
                await waiter.wait(team, entries, 0.5)
            said.append(failed.value.summary.replace(entries[0].key.name, "NAME"))
        assert f'User "{user}" cannot get resource "configmaps"' in said[0]
        assert "hunter2" not in said[0]
        assert said[0] == said[1], "whether the object exists"
    finally:
        await admin.delete("v1", "ConfigMap", "default", "theirs")


# What a repository can make the agent read: its own files


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        ("files: [stolen=absolute]", "absolute"),
        ("files: [stolen=upwards]", "upwards"),
        ("files: [stolen={outside}]", "is not in or below the root of the source"),
        ("envs: [absolute]", "absolute"),
    ],
)
async def test_a_repository_reads_no_file_of_the_agent(story: Story, tmp_path: Path, generator: str, said: str) -> None:
    outside = tmp_path / "token"
    outside.write_text("key=hunter2\n")
    story.git.commit(
        {"app/kustomization.yaml": f"configMapGenerator: [{{name: c, {generator.format(outside=outside)}}}]\n"},
        symlinks={"app/absolute": str(outside), "app/upwards": "../" * 30 + str(outside).lstrip("/")},
    )
    await story.source()
    await story.kustomization(path="./app")
    failed = await story.failed("app", said)
    assert "hunter2" not in text(failed)
    maps = await story.admin.list(*CONFIG_MAP, story.namespace)
    assert "hunter2" not in json.dumps(maps)
