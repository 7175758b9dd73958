"""The agent as the chart runs it: as that Deployment's Pod, with that ServiceAccount's token and that role's rights.

The cluster is real but for the node, which runs the Pod's container as a local process. Everything is installed by
helm; the agent gets at the API server with nothing but the token that the Pod mounts.
"""

import asyncio
import contextlib
import json
import secrets

import aiohttp
import pytest

from testbed.binaries import crd_files
from testbed.git import GitHTTPServer
from testbed.kube import condition
from testbed.node import Access, Image, ProcessNode, local_port, python_module
from tests.chart.helm import CHART, sets

NAMESPACE = "flux-system"
GIT = ("source.toolkit.fluxcd.io/v1", "GitRepository")
CANARY = ("flagger.app/v1beta1", "Canary")
KS = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
PATIENCE = 150
"""Seconds for what has to wait for a Pod to end, which it may take a minute over, and for the next one to begin."""
RESTRICTED = ("rbac.applier=impersonation", "logLevel=debug")

MANIFESTS = {
    "app/settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  model: hf://org/m@a1\n",
    # The agent's role says nothing of this kind, so it cannot watch it.
    "app/account.yaml": (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: runner\n  annotations:\n    team: serving\n"
    ),
}


@pytest.fixture(scope="module")
async def node(cluster, cluster_admin, tmp_path_factory):
    """A node that knows the image `weir`."""
    access = Access(cluster.url, cluster.admin_token, cluster.ca_file)
    sleeper = Image(entrypoint=("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done"))
    images = {"weir": python_module("agent.cli"), "sleeper": sleeper}
    async with ProcessNode(access, workdir=tmp_path_factory.mktemp("node"), images=images) as running:
        yield running


@pytest.fixture(scope="module")
async def git(tmp_path_factory):
    async with GitHTTPServer(tmp_path_factory.mktemp("git"), basic=("weir", "not-for-the-log")) as server:
        server.repository("models").commit(MANIFESTS)
        yield server


@pytest.fixture(scope="module")
async def installed(installer, node):
    """The chart, installed by `helm --wait`: ready by the readiness probe of its own Deployment."""
    await installer.run(
        "install",
        "weir",
        str(CHART),
        "-n",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout=200s",
        *sets(RESTRICTED),
    )
    return installer


@pytest.fixture
async def pod(installed, cluster_admin):
    """The agent's only Pod, ready."""
    async with asyncio.timeout(PATIENCE):
        while True:
            pods = await cluster_admin.list("v1", "Pod", NAMESPACE, "app.kubernetes.io/name=weir")
            ends = any("deletionTimestamp" in pod["metadata"] for pod in pods)
            if len(pods) == 1 and condition(pods[0], "Ready") == "True" and not ends:
                return pods[0]
            await asyncio.sleep(0.2)


@pytest.fixture
async def team(installed, cluster_admin, git):
    """A namespace with a ServiceAccount that may edit it, credentials for Git, and a GitRepository."""
    name = f"team-{secrets.token_hex(3)}"
    await cluster_admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for obj in in_namespace(name, git):
        await cluster_admin.create(obj)
    return name


def in_namespace(name, git):
    metadata = {"namespace": name}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "name": "deployer"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {**metadata, "name": "deployer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": name}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "name": "git"},
            "stringData": {"username": "weir", "password": "not-for-the-log"},
        },
        {
            "apiVersion": GIT[0],
            "kind": GIT[1],
            "metadata": {**metadata, "name": "models"},
            "spec": {
                "url": git.url("models"),
                "interval": "1m",
                "ref": {"branch": "main"},
                "secretRef": {"name": "git"},
            },
        },
    ]


def kustomization(namespace, name="app", **spec):
    return {
        "apiVersion": KS[0],
        "kind": KS[1],
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "interval": "10m",
            "retryInterval": "2s",
            "prune": True,
            "path": "./app",
            "targetNamespace": namespace,
            "sourceRef": {"kind": "GitRepository", "name": "models"},
            **spec,
        },
    }


def ready_condition(obj):
    conditions = obj["status"].get("conditions", []) if obj else []
    return next((entry for entry in conditions if entry["type"] == "Ready"), {"status": "", "reason": ""})


async def ready(cluster_admin, kind, namespace, name, status="True", reason=""):
    """The Ready condition once it has that status (and reason) for the present generation."""

    def settled(obj):
        found = ready_condition(obj)
        return (
            found["status"] == status
            and reason in ("", found["reason"])
            and found["observedGeneration"] == obj["metadata"]["generation"]
        )

    return ready_condition(await cluster_admin.wait_for(*kind, namespace, name, settled, timeout=PATIENCE))


async def fetch(pod, port, path):
    """Status and text of one answer of the Pod."""
    url = f"http://127.0.0.1:{local_port(pod, port)}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_the_pod_runs_with_the_release_s_own_service_account(pod):
    assert pod["spec"]["serviceAccountName"] == "weir"
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
    assert condition(pod, "Ready") == "True"


