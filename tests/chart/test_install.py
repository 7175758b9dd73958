"""The chart on a real control plane: install, upgrade, a CRD of somebody else, uninstall."""

import asyncio
import json

import pytest

from testbed.kube import ApiError
from tests.chart.helm import CHART, HelmError, sets

NAMESPACE = "flux-system"
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", None)
OURS = (
    "alertproviders.flagger.app",
    "canaries.flagger.app",
    "changepolicies.weir.dev",
    "datatriggers.weir.dev",
    "gitrepositories.source.toolkit.fluxcd.io",
    "kustomizations.kustomize.toolkit.fluxcd.io",
    "metrictemplates.flagger.app",
)


async def install(helm, *settings, release="weir", namespace=NAMESPACE):
    return await helm.run("install", release, str(CHART), "-n", namespace, "--create-namespace", *sets(settings))


async def upgrade(helm, *settings, chart=CHART):
    return await helm.run("upgrade", "weir", str(chart), "-n", NAMESPACE, "--reset-values", *sets(settings))


def foreign_template_crd():
    """A CRD of another party under a name that is in the chart too."""
    field = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": field}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "metrictemplates.flagger.app", "annotations": {"owner": "flagger"}},
        "spec": {
            "group": "flagger.app",
            "scope": "Namespaced",
            "names": {"kind": "MetricTemplate", "listKind": "MetricTemplateList", "plural": "metrictemplates"},
            "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.fixture(scope="module")
async def release(installer, cluster_admin):
    """The chart, installed beside a foreign CRD; gives the foreign CRD as it was before."""
    await cluster_admin.create(foreign_template_crd())
    before = await cluster_admin.wait_for(
        *CRD, "metrictemplates.flagger.app", lambda crd: bool(crd and crd.get("status", {}).get("conditions"))
    )
    notes = await install(installer)
    return before, notes


async def test_install_makes_what_the_agent_needs(release, cluster_admin):
    deployment = await cluster_admin.get("apps/v1", "Deployment", NAMESPACE, "weir")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "weir"
    for api_version, kind in (("v1", "ServiceAccount"), ("v1", "Service"), ("policy/v1", "PodDisruptionBudget")):
        assert await cluster_admin.find(api_version, kind, NAMESPACE, "weir")
    for name in OURS:
        assert await cluster_admin.wait_for(*CRD, name, bool)


async def test_the_foreign_crd_is_left_as_it_was_and_named_in_the_notes(release, cluster_admin):
    before, notes = release
    now = await cluster_admin.get(*CRD, "metrictemplates.flagger.app")
    assert (now["spec"], now["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
    assert now["metadata"]["generation"] == before["metadata"]["generation"]
    assert "meta.helm.sh/release-name" not in now["metadata"]["annotations"]
    assert "metrictemplates.flagger.app" in notes
    assert "canaries.flagger.app" not in notes


async def may(cluster_admin, verb, resource, namespace="", *, user="weir"):
    """Whether a ServiceAccount may do that to a resource (`group/name` or `group/name/subresource`)."""
    group, name, subresource = [*resource.split("/"), ""][:3]
    attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
    review = await cluster_admin.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{NAMESPACE}:{user}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"],
                "resourceAttributes": {**attributes, "namespace": namespace},
            },
        },
    )
    return review["status"]["allowed"]


async def comes_to(expected, cluster_admin, *question, user="weir"):
    """Wait until the answer is the expected one; the API server takes up changed roles a moment later."""
    async with asyncio.timeout(60):
        while await may(cluster_admin, *question, user=user) is not expected:  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.1)


async def test_upgrades_move_between_the_two_ways_of_applying(release, installer, cluster_admin):
    await comes_to(True, cluster_admin, "create", "apps/statefulsets", "somewhere")
    await upgrade(installer, "rbac.applier=impersonation")
    await comes_to(False, cluster_admin, "create", "apps/statefulsets", "somewhere")
    await comes_to(False, cluster_admin, "get", "/nodes")
    await comes_to(True, cluster_admin, "impersonate", "/serviceaccounts", "somewhere")
    await comes_to(True, cluster_admin, "patch", "kustomize.toolkit.fluxcd.io/kustomizations/status", "x")
    await comes_to(True, cluster_admin, "create", "coordination.k8s.io/leases", NAMESPACE)
    await comes_to(False, cluster_admin, "create", "coordination.k8s.io/leases", "kube-system")
    await upgrade(installer)
    await comes_to(True, cluster_admin, "create", "apps/statefulsets", "somewhere")


