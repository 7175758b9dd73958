"""The generated CRDs: up to date, structural, described, and true to the types they came from."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
import yaml

from agent.api import schema
from agent.api.meta import ApiStruct, CrdOptions, Resource
from agent.api.schema import KINDS, custom_resource_definition, file_name, render, resource_schema

ROOT = Path(__file__).parents[3]
FOLDERS = (ROOT / "config/crd", ROOT / "charts/weir/files/crds")


def nodes(value, path=""):
    """Every schema of a property, item or map value below `value`, with its path."""
    yield path, value
    for name, child in value.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            yield from nodes(value[key], f"{path}[{key}]")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_the_files_are_up_to_date(folder, kind):
    assert (folder / file_name(kind)).read_text() == render(kind), (
        "run python -m agent.api.schema --out config/crd --out charts/weir/files/crds"
    )


def test_the_command_writes_every_kind_to_every_folder(tmp_path):
    schema.main(["--out", str(tmp_path / "a"), "--out", str(tmp_path / "b")])
    for folder in ("a", "b"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == {file_name(kind) for kind in KINDS}


def test_kustomize_is_told_of_every_file():
    folder = FOLDERS[0]
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*_*.yaml"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_every_schema_is_structural_and_every_field_is_described(kind):
    for path, node in nodes(resource_schema(kind)):
        assert "type" in node or node.get("x-kubernetes-int-or-string") is True, path
        if path.startswith((".spec.", ".status.")) and not path.endswith("]"):
            assert node.get("description"), f"{kind.KIND}{path} has no text under the field"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_a_default_in_the_crd_is_the_default_of_the_type(kind):
    def check(cls, node, path):
        for field in msgspec.structs.fields(cls):
            child = node["properties"][field.encode_name]
            if "default" in child and path:
                assert field.default == child["default"], f"{path}.{field.encode_name}"
            inner = _struct_of(field.type)
            if inner is not None:
                check(inner, child.get("items") or child, f"{path}.{field.encode_name}")

    check(kind, resource_schema(kind) | {"properties": _with_metadata(kind)}, "")


def _with_metadata(kind):
    found = dict(resource_schema(kind)["properties"])
    found["metadata"] = {"properties": {field.encode_name: {} for field in msgspec.structs.fields(_metadata(kind))}}
    return found


def _metadata(kind):
    return next(field.type for field in msgspec.structs.fields(kind) if field.name == "metadata")


def _struct_of(annotation):
    """The struct in an annotation such as `Inner | None` or `tuple[Inner, ...]`, unless it is metadata."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct) and candidate.__name__ != "ObjectMeta":
            return candidate
    return None


def test_flux_kinds_start_with_a_status_that_nobody_has_observed():
    for kind in KINDS:
        status = resource_schema(kind)["properties"].get("status", {})
        expected = {"observedGeneration": -1} if kind.GROUP.endswith("fluxcd.io") else None
        assert status.get("default") == expected


def test_flux_kinds_are_counted_by_the_flux_cli_and_flagger_kinds_are_not():
    """`flux uninstall` deletes CRDs with its label after the agent is gone; a Canary's finalizer would then hang."""
    labels = {
        kind.KIND: custom_resource_definition(kind)["metadata"]["labels"]["app.kubernetes.io/part-of"] for kind in KINDS
    }
    assert labels == {
        "GitRepository": "flux",
        "Kustomization": "flux",
        "Canary": "weir",
        "MetricTemplate": "weir",
        "AlertProvider": "weir",
        "ChangePolicy": "weir",
        "DataTrigger": "weir",
    }


class Part(ApiStruct, frozen=True, kw_only=True):
    """A part."""

    size: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})] | None = None
    """How big."""


class Sample(Resource, frozen=True, kw_only=True):
    """A sample."""

    GROUP, VERSION, API_VERSION, KIND, PLURAL = "example.org", "v1", "example.org/v1", "Sample", "samples"
    CRD = CrdOptions(has_status=False)

    main: Part
    others: tuple[Part, ...] = ()
    by_name: dict[str, Part] | None = None
    port: int | str | None = None


def test_the_schema_of_a_small_type_in_full():
    part = {"type": "object", "description": "A part.", "properties": {"size": {"type": "integer", "minimum": 1}}}
    value = resource_schema(Sample)["properties"]
    assert value["main"] == part
    assert value["others"] == {"type": "array", "items": part}
    assert value["byName"] == {"type": "object", "additionalProperties": part}
    assert value["port"] == {"x-kubernetes-int-or-string": True}
    assert "subresources" not in custom_resource_definition(Sample)["spec"]["versions"][0]


class Mixed(Resource, frozen=True, kw_only=True):
    """A type that no CRD can describe."""

    field: int | list[str]


class Opaque(Resource, frozen=True, kw_only=True):
    """Another type that no CRD can describe."""

    field: bytes


@pytest.mark.parametrize("kind", [Mixed, Opaque])
def test_a_type_without_a_place_in_a_crd_is_refused(kind):
    with pytest.raises(TypeError):
        resource_schema(kind)