async def test_its_probes_metrics_and_api_answer(pod):
    assert (await fetch(pod, 9440, "/healthz"))[0] == 200
    assert (await fetch(pod, 9440, "/readyz"))[0] == 200
    status, text = await fetch(pod, 8080, "/metrics")
    assert status == 200
    assert "\nweir_" in text
    status, text = await fetch(pod, 9980, "/api/v1/openapi.json")
    assert status == 200
    assert json.loads(text)["openapi"].startswith("3.")


async def test_it_holds_the_lease_that_its_role_allows(pod, cluster_admin):
    lease = await cluster_admin.wait_for(
        "coordination.k8s.io/v1",
        "Lease",
        NAMESPACE,
        "weir-leader-election",
        lambda found: bool(found and found["spec"].get("holderIdentity")),
        timeout=PATIENCE,
    )
    assert lease["spec"]["leaseDurationSeconds"] == 35


async def test_it_applies_as_the_service_account_of_the_kustomization(team, cluster_admin, git):
    await cluster_admin.create(kustomization(team, serviceAccountName="deployer"))

    head = f"main@sha1:{git.repository('models').head()}"
    assert head in (await ready(cluster_admin, GIT, team, "models"))["message"]
    assert (await ready(cluster_admin, KS, team, "app"))["message"] == f"Applied revision: {head}"

    applied = await cluster_admin.get("v1", "ConfigMap", team, "settings")
    assert applied["data"] == {"model": "hf://org/m@a1"}
    assert applied["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "app"
    async with asyncio.timeout(PATIENCE):
        while not {"GitRepository", "Kustomization"} <= await _told_about(cluster_admin, team):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _told_about(cluster_admin, namespace):
    """Kinds of objects that there are events about; those come after the statuses."""
    return {event["involvedObject"]["kind"] for event in await cluster_admin.list("v1", "Event", namespace)}


async def upgrade(installed, settings):
    """Another release, and its Pod in the place of the one before."""
    await installed.run(
        *("upgrade", "weir", str(CHART), "-n", NAMESPACE, "--reset-values", "--wait", "--timeout=200s"),
        *sets(settings),
    )


async def test_without_a_service_account_nothing_is_applied_unless_the_agent_has_cluster_admin(
    team, installed, cluster_admin
):
    """Not even what the agent may write for the sake of rollouts, such as this ConfigMap."""
    await cluster_admin.create(kustomization(team, "bold"))
    refused = await ready(cluster_admin, KS, team, "bold", "False", "ReconciliationFailed")
    assert "forbidden" in refused["message"]
    assert f"system:serviceaccount:{team}:default" in refused["message"]
    assert await cluster_admin.find("v1", "ConfigMap", team, "settings") is None

    await upgrade(installed, RESTRICTED[1:])
    try:
        assert (await ready(cluster_admin, KS, team, "bold"))["reason"] == "ReconciliationSucceeded"
    finally:
        await upgrade(installed, RESTRICTED)


async def test_what_it_may_not_watch_is_corrected_at_the_next_interval(team, cluster_admin):
    await cluster_admin.create(kustomization(team, serviceAccountName="deployer", interval="3s"))
    await ready(cluster_admin, KS, team, "app")
    await cluster_admin.patch("v1", "ServiceAccount", team, "runner", {"metadata": {"annotations": {"team": "other"}}})
    await cluster_admin.wait_for(
        "v1",
        "ServiceAccount",
        team,
        "runner",
        lambda found: found["metadata"]["annotations"]["team"] == "serving",
        timeout=PATIENCE,
    )


async def test_a_kustomization_is_pruned_and_its_finalizer_removed_with_these_rights(team, cluster_admin):
    await cluster_admin.create(kustomization(team, serviceAccountName="deployer"))
    await ready(cluster_admin, KS, team, "app")
    await cluster_admin.delete(*KS, team, "app")
    await cluster_admin.wait_for(*KS, team, "app", lambda found: found is None, timeout=PATIENCE)
    assert await cluster_admin.find("v1", "ConfigMap", team, "settings") is None


def workload(namespace, name):
    """A Deployment with what its primary needs copies of: a ConfigMap, a Secret and a scaler."""
    metadata = {"name": name, "namespace": namespace}
    sources = [{"configMapRef": {"name": name}}, {"secretRef": {"name": name}}]
    container = {"name": "main", "image": "sleeper", "envFrom": sources, "env": [{"name": "MODEL", "value": "a"}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"A": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"B": "2"}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {"scaleTargetRef": target, "maxReplicas": 1},
        },
    ]


def canary(namespace, name, provider, **service):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": CANARY[0],
        "kind": CANARY[1],
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "provider": provider,
            "targetRef": target,
            "autoscalerRef": {**target, "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"},
            "service": {"port": 80, **service},
            "skipAnalysis": True,
            "analysis": {"interval": "10s", "threshold": 1, "iterations": 1},
        },
    }


