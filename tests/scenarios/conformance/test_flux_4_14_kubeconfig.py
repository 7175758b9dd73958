"""Flux 4.14, `spec.kubeConfig`: everything that is done with the objects is done on another, real control plane."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.gates import FeatureGates
from testbed.controlplane import ControlPlane
from testbed.kube import Admin, condition
from tests.kube.proxy import proxying
from tests.scenarios.conftest import KS, PATIENCE, RunningAgent, Story, message

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {greeting: hi}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"
CONFIG_MAP = ("v1", "ConfigMap")
REMOTE = {"secretRef": {"name": "far"}}


@dataclass
class Far:
    """The other cluster, seen by its administrator, and the namespace there that is named as the story's is."""

    plane: ControlPlane
    admin: Admin
    namespace: str = ""

    def kubeconfig(self, user: dict[str, Any] | None = None, **cluster: Any) -> str:
        """A self-contained one, its administrator's unless told otherwise."""
        authority = base64.b64encode(self.plane.ca_file.read_bytes()).decode()
        place = {"server": self.plane.url, "certificate-authority-data": authority, **cluster}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {key: value for key, value in place.items() if value is not None}}],
            "users": [{"name": "u", "user": {"token": self.plane.admin_token} if user is None else user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        return json.dumps(document)

    async def get(self, kind: tuple[str, str], name: str) -> dict[str, Any]:
        """An object that has to be there."""
        return await self.admin.get(*kind, self.namespace, name)

    async def until(
        self, kind: tuple[str, str], name: str, predicate: Callable[[dict[str, Any] | None], bool]
    ) -> dict[str, Any]:
        """Wait for an object."""
        return await self.admin.wait_for(*kind, self.namespace, name, predicate)

    async def account(self, name: str, *resources: str) -> str:
        """A ServiceAccount that may do everything with some core resources of the namespace; returns a token of it."""
        space = {"namespace": self.namespace}
        metadata = {"name": name, **space}
        rbac = "rbac.authorization.k8s.io"
        await self.admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        rules = [{"apiGroups": [""], "resources": list(resources), "verbs": ["*"]}]
        await self.admin.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
        binding = {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, **space}],
        }
        await self.admin.create(binding)
        return await self.admin.token(self.namespace, name)


@pytest.fixture(scope="module")
async def other_plane() -> AsyncIterator[ControlPlane]:
    """A second control plane, for the stories of this file."""
    async with ControlPlane() as running:
        yield running


@pytest.fixture
async def far(other_plane: ControlPlane, story: Story) -> AsyncIterator[Far]:
    """The other cluster, with a namespace of the story's name."""
    async with Admin(other_plane.url, other_plane.ca_file, other_plane.admin_token) as admin:
        await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": story.namespace}})
        yield Far(other_plane, admin, story.namespace)


