"""The API's OpenAPI document, made from the same types that answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec


class Operation(NamedTuple):
    """One listable kind: `filters` and `moments` (times) are query parameters, `path` the parts that name one item."""

    name: str
    summary: str
    item: Any
    filters: tuple[str, ...]
    path: tuple[str, ...]
    moments: tuple[str, ...] = ()


def document(operations: Sequence[Operation], status: Any, problem: Any, version: str, prefix: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. `status` is what `/status` answers, `problem` the body of every refusal."""
    types = [*(operation.item for operation in operations), status, problem]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    error = {"content": {"application/json": {"schema": references[-1]}}}
    paths: dict[str, Any] = {f"{prefix}/status": {"get": _summary(references[-2])}}
    for operation, reference in zip(operations, references, strict=False):
        paths[f"{prefix}/{operation.name}"] = {"get": _listing(operation, reference, error)}
        if operation.path:
            path = "/".join(f"{{{part}}}" for part in operation.path)
            paths[f"{prefix}/{operation.name}/{path}"] = {"get": _single(operation, reference, error)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weir", "version": version, "description": "Read-only status of the agent."},
        "paths": paths,
        "components": {"schemas": components},
    }


def _summary(reference: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": "The agent itself",
        "operationId": "get_status",
        "responses": {
            "200": {"description": "A summary.", "content": {"application/json": {"schema": reference}}},
        },
    }


def _parameter(name: str, where: str, kind: str = "string", **schema: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": kind, **schema}}


def _listing(operation: Operation, reference: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    page = {
        "type": "object",
        "required": ["items", "total", "continue"],
        "properties": {
            "items": {"type": "array", "items": reference},
            "total": {"type": "integer", "description": "How many items match, on all pages."},
            "continue": {"type": "string", "description": "Ask for the next page with it; empty on the last one."},
        },
    }
    parameters = [_parameter(name, "query") for name in (*operation.filters, "continue")]
    parameters += [_parameter(name, "query", format="date-time") for name in operation.moments]
    return {
        "summary": operation.summary,
        "operationId": f"list_{operation.name}",
        "parameters": [*parameters, _parameter("limit", "query", "integer")],
        "responses": {
            "200": {"description": "A page.", "content": {"application/json": {"schema": page}}},
            "400": {"description": "A parameter is wrong.", **error},
        },
    }


def _single(operation: Operation, reference: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": f"One of: {operation.summary}",
        "operationId": f"get_{operation.name}",
        "parameters": [_parameter(name, "path") for name in operation.path],
        "responses": {
            "200": {"description": "The item.", "content": {"application/json": {"schema": reference}}},
            "404": {"description": "There is none of that name.", **error},
        },
    }
