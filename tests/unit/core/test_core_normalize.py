"""What becomes of a rendered object before it is sent (fluxcd/pkg/ssa/normalize)."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from core_values import OBJECTS, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.normalize import normalized, owner_labels

OWNER = owner_labels("app", "team")
PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n").decode()

WORKLOADS = [
    ("v1", "Pod", ("spec",)),
    ("apps/v1", "Deployment", ("spec", "template", "spec")),
    ("apps/v1", "StatefulSet", ("spec", "template", "spec")),
    ("apps/v1", "DaemonSet", ("spec", "template", "spec")),
    ("batch/v1", "Job", ("spec", "template", "spec")),
    ("batch/v1", "CronJob", ("spec", "jobTemplate", "spec", "template", "spec")),
    ("v1", "PodTemplate", ("template", "spec")),
]


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_owner_labels_win_over_what_is_there() -> None:
    labels = {"app": "x", "kustomize.toolkit.fluxcd.io/name": "somebody-else"}
    result = normalized(manifest("ConfigMap", metadata={"labels": labels}), OWNER)
    assert result["metadata"]["labels"] == {
        "app": "x",
        "kustomize.toolkit.fluxcd.io/name": "app",
        "kustomize.toolkit.fluxcd.io/namespace": "team",
    }


@pytest.mark.parametrize("labels", [None, {}])
def test_owner_labels_where_there_were_none(labels: dict[str, str] | None) -> None:
    assert normalized(manifest("ConfigMap", metadata={"labels": labels}), OWNER)["metadata"]["labels"] == OWNER


def test_status_and_creation_time_are_the_servers_business() -> None:
    metadata = {"creationTimestamp": None}
    result = normalized(manifest("Deployment", api_version="apps/v1", metadata=metadata, status={"replicas": 3}), OWNER)
    assert "status" not in result
    assert "creationTimestamp" not in result["metadata"]


def test_the_status_of_a_definition_stays() -> None:
    definition = manifest("CustomResourceDefinition", api_version="apiextensions.k8s.io/v1", status={"x": 1})
    assert normalized(definition, OWNER)["status"] == {"x": 1}


def test_secret_text_moves_to_data_and_wins_there() -> None:
    secret = manifest("Secret", data={"a": "b2xk", "b": "Yg=="}, stringData={"a": "new", "c": "é\n"})
    result = normalized(secret, OWNER)
    assert "stringData" not in result
    assert result["data"] == {"a": "bmV3", "b": "Yg==", "c": base64.b64encode("é\n".encode()).decode()}


@pytest.mark.parametrize("empty", [None, {}])
def test_empty_secret_text_vanishes(empty: dict[str, str] | None) -> None:
    result = normalized(manifest("Secret", data={"a": "Yg=="}, stringData=empty), OWNER)
    assert "stringData" not in result
    assert result["data"] == {"a": "Yg=="}


@pytest.mark.parametrize("value", [True, 5, None, {"a": "b"}])
def test_secret_text_that_is_no_text_is_left_for_the_server_to_refuse(value: object) -> None:
    secret = manifest("Secret", stringData={"good": "x", "flag": value})
    assert normalized(secret, OWNER)["stringData"] == {"good": "x", "flag": value}


def test_other_kinds_named_secret_are_left_alone() -> None:
    other = manifest("Secret", api_version="x.io/v1", stringData={"a": "b"})
    assert normalized(other, OWNER)["stringData"] == {"a": "b"}


def test_service_ports_name_their_protocol() -> None:
    service = manifest("Service", spec={"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]})
    assert normalized(service, OWNER)["spec"]["ports"] == [
        {"port": 80, "protocol": "TCP"},
        {"port": 53, "protocol": "UDP"},
    ]


@pytest.mark.parametrize(("api_version", "kind", "path"), WORKLOADS)
def test_container_ports_name_their_protocol(api_version: str, kind: str, path: tuple[str, ...]) -> None:
    containers = [{"name": "a", "ports": [{"containerPort": 80}]}, {"name": "b"}]
    pod = {"containers": containers, "initContainers": [{"name": "i", "ports": [{"containerPort": 1}]}]}
    workload = {**manifest(kind, api_version=api_version), **_nested(path, pod)}
    result = _at(normalized(workload, OWNER), path)
    first, second = result["containers"]
    assert first["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert "ports" not in second
    assert result["initContainers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]


@pytest.mark.parametrize(("api_version", "kind", "path"), WORKLOADS)
def test_workloads_are_sent_with_the_empty_parts_that_kustomize_controller_owns(
    api_version: str, kind: str, path: tuple[str, ...]
) -> None:
    limited = {"name": "b", "resources": {"limits": {"cpu": 1}}}
    pod = {"containers": [{"name": "a"}, limited], "initContainers": [{"name": "i"}]}
    result = normalized({**manifest(kind, api_version=api_version), **_nested(path, pod)}, OWNER)
    sent = _at(result, path)
    assert sent["containers"] == [{"name": "a", "resources": {}}, limited]
    assert sent["initContainers"] == [{"name": "i", "resources": {}}]
    for depth, name in enumerate(path):
        if name in ("template", "jobTemplate"):
            assert _at(result, path[: depth + 1])["metadata"] == {}
    strategies = {"Deployment": "strategy", "StatefulSet": "updateStrategy", "DaemonSet": "updateStrategy"}
    assert {name for name in result.get("spec", {}) if name.lower().endswith("strategy")} == {
        strategies[name] for name in (kind,) if name in strategies
    }


def test_what_a_workload_says_itself_is_kept() -> None:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}}
    spec = {"strategy": {"type": "Recreate"}, "template": template}
    workload = manifest("Deployment", api_version="apps/v1", spec=spec)
    assert normalized(workload, OWNER)["spec"] == spec


@pytest.mark.parametrize("spec", [None, {}, {"template": None}, {"selector": 5}])
def test_workloads_without_a_template_pass_through(spec: Any) -> None:
    sent = normalized(manifest("Deployment", api_version="apps/v1", spec=spec), OWNER)["spec"]
    assert {**(sent or {}), "strategy": 0} == {**(spec or {}), "strategy": 0}


@pytest.mark.parametrize("template", [{"spec": None}, {"spec": {"containers": [None, "x"]}}, {"spec": []}])
def test_incomplete_templates_pass_through(template: Any) -> None:
    workload = manifest("Deployment", api_version="apps/v1", spec={"template": template})
    assert normalized(workload, OWNER)["spec"]["template"] == {"metadata": {}, **template}


@pytest.mark.parametrize("spec", [{"ports": None}, {"ports": "80"}, {"ports": [80]}])
def test_nonsense_ports_pass_through(spec: Any) -> None:
    assert normalized(manifest("Service", spec=spec), OWNER)["spec"] == spec


def _definition(bundle: Any) -> dict[str, Any]:
    config = {"service": {"name": "hook"}, "caBundle": bundle}
    spec = {"group": "x.io", "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": config}}}
    return manifest("CustomResourceDefinition", api_version="apiextensions.k8s.io/v1", spec=spec)


@pytest.mark.parametrize("bundle", ["", "Cg==", "not base64!", base64.b64encode(b"text").decode(), 5])
def test_an_unusable_bundle_of_a_definition_is_dropped(bundle: Any) -> None:
    spec = normalized(_definition(bundle), OWNER)["spec"]
    assert spec["conversion"] == {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "hook"}}}}
    assert spec["group"] == "x.io"


def test_a_usable_bundle_stays() -> None:
    definition = _definition(PEM)
    assert normalized(definition, OWNER)["spec"] == definition["spec"]


@pytest.mark.parametrize("spec", [None, {}, {"conversion": None}, {"conversion": {"webhook": None}}])
def test_definitions_without_a_webhook_pass_through(spec: Any) -> None:
    definition = manifest("CustomResourceDefinition", api_version="apiextensions.k8s.io/v1", spec=spec)
    assert normalized(definition, OWNER)["spec"] == spec


KINDS = [("v1", "Secret"), ("v1", "Service"), ("v1", "ConfigMap"), ("x.io/v1", "Thing")]


@given(st.sampled_from([*KINDS, *((version, kind) for version, kind, _ in WORKLOADS)]), OBJECTS, st.booleans())
def test_the_input_is_not_changed_and_twice_is_once(
    kind: tuple[str, str], spec: dict[str, Any], creation: bool
) -> None:
    extra = {"creationTimestamp": None} if creation else {}
    given_object = manifest(kind[1], api_version=kind[0], metadata=extra, spec=spec, stringData={"a": "b"})
    before = copy.deepcopy(given_object)
    result = normalized(given_object, OWNER)
    assert given_object == before
    assert normalized(result, OWNER) == result
