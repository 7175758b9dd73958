"""Stages and order of applying and deleting (fluxcd/pkg/ssa)."""

from __future__ import annotations

import pytest
from core_values import KEYS, manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.objects import ObjectKey, key_of
from agent.core.ordering import Stage, rank, stage_of, staged

IN_ORDER = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
    "InferenceService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
]


def _key(kind: str, name: str = "x", group: str = "", namespace: str = "ns") -> ObjectKey:
    return ObjectKey(group, kind, namespace, name)


@given(st.permutations(IN_ORDER))
def test_kinds_are_applied_in_fluxs_order(kinds: list[str]) -> None:
    keys = [_key(kind) for kind in kinds]
    assert [key.kind for key in sorted(keys, key=rank)] == IN_ORDER


def test_ties_go_by_group_kind_namespace_name() -> None:
    wanted = [
        _key("Beta", group="a.io"),
        _key("Alpha", group="b.io"),
        _key("Beta", group="b.io", namespace="m", name="z"),
        _key("Beta", group="b.io", namespace="n", name="a"),
        _key("Beta", group="b.io", namespace="n", name="b"),
    ]
    assert sorted([*wanted[3:], *wanted[:3]], key=rank) == wanted


STAGES = [
    ("CustomResourceDefinition", Stage.DEFINITIONS),
    ("Namespace", Stage.DEFINITIONS),
    ("ClusterRole", Stage.DEFINITIONS),
    ("ClusterRoleBinding", Stage.REST),
    ("StorageClass", Stage.CLASSES),
    ("ClusterClass", Stage.CLASSES),
    ("TeamOwnClass", Stage.CLASSES),
    ("ClassRoom", Stage.REST),
    ("Deployment", Stage.REST),
    ("ValidatingWebhookConfiguration", Stage.REST),
]


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_stages(kind: str, stage: Stage) -> None:
    assert stage_of(_key(kind)) is stage


def test_kinds_of_the_flag_get_a_stage_of_their_own() -> None:
    custom = frozenset({"x.io/Database", "/ConfigMap", "/Namespace"})
    assert stage_of(_key("Database", group="x.io"), custom) is Stage.CUSTOM
    assert stage_of(_key("Database", group="y.io"), custom) is Stage.REST
    assert stage_of(_key("ConfigMap"), custom) is Stage.CUSTOM
    assert stage_of(_key("Namespace"), custom) is Stage.DEFINITIONS, "definitions come first whatever the flag says"


def test_only_definitions_and_classes_are_waited_for() -> None:
    assert [stage for stage in Stage if stage.waits] == [Stage.DEFINITIONS, Stage.CLASSES]


@given(st.lists(KEYS, unique=True, max_size=12))
def test_staging_loses_nothing_and_never_goes_back(keys: list[ObjectKey]) -> None:
    manifests = [
        manifest(key.kind, key.name, f"{key.group}/v1" if key.group else "v1", metadata={"namespace": key.namespace})
        for key in keys
    ]
    stages = staged(manifests)
    assert [stage for stage, _ in stages] == sorted({stage_of(key) for key in keys})
    seen = [key_of(entry) for _, entries in stages for entry in entries]
    assert sorted(seen) == sorted(keys)
    for stage, entries in stages:
        assert {stage_of(key_of(entry)) for entry in entries} == {stage}
        assert [key_of(e) for e in entries] == sorted((key_of(e) for e in entries), key=rank)
