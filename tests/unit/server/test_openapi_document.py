"""The OpenAPI document says what the API does: every path answers, and as described."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from api_world import WHEN, Asker, World, answering, change, kustomization, rollout, source
from schema_check import problems, references, resolve

from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.view import RolloutView
from agent.server.api import Problem, collections
from agent.server.paging import Page

ITEM_PATHS = {
    "/api/v1/sources/{kind}/{namespace}/{name}": "/sources/GitRepository/flux-system/apps",
    "/api/v1/kustomizations/{namespace}/{name}": "/kustomizations/flux-system/app",
    "/api/v1/rollouts/{namespace}/{name}": "/rollouts/serving/chat",
}
Document = dict[str, Any]


@pytest.fixture
def world() -> World:
    judgement = Judgement(metric="request-success-rate", verdict=Verdict.FAIL, time=WHEN, value=98.5, minimum=99.0)
    unknown = Judgement(metric="latency", verdict=Verdict.NO_DATA, time=WHEN, text="no values found")
    return World(
        all_sources=[source("apps"), source("models", ready="False")],
        all_kustomizations=[kustomization("app")],
        all_changes=[change(2), change(1)],
        all_rollouts=[rollout("chat", judgements=[judgement, unknown])],
        all_runs=[rollout("chat", judgements=[judgement], finished=WHEN)],
    )


@pytest.fixture
async def api(world: World) -> AsyncIterator[Asker]:
    async with answering(world) as asker:
        yield asker


@pytest.fixture
async def document(api: Asker) -> Document:
    status, body = await api.get("/openapi.json")
    assert status == 200
    assert isinstance(body, dict)
    return body


def answer_schema(operation: Document, status: str) -> Document:
    schema = operation["responses"][status]["content"]["application/json"]["schema"]
    assert isinstance(schema, dict)
    return schema


async def test_the_document_is_whole(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == "1.2.3"
    for reference in references(document):
        assert resolve(document, reference), reference
    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert named == references(document), "a schema that nothing uses"
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for path, item in document["paths"].items():
        wanted = {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        assert wanted == {p["name"] for p in item["get"].get("parameters", ()) if p["in"] == "path"}


async def test_every_path_answers_as_described(api: Asker, document: Document) -> None:
    for path, item in document["paths"].items():
        status, body = await api.get(ITEM_PATHS.get(path, path.removeprefix("/api/v1")))
        assert status == 200, path
        assert problems(body, answer_schema(item["get"], "200"), document) == [], path


async def test_refusals_are_as_described(api: Asker, document: Document) -> None:
    for path, item in document["paths"].items():
        operation = item["get"]
        if "400" in operation["responses"]:
            status, body = await api.get(f"{path.removeprefix('/api/v1')}?limit=0")
            assert (status, problems(body, answer_schema(operation, "400"), document)) == (400, [])
        if "404" in operation["responses"]:
            status, body = await api.get(ITEM_PATHS[path] + "-not")
            assert (status, problems(body, answer_schema(operation, "404"), document)) == (404, [])


async def test_every_parameter_in_the_document_is_taken(api: Asker, document: Document) -> None:
    for path, item in document["paths"].items():
        for parameter in item["get"].get("parameters", ()):
            if parameter["in"] == "query" and parameter["name"] not in {"limit", "continue"}:
                value = "1970-01-01T00:00:00Z" if "format" in parameter["schema"] else "none-such"
                status, page = await api.get(f"{path.removeprefix('/api/v1')}?{parameter['name']}={value}")
                assert (status, page["total"]) == (200, 0), (path, parameter)


async def test_answers_are_read_back_into_the_types_they_came_from(api: Asker, world: World) -> None:
    for collection in collections(world, RolloutView):
        _, body = await api.get(f"/{collection.name}")
        page = msgspec.convert(body, Page[collection.item])  # type: ignore[name-defined]  # a type made at run time
        assert list(page.items) == list(collection.items())
    _, body = await api.get("/sources/GitRepository/no/one")
    assert msgspec.convert(body, Problem).error == "no such source"


def test_the_check_itself_finds_what_is_wrong() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x"]}}, "required": ["a"]}
    assert problems({"a": 1, "b": "x"}, schema, {}) == []
    assert len(problems({"b": "y", "c": 1}, schema, {})) == 3
    assert problems({"a": True}, schema, {}) == ["$.a: True is not of type integer"]
    assert problems(1, {"minimum": 0}, {})
