"""The plain manifests, built by kustomize: the same objects as the chart's, in both ways of applying."""

import json
from collections.abc import AsyncIterator

import pytest

from agent.adapters.renderer import BuildRequest, RendererPool
from agent.core.tree import MemoryTree
from tests.chart.helm import ROOT, only, rules

CHART_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart")
DEFAULT = "config/default/kustomization.yaml"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[RendererPool]:
    running = RendererPool(size=1)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def kustomize(pool):
    """Builds a folder of this repository; the keyword replaces a text in config/default's kustomization.yaml."""

    async def build(folder, **replace):
        files = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "config").rglob("*.yaml")}
        for old, new in replace.items():
            before = files[DEFAULT]
            files[DEFAULT] = before.replace(old.replace("_", "-"), new)
            assert files[DEFAULT] != before
        rendered = await pool.build(
            BuildRequest(path=folder), MemoryTree({path: text.encode() for path, text in files.items()})
        )
        return [json.loads(document) for document in rendered.objects]

    return build


def index(objects):
    """Objects by kind and name, without the labels that only a chart has."""
    table = {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in objects}
    assert len(table) == len(objects)
    for obj in objects:
        for label in CHART_LABELS:
            obj["metadata"].get("labels", {}).pop(label, None)
    return table


def without_crds(table):
    return {key: obj for key, obj in table.items() if not key.startswith("CustomResourceDefinition/")}


async def test_the_default_is_the_chart_with_its_defaults(kustomize, helm):
    ours, chart = index(await kustomize("config/default")), index(await helm.template())
    assert ours.pop("Namespace/flux-system")
    assert without_crds(ours) == without_crds(chart)
    assert ours.keys() == chart.keys()
    for key in ours.keys() - without_crds(ours).keys():
        assert ours[key]["spec"] == chart[key]["spec"]


async def test_flux_check_is_told_the_version_of_the_chart(kustomize, helm):
    built = await kustomize("config/default")
    image = only(built, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    for objects in (built, await helm.template()):
        labels = only(objects, "CustomResourceDefinition", "gitrepositories.source.toolkit.fluxcd.io")["metadata"][
            "labels"
        ]
        assert labels["app.kubernetes.io/version"] == f"v{image.rpartition(':')[2]}"
        # the mark of `flux bootstrap`, which would keep `flux install` away
        assert "kustomize.toolkit.fluxcd.io/namespace" not in labels


async def test_with_the_other_component_it_is_the_chart_with_impersonation(kustomize, helm):
    ours = await kustomize("config/default", cluster_admin="impersonation")
    chart = await helm.template("rbac.applier=impersonation")

    base, added, wanted = rules(ours), rules(ours, name="weir-impersonation"), rules(chart)
    assert {key: base.get(key, set()) | added.get(key, set()) for key in base.keys() | added.keys()} == wanted
    assert not [obj for obj in ours if obj.get("roleRef", {}).get("name") == "cluster-admin"]
    (subject,) = only(ours, "ClusterRoleBinding", "weir-impersonation")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "weir", "namespace": "flux-system"}

    def flags(objects):
        return sorted(only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"])

    assert flags(ours) == flags(chart)
    assert "--default-service-account=default" in flags(ours)


async def test_samples_and_crds_build_on_their_own(kustomize):
    assert len(await kustomize("config/crd")) == len(await kustomize("config/samples")) == 7