async def keep(story: Story, name: str = "far", **values: str) -> None:
    """Store a kubeconfig in a Secret, or what else is given by key."""
    metadata = {"name": name, "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})


async def absent(story: Story, kind: tuple[str, str], name: str) -> bool:
    """True if this cluster has no such object in the story's namespace."""
    return all(found["metadata"]["name"] != name for found in await story.admin.list(*kind, story.namespace))


async def test_objects_are_applied_corrected_checked_and_pruned_there_and_not_here(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG, "d.yaml": CONFIG.replace("name: c", "name: d")})
    await story.source()
    await keep(story, value=far.kubeconfig())
    await story.kustomization(kubeConfig=REMOTE, wait=True, deletionPolicy="WaitForTermination")
    found = await story.ready()
    assert condition(found, "Healthy") == "True"
    applied = await far.get(CONFIG_MAP, "c")
    assert applied["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "app"
    assert await absent(story, CONFIG_MAP, "c")

    await far.admin.patch(*CONFIG_MAP, far.namespace, "c", {"data": {"greeting": "bye"}})
    await far.until(CONFIG_MAP, "c", lambda now: now is not None and now["data"] == {"greeting": "hi"})

    story.git.delete("d.yaml")
    await story.pull("1")
    await far.until(CONFIG_MAP, "d", lambda now: now is None)
    assert "ConfigMap/" in await story.event("app", "d deleted")

    await story.admin.delete(*KS, story.namespace, "app")
    await far.until(CONFIG_MAP, "c", lambda now: now is None)
    await story.until(KS, "app", lambda now: now is None)


async def test_the_keys_of_the_secret(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await keep(story, "first", value=far.kubeconfig(), **{"value.yaml": "nonsense"})
    await keep(story, "second", **{"value.yaml": far.kubeconfig()})
    await keep(story, "third", mine=far.kubeconfig(), value="nonsense")
    await keep(story, "none", other="x")
    await story.kustomization("first", kubeConfig={"secretRef": {"name": "first"}})
    await story.kustomization("second", kubeConfig={"secretRef": {"name": "second"}}, namePrefix="b-")
    await story.kustomization("third", kubeConfig={"secretRef": {"name": "third", "key": "mine"}}, namePrefix="c-")
    for name in ("first", "second", "third"):
        await story.ready(name)

    where = f"failed to build kube client: KubeConfig secret '{story.namespace}/none' does not contain a"
    await story.kustomization("none", kubeConfig={"secretRef": {"name": "none"}})
    await story.failed("none", f"{where} 'value' key with a kubeconfig")
    await story.kustomization("named", kubeConfig={"secretRef": {"name": "none", "key": "k"}})
    failed = await story.failed("named", f"{where} 'k' key with a kubeconfig")
    reasons = {entry["type"]: entry["reason"] for entry in failed["status"]["conditions"]}
    assert reasons["Ready"] == "ReconciliationFailed"


async def test_a_secret_that_does_not_exist_yet(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(kubeConfig=REMOTE)
    text = (
        f"failed to build kube client: unable to read KubeConfig secret '{story.namespace}/far' "
        'error: Secret "far" not found'
    )
    failed = await story.failed("app", text)
    assert message(failed) == text
    assert await story.event("app", text) == f"ReconciliationFailed: {text}"
    await keep(story, value="a: [hunter2")
    unread = await story.failed("app", "is not valid YAML")
    assert "hunter2" not in message(unread)
    await keep(story, value=far.kubeconfig())
    await story.ready()


async def test_programs_are_run_only_if_the_agent_is_told_to(
    story: Story, far: Far, own_agent: OwnAgent, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    status = {"token": far.plane.admin_token}
    said = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
    program = f"open({str(ran)!r}, 'w').close(); print({said!r})"
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", program],
        "interactiveMode": "Never",
    }
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await keep(story, value=far.kubeconfig({"exec": command}))
    await story.kustomization(kubeConfig=REMOTE)
    async with own_agent():
        failed = await story.failed("app", "--insecure-kubeconfig-exec")
        assert far.plane.admin_token not in json.dumps(failed)
        assert not ran.exists()
    async with own_agent(insecure_kubeconfig_exec=True):
        await story.ready()
        assert ran.exists()


async def test_servers_are_verified_unless_the_agent_is_told_otherwise(
    story: Story, far: Far, own_agent: OwnAgent
) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    blind = {"certificate-authority-data": None, "insecure-skip-tls-verify": True}
    await keep(story, value=far.kubeconfig(**blind))
    await story.kustomization(kubeConfig=REMOTE)
    async with own_agent():
        await story.failed("app", "--insecure-kubeconfig-tls")
    async with own_agent(insecure_kubeconfig_tls=True):
        await story.ready()


async def test_files_of_the_agent_are_not_read(story: Story, far: Far) -> None:
    token = far.plane.workdir / "token-of-the-agent"
    token.write_text(far.plane.admin_token)
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await keep(story, value=far.kubeconfig({"tokenFile": str(token)}))
    await story.kustomization(kubeConfig=REMOTE)
    failed = await story.failed("app", "tokenFile (put the content inline")
    assert far.plane.admin_token not in json.dumps(failed)


async def test_impersonation_happens_on_the_target_cluster(story: Story, far: Far) -> None:
    await far.account("deployer", "configmaps")
    story.git.commit(
        {"fine/c.yaml": CONFIG.replace("hi", "'${greeting}'"), "more/c.yaml": CONFIG, "more/s.yaml": SECRET}
    )
    await story.source()
    await keep(story, value=far.kubeconfig())
    await keep(story, "variables", greeting="from here")
    as_deployer = {"kubeConfig": REMOTE, "serviceAccountName": "deployer"}
    variables = {"substituteFrom": [{"kind": "Secret", "name": "variables"}]}
    await story.kustomization(path="./fine", **as_deployer, postBuild=variables)
    await story.ready()
    assert (await far.get(CONFIG_MAP, "c"))["data"] == {"greeting": "from here"}
    await story.kustomization("more", path="./more", namePrefix="x-", **as_deployer)
    account = f"system:serviceaccount:{story.namespace}:deployer"
    refused = await story.failed("more", f'User "{account}" cannot')
    assert "Forbidden" in message(refused)
    assert "hunter2" not in json.dumps(refused)
    # there is no such account on this cluster, and it is not missed
    await story.admin.delete(*KS, story.namespace, "app")
    await far.until(CONFIG_MAP, "c", lambda now: now is None)


async def test_new_credentials_are_used_once_the_secret_has_them(story: Story, far: Far) -> None:
    less = await far.account("less", "configmaps")
    more = await far.account("more", "configmaps", "secrets")
    story.git.commit({"c.yaml": CONFIG, "s.yaml": SECRET})
    await story.source()
    await keep(story, value=far.kubeconfig({"token": less}))
    await story.kustomization(kubeConfig=REMOTE)
    await story.failed("app", f'User "system:serviceaccount:{story.namespace}:less" cannot')
    await keep(story, value=far.kubeconfig({"token": more}))
    await story.ready()
    assert (await far.get(("v1", "Secret"), "s"))["data"]


async def test_a_marked_secret_starts_a_pass_when_it_changes(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(kubeConfig=REMOTE, retryInterval="10m")
    await story.failed("app", 'Secret "far" not found')
    metadata = {"name": "far", "namespace": story.namespace, "labels": {"reconcile.fluxcd.io/watch": "Enabled"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"value": far.kubeconfig()}}
    await story.admin.apply(secret)
    await story.ready()


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of something that accepts connections and says nothing; the event tells of the first one."""
    asked = asyncio.Event()
    open_ends: list[asyncio.StreamWriter] = []

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        asked.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for writer in open_ends:
            writer.transport.abort()
        await server.wait_closed()


async def test_a_cluster_that_does_not_answer_holds_nobody_else_up(story: Story, far: Far, own_agent: OwnAgent) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    async with silent_server() as (url, asked), own_agent(concurrent=1):
        await keep(story, "dead", value=far.kubeconfig(server=url))
        for name in ("dead-1", "dead-2", "dead-3"):
            await story.kustomization(name, kubeConfig={"secretRef": {"name": "dead"}}, timeout="30s")
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
        await story.kustomization("alive")
        await story.ready("alive")
        for name in ("dead-1", "dead-2", "dead-3"):
            failed = await story.failed(name, f"failed to build kube client: cluster {url}")
            assert "no answer within 10 s" in message(failed)


async def test_a_deletion_waits_for_a_cluster_that_is_away_and_says_so(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    port = int(far.plane.url.rpartition(":")[2])
    async with proxying(port) as proxy:
        await keep(story, value=far.kubeconfig(server=f"https://127.0.0.1:{proxy.port}"))
        await story.kustomization(kubeConfig=REMOTE)
        await story.ready()
    # the proxy is gone, and with it the way to the cluster
    await story.admin.delete(*KS, story.namespace, "app")
    held = await story.failed("app", "to leave the objects there, set spec.deletionPolicy to Orphan")
    assert "cannot connect" in message(held)
    assert held["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    await story.event("app", "pruning for deleted resource failed: failed to build kube client: cluster https://")
    await keep(story, value=far.kubeconfig())
    await far.until(CONFIG_MAP, "c", lambda now: now is None)
    await story.until(KS, "app", lambda now: now is None)


async def test_a_deletion_ends_at_once_when_the_objects_are_to_stay(story: Story, far: Far) -> None:
    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await keep(story, value=far.kubeconfig())
    await story.kustomization(kubeConfig=REMOTE)
    await story.ready()
    await story.admin.delete("v1", "Secret", story.namespace, "far")
    await story.admin.delete(*KS, story.namespace, "app")
    await story.failed("app", 'Secret "far" not found; to leave the objects there')
    await story.admin.patch(*KS, story.namespace, "app", {"spec": {"deletionPolicy": "Orphan"}})
    await story.until(KS, "app", lambda now: now is None)
    assert (await far.get(CONFIG_MAP, "c"))["data"] == {"greeting": "hi"}


async def test_access_by_an_account_that_the_other_cluster_knows(
    story: Story, control_plane: ControlPlane, own_agent: OwnAgent
) -> None:
    """The generic provider. The cluster that trusts this one's tokens is this one itself, by its address."""
    space = story.namespace
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": "traveller", "namespace": space}
    await story.admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "traveller", "namespace": space}],
    }
    await story.admin.create(binding)
    data = {
        "provider": "generic",
        "address": control_plane.url.removeprefix("https://"),
        "ca.crt": control_plane.ca_file.read_text(),
        "audiences": "https://kubernetes.default.svc.cluster.local\n",
        "serviceAccountName": "traveller",
    }

    async def settings(name: str, **changes: str) -> dict[str, Any]:
        values = {key: value for key, value in {**data, **changes}.items() if value}
        where = {"name": name, "namespace": space}
        await story.admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": values})
        return {"configMapRef": {"name": name}}

    story.git.commit({"c.yaml": CONFIG})
    await story.source()
    await story.kustomization(kubeConfig=await settings("fine"))
    await story.kustomization("nobody", kubeConfig=await settings("nobody", serviceAccountName=""))
    await story.kustomization("missing", kubeConfig=await settings("missing", serviceAccountName="missing"))
    await story.kustomization("strange", kubeConfig=await settings("strange", audiences="elsewhere"))
    await story.kustomization("cloud", kubeConfig=await settings("cloud", provider="aws"))
    await story.kustomization("other", kubeConfig=await settings("other", provider="ours"))
    await story.kustomization("lost", kubeConfig={"configMapRef": {"name": "lost"}})
    async with own_agent(gates=FeatureGates(object_level_workload_identity=True)):
        await story.ready()
        await story.failed("nobody", "serviceAccountName is required")
        await story.failed("missing", f"failed to get service account '{space}/missing'")
        await story.failed("strange", "Unauthorized")
        await story.failed("cloud", "invalid EKS cluster ARN: ''")
        await story.failed("other", "provider 'ours' not implemented")
        await story.failed("lost", f'failed to get configmap {space}/lost: ConfigMap "lost" not found')
        assert not await absent(story, CONFIG_MAP, "c")
    async with own_agent():
        await story.request(KS, "app", "without the gate")
        await story.failed("app", "ObjectLevelWorkloadIdentity feature gate is not enabled")
