"""Fields that a kind does not have."""

from __future__ import annotations

from typing import Any

import pytest
from core_values import manifest

from agent.core.undeclared import undeclared, without_fields

START = "failed to create typed patch object (team/chat; apps/v1, Kind=Deployment): "
SEVERAL = """errors:
  .spec.template.spec.containers[name="a: .b]"].imagePolicy: field not declared in schema
  .spec.template.spec.containers[name="b"].ports[containerPort=80,protocol="TCP"].x.y: field not declared in schema
  .spec.replicas: expected numeric (int or float), got string"""


def of_kind(kind: str, api_version: str) -> dict[str, Any]:
    return {**manifest(kind), "apiVersion": api_version}


DEPLOYMENT = of_kind("Deployment", "apps/v1")


def test_one_field_and_several() -> None:
    assert undeclared(DEPLOYMENT, f"{START}.spec.foo: field not declared in schema") == (".spec.foo",)
    assert undeclared(DEPLOYMENT, START + SEVERAL) == (
        '.spec.template.spec.containers[name="a: .b]"].imagePolicy',
        '.spec.template.spec.containers[name="b"].ports[containerPort=80,protocol="TCP"].x.y',
    )


@pytest.mark.parametrize("refusal", ["", "no", f"{START}.spec.replicas: expected numeric (int or float), got string"])
def test_other_refusals_name_none(refusal: str) -> None:
    assert undeclared(DEPLOYMENT, refusal) == ()


@pytest.mark.parametrize(
    ("kind", "api_version", "left_out"),
    [
        ("ConfigMap", "v1", True),
        ("Ingress", "networking.k8s.io/v1", True),
        ("RoleBinding", "rbac.authorization.k8s.io/v1", True),
        ("Role", "rbac.authorization.k8s.io/v1", False),
        ("ClusterRole", "rbac.authorization.k8s.io/v1", False),
        ("HTTPRoute", "gateway.networking.k8s.io/v1", False),
        ("CustomResourceDefinition", "apiextensions.k8s.io/v1", False),
        ("Kustomization", "kustomize.toolkit.fluxcd.io/v1", False),
    ],
)
def test_kinds_that_flux_reads_into_types_lose_them(kind: str, api_version: str, left_out: bool) -> None:
    found = undeclared(of_kind(kind, api_version), f"{START}.spec.foo: field not declared in schema")
    assert found == ((".spec.foo",) if left_out else ())


def test_what_is_encrypted_stays_as_it_is() -> None:
    assert undeclared(of_kind("ConfigMap", "v1"), f"{START}.sops: field not declared in schema") == ()


def test_what_is_left() -> None:
    port = {"containerPort": 80, "x": {"y": 1, "z": 2}}
    containers = [{"name": "a", "imagePolicy": "x"}, {"name": "b", "imagePolicy": "x", "ports": [port]}]
    spec = {"foo": 1, "foo.bar": 2, "template": {"spec": {"containers": containers}}}
    whole = {**DEPLOYMENT, "spec": spec}
    paths = (".spec.foo", *undeclared(DEPLOYMENT, START + SEVERAL))
    assert without_fields(whole, paths)["spec"] == {
        "foo.bar": 2,
        "template": {
            "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 80, "x": {"z": 2}}]}]}
        },
    }
    assert spec["foo"] == 1, "the manifest itself stays what it is"
    assert without_fields(whole, (".spec.foo.bar",))["spec"].keys() == {"foo", "template"}
    assert without_fields(whole, (".status.x", "nothing", ".spec.template[0].x")) == whole
