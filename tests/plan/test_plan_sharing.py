"""Who uses what changed from another Kustomization or folder of the repository."""

from __future__ import annotations

import pytest

from tests.plan.plan_repository import Files, PlanRepository, flux, kustomization, service

INFRA, APPS = flux("infra", "./infra"), flux("apps", "./apps")


def runtime(image: str, namespace: str = "") -> str:
    kind, place = ("ServingRuntime", f", namespace: {namespace}") if namespace else ("ClusterServingRuntime", "")
    return (
        f"apiVersion: serving.kserve.io/v1alpha1\nkind: {kind}\nmetadata: {{name: shared{place}}}\n"
        f"spec: {{containers: [{{name: kserve-container, image: '{image}'}}]}}\n"
    )


def user(name: str = "sentiment") -> str:
    return service("s3://b/m", name).replace("      storageUri:", "      runtime: shared\n      storageUri:")


CASES: list[tuple[str, Files, list[str], list[str]]] = [
    ("Kustomizations", {"clusters/a.yaml": f"{INFRA}---\n{APPS}"}, ["flux-system/infra", "flux-system/apps"],
     ["InferenceService/ml/sentiment"]),
    ("folders of manifests", {}, [], ["InferenceService/ml/sentiment"]),
    ("kustomizations without Flux",
     {"infra/kustomization.yaml": kustomization("rt.yaml"), "apps/kustomization.yaml": kustomization("m.yaml")},
     [], ["InferenceService/ml/sentiment"]),
    ("clusters with Kustomizations of the same names",
     {"clusters/one/a.yaml": f"{INFRA}---\n{APPS}", "clusters/two/a.yaml": f"{flux('infra', './none')}---\n"
      f"{flux('apps', './far')}", "none/c.yaml": "", "far/m.yaml": user("far")},
     ["flux-system/infra", "flux-system/apps"], ["InferenceService/ml/sentiment"]),
    ("a runtime of the namespace goes before", {"apps/own.yaml": runtime("y:1", "ml")}, [], []),
    ("a folder with a runtime of its own", {"apps/own.yaml": runtime("y:1")}, [], []),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "around", "kustomizations", "objects"), CASES, ids=[case[0] for case in CASES])
def test_a_runtime_reaches_services_that_stand_elsewhere(
    repository: PlanRepository, _name: str, around: Files, kustomizations: list[str], objects: list[str]
) -> None:
    files = {"apps/m.yaml": user(), **around}
    repository.history({"infra/rt.yaml": runtime("x:1"), **files}, {"infra/rt.yaml": runtime("x:2"), **files})
    output = repository.plan()
    assert not output.errors
    assert output.the("runtime")["impact"] == {
        "kustomizations": kustomizations, "canaries": [], "objects": objects, "jobs": [],
    }  # fmt: skip


def test_a_graph_elsewhere_uses_the_service_that_changed(repository: PlanRepository) -> None:
    graph = (
        "apiVersion: serving.kserve.io/v1alpha1\nkind: InferenceGraph\nmetadata: {name: graph, namespace: ml}\n"
        "spec: {nodes: {root: {routerType: Sequence, steps: [{serviceName: sentiment}]}}}\n"
    )
    other = graph.replace("graph, ", "other, ").replace("sentiment", "another")
    files = {"graphs/g.yaml": graph, "graphs/o.yaml": other}
    repository.history({"apps/m.yaml": service("s3://b/1"), **files}, {"apps/m.yaml": service("s3://b/2"), **files})
    assert repository.plan().the("model")["impact"]["objects"] == ["InferenceGraph/ml/graph"]