async def phase(cluster_admin, namespace, name, wanted):
    await cluster_admin.wait_for(
        *CANARY, namespace, name, lambda found: found.get("status", {}).get("phase") == wanted, timeout=PATIENCE
    )


async def test_a_rollout_needs_no_more_than_the_rules_for_rollouts(team, cluster_admin):
    for obj in [*workload(team, "chat"), canary(team, "chat", "kubernetes")]:
        await cluster_admin.create(obj)
    await phase(cluster_admin, team, "chat", "Initialized")
    for kind in (("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service")):
        assert await cluster_admin.find(*kind, team, "chat-primary")
    assert await cluster_admin.find("autoscaling/v2", "HorizontalPodAutoscaler", team, "chat-primary")

    await cluster_admin.patch("v1", "ConfigMap", team, "chat", {"data": {"A": "changed"}})
    await phase(cluster_admin, team, "chat", "Succeeded")
    copied = await cluster_admin.get("v1", "ConfigMap", team, "chat-primary")
    assert copied["data"] == {"A": "changed"}


async def test_routes_are_covered_too(team, cluster_admin):
    await cluster_admin.apply_files(await asyncio.to_thread(crd_files, "gateway-api"))
    service = {"gatewayRefs": [{"name": "models"}], "hosts": ["edge.example.org"]}
    for obj in [*workload(team, "edge"), canary(team, "edge", "gatewayapi:v1", **service)]:
        await cluster_admin.create(obj)
    await cluster_admin.wait_for("gateway.networking.k8s.io/v1", "HTTPRoute", team, "edge", bool, timeout=PATIENCE)


async def test_a_new_pod_takes_over_where_the_old_one_stopped(team, pod, cluster_admin, git):
    await cluster_admin.create(kustomization(team, serviceAccountName="deployer"))
    await ready(cluster_admin, KS, team, "app")

    await cluster_admin.delete("v1", "Pod", NAMESPACE, pod["metadata"]["name"])
    await cluster_admin.wait_for(
        "v1", "Pod", NAMESPACE, pod["metadata"]["name"], lambda found: found is None, timeout=PATIENCE
    )

    git.repository("models").commit({"app/settings.yaml": MANIFESTS["app/settings.yaml"].replace("@a1", "@b2")})
    await cluster_admin.patch(
        *GIT, team, "models", {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}
    )
    changed = await cluster_admin.wait_for(
        "v1", "ConfigMap", team, "settings", lambda found: found["data"]["model"].endswith("@b2"), timeout=PATIENCE
    )
    assert changed["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/namespace"] == team


async def test_its_log_is_json_without_secrets_or_refusals(pod, cluster_admin):
    """A refusal by RBAC that no test provoked means that the role lacks a rule; the watch above is expected to fail."""
    lines = (await cluster_admin.log(NAMESPACE, pod["metadata"]["name"])).splitlines()
    assert lines
    for line in lines:
        with contextlib.suppress(ValueError):
            assert {"ts", "level", "msg"} <= json.loads(line).keys()
    text = "\n".join(lines)
    assert "not-for-the-log" not in text
    expected = ('"bold"', '"watch": "serviceaccounts"')
    assert not [line for line in lines if "forbidden" in line and not any(text in line for text in expected)]


async def test_uninstalling_ends_the_agent_and_leaves_what_it_applied(team, installed, cluster_admin):
    await cluster_admin.create(kustomization(team, serviceAccountName="deployer"))
    await ready(cluster_admin, KS, team, "app")

    await installed.run("uninstall", "weir", "-n", NAMESPACE, "--wait", "--timeout=200s")
    async with asyncio.timeout(PATIENCE):
        while await cluster_admin.list("v1", "Pod", NAMESPACE, "app.kubernetes.io/name=weir"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    assert await cluster_admin.find("v1", "ConfigMap", team, "settings")
    kept = await cluster_admin.get(*KS, team, "app")
    assert "deletionTimestamp" not in kept["metadata"]


async def test_limited_to_its_own_namespace_it_needs_no_cluster_wide_right(installer, node, cluster_admin, git):
    """Another release, with a Role in place of a ClusterRole; CRDs are those that the first one left."""
    home = "solo"
    await installer.run(
        *("install", "solo", str(CHART), "-n", home, "--create-namespace", "--wait", "--timeout=200s"),
        *sets((*RESTRICTED, "watchAllNamespaces=false", "rbac.aggregate=false")),
    )
    bindings = await cluster_admin.list("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")
    assert not [
        found["metadata"]["name"]
        for found in bindings
        if any(subject.get("namespace") == home for subject in found.get("subjects") or [])
    ]
    for obj in in_namespace(home, git):
        await cluster_admin.create(obj)
    await cluster_admin.create(kustomization(home, serviceAccountName="deployer"))
    await ready(cluster_admin, KS, home, "app")
    await installer.run("uninstall", "solo", "-n", home, "--wait", "--timeout=200s")