async def test_editors_and_viewers_of_a_namespace_get_the_kinds(release, cluster_admin):
    for role, verb, expected in (("edit", "create", True), ("view", "create", False), ("view", "get", True)):
        subject = {"kind": "ServiceAccount", "name": role, "namespace": NAMESPACE}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        await cluster_admin.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": NAMESPACE},
                "subjects": [subject],
                "roleRef": reference,
            }
        )
        await comes_to(expected, cluster_admin, verb, "flagger.app/canaries", NAMESPACE, user=role)


@pytest.fixture
def newer_chart(tmp_path):
    """The chart with one more field in a CRD, as a later version would have."""
    target = tmp_path / "weir"
    for path in CHART.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(CHART)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    crd = target / "files/crds/source.toolkit.fluxcd.io_gitrepositories.yaml"
    text = crd.read_text()
    changed = text.replace("          spec:\n", "          hint:\n            type: string\n          spec:\n", 1)
    assert changed != text
    crd.write_text(changed)
    return target


async def test_an_upgrade_changes_our_crds_and_no_others(release, installer, cluster_admin, newer_chart):
    before, _ = release
    await upgrade(installer, chart=newer_chart)
    ours = await cluster_admin.get(*CRD, "gitrepositories.source.toolkit.fluxcd.io")
    schema = ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["hint"] == {"type": "string"}
    foreign = await cluster_admin.get(*CRD, "metrictemplates.flagger.app")
    assert foreign["spec"] == before["spec"]
    await upgrade(installer)


async def test_a_second_release_leaves_the_crds_to_the_first(release, installer, cluster_admin):
    notes = await install(installer, release="other", namespace="other")
    assert all(name in notes for name in OURS)
    owner = await cluster_admin.get(*CRD, "canaries.flagger.app")
    assert owner["metadata"]["annotations"]["meta.helm.sh/release-name"] == "weir"
    await installer.run("uninstall", "other", "-n", "other")
    assert await cluster_admin.find(*CRD, "canaries.flagger.app")


async def test_a_foreign_crd_becomes_the_release_s_own_when_it_is_marked_so(release, installer, cluster_admin):
    marks = {"meta.helm.sh/release-name": "weir", "meta.helm.sh/release-namespace": NAMESPACE}
    metadata = {"annotations": marks, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    await cluster_admin.patch(*CRD, "metrictemplates.flagger.app", {"metadata": metadata})
    await upgrade(installer)
    taken = await cluster_admin.get(*CRD, "metrictemplates.flagger.app")
    schema = taken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["required"] == ["provider", "query"]


async def test_uninstall_leaves_workloads_crds_and_objects_and_a_new_install_takes_them_up(
    release, installer, cluster_admin
):
    repository = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "kept", "namespace": "default", "finalizers": ["finalizers.fluxcd.io"]},
        "spec": {"url": "https://git.example.org/x.git", "interval": "1m"},
    }
    workload = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "applied",
            "namespace": "default",
            "labels": {"kustomize.toolkit.fluxcd.io/name": "x", "kustomize.toolkit.fluxcd.io/namespace": "default"},
        },
    }
    await cluster_admin.create(repository)
    await cluster_admin.create(workload)

    await installer.run("uninstall", "weir", "-n", NAMESPACE, "--wait", "--timeout=200s")

    assert await cluster_admin.find("apps/v1", "Deployment", NAMESPACE, "weir") is None
    for name in OURS:
        crd = await cluster_admin.get(*CRD, name)
        assert "deletionTimestamp" not in crd["metadata"]
    kept = await cluster_admin.get("source.toolkit.fluxcd.io/v1", "GitRepository", "default", "kept")
    assert "deletionTimestamp" not in kept["metadata"]
    assert await cluster_admin.find("v1", "ConfigMap", "default", "applied")
    with pytest.raises(ApiError):
        await cluster_admin.get("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None, "weir-cluster-reconciler")

    await install(installer)
    assert await cluster_admin.find("apps/v1", "Deployment", NAMESPACE, "weir")
    listed = json.loads(await installer.run("list", "-n", NAMESPACE, "-o", "json"))
    assert [entry["status"] for entry in listed] == ["deployed"]


async def test_a_bad_value_changes_nothing(release, installer, cluster_admin):
    before = await cluster_admin.get("apps/v1", "Deployment", NAMESPACE, "weir")
    with pytest.raises(HelmError, match="/concurrent"):
        await upgrade(installer, "concurrent=0")
    after = await cluster_admin.get("apps/v1", "Deployment", NAMESPACE, "weir")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
