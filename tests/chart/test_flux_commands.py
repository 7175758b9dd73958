"""`flux check`, `version`, `logs` and `uninstall` on the chart: what the command asks of the cluster, in its order."""

import json

import pytest

from testbed.git import GitHTTPServer
from testbed.kube import condition
from testbed.node import Access, ProcessNode, python_module
from testbed.processes import until
from tests.chart.helm import CHART

NAMESPACE = "flux-system"
PART_OF_FLUX = "app.kubernetes.io/part-of=flux"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
GIT = ("source.toolkit.fluxcd.io/v1", "GitRepository")
KS = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {model: a}\n"


@pytest.fixture(scope="module")
async def node(cluster, tmp_path_factory):
    access = Access(cluster.url, cluster.admin_token, cluster.ca_file)
    images = {"weir": python_module("agent.cli")}
    async with ProcessNode(access, workdir=tmp_path_factory.mktemp("node"), images=images) as running:
        yield running


@pytest.fixture(scope="module")
async def installed(installer, node):
    await installer.run(
        *("install", "weir", str(CHART), "-n", NAMESPACE, "--create-namespace", "--wait", "--timeout=200s")
    )


@pytest.fixture(scope="module")
async def synced(installed, cluster_admin, tmp_path_factory):
    """A repository and a Kustomization, in sync."""
    async with GitHTTPServer(tmp_path_factory.mktemp("git")) as server:
        server.repository("app").commit({"c.yaml": CONFIG})
        url, branch = server.url("app"), {"branch": "main"}
        await cluster_admin.apply(of_ours(GIT, {"url": url, "interval": "1m", "ref": branch}))
        source = {"kind": "GitRepository", "name": "app"}
        spec = {"interval": "1m", "path": "./", "prune": True, "sourceRef": source, "targetNamespace": "default"}
        await cluster_admin.apply(of_ours(KS, spec))
        await cluster_admin.wait_for(*KS, NAMESPACE, "app", lambda found: condition(found, "Ready") == "True")
        yield


def of_ours(kind, spec):
    metadata = {"name": "app", "namespace": NAMESPACE}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec}


async def pods_of_flux(cluster_admin):
    """Pods by the labels that the templates of Flux's Deployments have."""
    found = []
    for deployment in await cluster_admin.list("apps/v1", "Deployment", NAMESPACE, PART_OF_FLUX):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found += await cluster_admin.list("v1", "Pod", NAMESPACE, selector)
    return found


def is_current(deployment):
    """As `flux check` sees it."""
    status = deployment["status"]
    observed = status["observedGeneration"] == deployment["metadata"]["generation"]
    return observed and status.get("availableReplicas") == deployment["spec"]["replicas"]


async def test_check_and_version(installed, cluster_admin):
    (deployment,) = await cluster_admin.list("apps/v1", "Deployment", NAMESPACE, PART_OF_FLUX)
    await cluster_admin.wait_for("apps/v1", "Deployment", NAMESPACE, deployment["metadata"]["name"], is_current)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    name, _, tag = container["image"].partition(":")

    definitions = await cluster_admin.list(*CRD, None, PART_OF_FLUX)
    stored = {found["metadata"]["name"]: found["status"]["storedVersions"] for found in definitions}
    assert stored == {
        "gitrepositories.source.toolkit.fluxcd.io": ["v1"],
        "kustomizations.kustomize.toolkit.fluxcd.io": ["v1"],
    }
    assert (name, {found["metadata"]["labels"]["app.kubernetes.io/version"] for found in definitions}) == (
        "weir",
        {f"v{tag}"},
    )


async def test_logs(synced, cluster_admin):
    (pod,) = await pods_of_flux(cluster_admin)
    assert [container["name"] for container in pod["spec"]["containers"]] == ["manager"]
    wanted = {("GitRepository", "app", NAMESPACE), ("Kustomization", "app", NAMESPACE)}

    async def is_told():
        text = await cluster_admin.log(NAMESPACE, pod["metadata"]["name"], container="manager")
        # the last line may be half written
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return wanted <= {(line.get("controllerKind"), line.get("name"), line.get("namespace")) for line in lines}

    await until(is_told, timeout=60, what="lines about both objects")


async def test_uninstall_leaves_the_workloads(synced, cluster_admin):
    """Last in this file: deployments and rights first, then finalizers, definitions, namespace, without a pause."""
    rbac = "rbac.authorization.k8s.io/v1"
    for api_version, kind, namespace in (
        ("apps/v1", "Deployment", NAMESPACE),
        ("v1", "Service", NAMESPACE),
        ("networking.k8s.io/v1", "NetworkPolicy", NAMESPACE),
        ("v1", "ServiceAccount", NAMESPACE),
        (rbac, "ClusterRole", None),
        (rbac, "ClusterRoleBinding", None),
    ):
        for found in await cluster_admin.list(api_version, kind, namespace, PART_OF_FLUX):
            await cluster_admin.delete(api_version, kind, namespace, found["metadata"]["name"])
    for kind in (GIT, KS):
        await cluster_admin.patch(*kind, NAMESPACE, "app", {"metadata": {"finalizers": []}})
    of_flux = [found["metadata"]["name"] for found in await cluster_admin.list(*CRD, None, PART_OF_FLUX)]
    for name in of_flux:
        await cluster_admin.delete(*CRD, None, name)
    await cluster_admin.delete("v1", "Namespace", None, NAMESPACE)

    # The controller of namespaces looks again after half of the Pod's grace period, and then after as much.
    await cluster_admin.wait_for("v1", "Namespace", None, NAMESPACE, lambda found: found is None, timeout=200)
    for name in of_flux:
        await cluster_admin.wait_for(*CRD, None, name, lambda found: found is None)
    left = {found["metadata"]["name"] for found in await cluster_admin.list(*CRD)}
    flagger = {"alertproviders.flagger.app", "canaries.flagger.app", "metrictemplates.flagger.app"}
    assert left == flagger | {"changepolicies.weir.dev", "datatriggers.weir.dev"}
    assert (await cluster_admin.get("v1", "ConfigMap", "default", "settings"))["data"] == {"model": "a"}
    for role in ("ClusterRole", "ClusterRoleBinding"):
        names = [found["metadata"]["name"] for found in await cluster_admin.list(rbac, role)]
        assert not [name for name in names if name.startswith("weir")]
