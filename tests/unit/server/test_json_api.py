"""What `/api/v1` answers, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from api_world import WHEN, Asker, World, answering, change, kustomization, period, rollout, source

from agent.core.rollout.status import Phase


@pytest.fixture
def world() -> World:
    return World(
        all_sources=[source("apps"), source("models", ready="False"), source("models", namespace="team")],
        all_kustomizations=[kustomization("app"), kustomization("base", ready="Unknown")],
        all_changes=[change(3), change(2, kind="data", name="other"), change(1)],
        all_rollouts=[rollout("chat"), rollout("rank", phase=Phase.SUCCEEDED)],
        all_runs=[
            rollout("chat", phase=Phase.FAILED, finished=WHEN + timedelta(hours=2)),
            rollout("rank", phase=Phase.SUCCEEDED, finished=WHEN + timedelta(hours=1)),
            rollout("chat", phase=Phase.SUCCEEDED, finished=WHEN),
        ],
    )


@pytest.fixture
async def api(world: World) -> AsyncIterator[Asker]:
    async with answering(world) as asker:
        yield asker


def names(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["name"] for item in page["items"]]


@pytest.mark.parametrize(
    ("path", "total"),
    [
        ("/sources?name=models", 2),
        ("/sources?name=models&namespace=team", 1),
        ("/sources?ready=False", 1),
        ("/sources?kind=OCIRepository", 0),
        ("/kustomizations?ready=Unknown", 1),
        ("/kustomizations?source=GitRepository/flux-system/repo", 2),
        ("/changes?kind=model", 2),
        ("/changes?kind=model&name=chat&op=changed&objectKind=Deployment&namespace=serving", 2),
        ("/changes?kustomization=flux-system/app", 3),
        ("/changes?revision=main@sha1:none", 0),
        ("/rollouts?phase=Succeeded", 1),
        ("/runs?name=chat", 2),
        ("/runs?name=chat&phase=Failed", 1),
    ],
)
async def test_filters_narrow_a_list(api: Asker, path: str, total: int) -> None:
    status, page = await api.get(path)
    assert (status, page["total"], len(page["items"])) == (200, total, total)


@pytest.mark.parametrize("path", ["/sources", "/kustomizations", "/changes", "/rollouts", "/runs"])
async def test_pages_of_one_add_up_to_the_whole_list(api: Asker, path: str) -> None:
    _, whole = await api.get(path)
    assert whole["continue"] == ""
    assert await api.walk(f"{path}?limit=1") == whole["items"]


async def test_a_walk_does_not_repeat_or_hide_when_items_come_and_go(api: Asker, world: World) -> None:
    _, first = await api.get("/sources?limit=2")
    assert names(first) == ["apps", "models"]
    world.all_sources = [source("aaa"), source("apps"), source("models", namespace="team")]
    _, second = await api.get(f"/sources?limit=2&continue={first['continue']}")
    assert [(item["namespace"], item["name"]) for item in second["items"]] == [("team", "models")]

    _, newest = await api.get("/changes?limit=1")
    world.all_changes = [change(5), change(4), *world.all_changes]
    _, next_page = await api.get(f"/changes?limit=5&continue={newest['continue']}")
    assert [item["record"]["id"][-1] for item in next_page["items"]] == ["2", "1"]


async def test_a_single_item_is_what_the_list_has(api: Asker) -> None:
    _, page = await api.get("/kustomizations?name=app")
    assert (200, page["items"][0]) == await api.get("/kustomizations/flux-system/app")
    status, found = await api.get("/sources/GitRepository/team/models")
    assert (status, found["namespace"]) == (200, "team")
    assert (await api.get("/rollouts/serving/chat"))[1]["weight"] == 20


async def test_an_unknown_parameter_is_refused_by_name(api: Asker) -> None:
    text = await api.refused("/sources?nmae=models&limit=1&also=x")
    assert text == "unknown parameter also, nmae: use kind, namespace, name, ready, limit, continue"


async def test_a_parameter_given_twice_is_refused(api: Asker) -> None:
    assert await api.refused("/sources?name=a&name=b") == "parameter name may be given once"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "ten", "", "1_0", "²", "9" * 5000])
async def test_limits_out_of_bounds_are_refused(api: Asker, limit: str) -> None:
    assert await api.refused(f"/kustomizations?limit={limit}") == "limit must be a number between 1 and 1000"


async def test_the_bounds_themselves_are_allowed(api: Asker) -> None:
    for limit in (1, 1000):
        status, _ = await api.get(f"/kustomizations?limit={limit}")
        assert status == 200


async def test_a_token_of_somebody_else_is_refused(api: Asker) -> None:
    assert await api.refused("/sources?continue=bm9wZQ") == "continue is not a token of this API"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/sources/GitRepository/team/none", "no such source"),
        ("/sources/Bucket/team/models", "no such source"),
        ("/kustomizations/team/app", "no such kustomization"),
        ("/rollouts/serving/none", "no such rollout"),
        ("/rollout", "there is nothing here: /api/v1/openapi.json lists what there is"),
        ("/sources/GitRepository/team", "there is nothing here: /api/v1/openapi.json lists what there is"),
    ],
)
async def test_what_is_not_there_is_a_404_that_says_so(api: Asker, path: str, text: str) -> None:
    assert await api.refused(path, status=404) == text


async def test_the_status_is_a_summary(api: Asker) -> None:
    status, body = await api.get("/status")
    assert (status, body["phase"], body["controllers"]) == (200, "leading", ["source", "kustomize"])
    assert body["sources"] == {"total": 3, "ready": 0, "suspended": 0}


async def test_the_ledger_tells_which_model_answered_at_a_time(api: Asker, world: World) -> None:
    world.all_periods = [
        period("a", None, 1),
        period("b", 1, 3),
        period("c", 3, None),
        period("x", 0, None, "serving/x"),
    ]

    async def answered(hours: float) -> list[str]:
        moment = (WHEN + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        _, page = await api.get(f"/ledger?canary=serving/chat&at={moment}")
        return [item["models"][0]["spelling"] for item in page["items"]]

    assert await answered(-100) == ["hf://org/m@a"]
    assert await answered(1) == ["hf://org/m@b"]
    assert await answered(2.5) == ["hf://org/m@b"]
    assert await answered(1000) == ["hf://org/m@c"]
    _, page = await api.get("/ledger?canary=serving/chat&limit=2")
    assert ([item["revision"] for item in page["items"]], page["total"]) == (["c", "b"], 3)
    assert [item["revision"] for item in await api.walk("/ledger?limit=1&role=primary")] == ["c", "b", "x", "a"]
    for wrong in ("yesterday", "2026-01-02", "2026-01-02T03:04:05"):
        assert await api.refused(f"/ledger?at={wrong}") == "at is no time: write it as 2026-01-02T15:04:05Z"
