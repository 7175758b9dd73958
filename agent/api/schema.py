"""CustomResourceDefinitions, generated from the types.

`python -m agent.api.schema --out config/crd` writes one file for each kind. Types give the structure, the keywords
beside a field give its constraints, and the text under a field gives its description.
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import inspect as shapes

from agent.api.alertprovider import AlertProvider
from agent.api.canary import Canary
from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.api.meta import ApiStruct, Resource
from agent.api.metrictemplate import MetricTemplate

KINDS: tuple[type[Resource], ...] = (
    GitRepository,
    Kustomization,
    Canary,
    MetricTemplate,
    AlertProvider,
    ChangePolicy,
    DataTrigger,
)

PART_OF = "app.kubernetes.io/part-of"

_SCALARS: dict[type[shapes.Type], dict[str, Any]] = {
    shapes.BoolType: {"type": "boolean"},
    shapes.IntType: {"type": "integer"},
    shapes.FloatType: {"type": "number"},
    shapes.StrType: {"type": "string"},
    shapes.DateTimeType: {"type": "string"},
}


def custom_resource_definition(kind: type[Resource]) -> dict[str, Any]:
    """The CRD of a kind, as plain JSON values."""
    options = kind.CRD
    metadata: dict[str, Any] = {
        "name": f"{kind.PLURAL}.{kind.GROUP}",
        "labels": {PART_OF: "flux" if kind.GROUP.endswith(".fluxcd.io") else "weir"},
    }
    if options.annotations:
        metadata["annotations"] = dict(options.annotations)
    names: dict[str, Any] = {
        "kind": kind.KIND,
        "listKind": f"{kind.KIND}List",
        "plural": kind.PLURAL,
        "singular": kind.KIND.lower(),
        "categories": list(options.categories),
    }
    if options.short_names:
        names["shortNames"] = list(options.short_names)
    version: dict[str, Any] = {
        "name": kind.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.to_object() for column in options.columns],
        "schema": {"openAPIV3Schema": resource_schema(kind)},
    }
    if options.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"group": kind.GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def resource_schema(kind: type[Resource]) -> dict[str, Any]:
    """The structural schema of a whole object of that kind."""
    info = shapes.type_info(kind)
    if not isinstance(info, shapes.StructType):
        raise TypeError(f"{kind.__name__} is not a struct")
    body = _struct(info)
    properties = {
        "apiVersion": {"type": "string", "description": f"Always {kind.API_VERSION}."},
        "kind": {"type": "string", "description": f"Always {kind.KIND}."},
        **body["properties"],
        "metadata": {"type": "object"},
    }
    if kind.CRD.status_default is not None:
        properties["status"] = {**properties["status"], "default": dict(kind.CRD.status_default)}
    # Upstream lets an object without a spec in, so that the API server and not the reader names what is missing.
    return {"type": "object", "description": inspect.getdoc(kind) or "", "properties": properties}


def _struct(info: shapes.StructType) -> dict[str, Any]:
    documented = _field_docs(info.cls)
    properties = {}
    for field in info.fields:
        value = _value(field.type)
        if field.name in documented:
            value["description"] = documented[field.name]
        properties[field.encode_name] = value
    result: dict[str, Any] = {"type": "object", "properties": properties}
    required = sorted(field.encode_name for field in info.fields if field.required)
    if required:
        result["required"] = required
    return {**result, **info.cls.SCHEMA} if issubclass(info.cls, ApiStruct) else result


def _value(info: shapes.Type) -> dict[str, Any]:
    if isinstance(info, shapes.Metadata):
        return {**_value(info.type), **(info.extra_json_schema or {})}
    if isinstance(info, shapes.UnionType):
        return _union(info)
    if isinstance(info, shapes.StructType):
        return {"description": inspect.getdoc(info.cls) or "", **_struct(info)}
    if isinstance(info, shapes.EnumType):
        return {"type": "string", "enum": [member.value for member in info.cls]}
    if isinstance(info, shapes.VarTupleType):
        return {"type": "array", "items": _value(info.item_type)}
    if isinstance(info, shapes.DictType) and isinstance(info.value_type, shapes.AnyType):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if isinstance(info, shapes.DictType):
        return {"type": "object", "additionalProperties": _value(info.value_type)}
    try:
        return dict(_SCALARS[type(info)])
    except KeyError:
        raise TypeError(f"a field of type {type(info).__name__} has no place in a CRD") from None


def _union(info: shapes.UnionType) -> dict[str, Any]:
    present = [option for option in info.types if not isinstance(option, shapes.NoneType)]
    if {type(option) for option in present} == {shapes.IntType, shapes.StrType}:
        return {"x-kubernetes-int-or-string": True}
    if len(present) != 1:
        raise TypeError("only a number or a text may share a field of a CRD")
    return _value(present[0])


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """The string literals under the fields of a class and of its bases, by field name."""
    documented: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("agent.api."):
            documented.update(_module_docs(base.__module__).get(base.__name__, {}))
    return documented


@functools.cache
def _module_docs(module: str) -> Mapping[str, Mapping[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _class_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docs(node: ast.ClassDef) -> dict[str, str]:
    documented = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            documented[field.target.id] = inspect.cleandoc(text.value.value)
    return documented


def file_name(kind: type[Resource]) -> str:
    return f"{kind.GROUP}_{kind.PLURAL}.yaml"


def render(kind: type[Resource]) -> str:
    """The text of the kind's CRD file."""
    note = f"# Generated from agent/api/{kind.KIND.lower()}.py by `python -m agent.api.schema`; edit that instead.\n"
    body: str = yaml.safe_dump(custom_resource_definition(kind), sort_keys=True, width=110, allow_unicode=True)
    return note + body


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m agent.api.schema", description="Write the CRDs of all kinds.")
    parser.add_argument("--out", type=Path, action="append", required=True, help="folder to write to; may be repeated")
    folders: list[Path] = parser.parse_args(arguments).out
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            (folder / file_name(kind)).write_text(render(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
