"""Pointers in Git whose content nobody pushed; and entries of policies that cannot be meant so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from testbed.kube import ApiError
from tests.registries.registry_servers import Registry, registry
from tests.scenarios.conftest import RunningAgent, Story
from tests.scenarios.test_change_policy import policy

HELD, LOST = "a" * 64, "b" * 64


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    """A Git LFS server that has one object."""

    async def batch(request: web.Request) -> web.Response:
        (wanted,) = (await request.json())["objects"]
        there, absent = {"actions": {"download": {"href": "http://x"}}}, {"error": {"code": 404}}
        return web.json_response({"objects": [{**wanted, **(there if wanted["oid"] == HELD else absent)}]})

    async with registry() as served:
        served.ask("/info/lfs/objects/batch", batch)
        yield served


def pointer(oid: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n"


async def test_a_pointer_without_content_is_a_warning(story: Story, weir: RunningAgent, server: Registry) -> None:
    lfs = {"scheme": "git-lfs", "endpoint": f"{server.url}/info/lfs"}
    await policy(story, resolution={"registries": [lfs]})
    story.git.commit({"weights.bin": pointer("c" * 64)})
    await story.source()
    await story.kustomization()
    await story.ready()
    story.git.commit({"weights.bin": pointer(LOST), "more.bin": pointer(HELD)})
    await story.pull("lost")
    both = {"DataChanged", "DataAdded"}
    told = await story.told("repo", lambda told: both <= {event["reason"] for event in told})
    by_reason = {event["reason"]: event for event in told}
    changed, added = by_reason["DataChanged"], by_reason["DataAdded"]
    assert (changed["type"], added["type"]) == ("Warning", "Normal")
    assert "git-lfs:sha256:bbb" in changed["message"]
    assert "its content is not where it should be" in changed["message"]
    assert "not where it should be" not in added["message"]
    changes = await weir.get(f"/api/v1/changes?source=GitRepository/{story.namespace}/repo")
    found = [item["record"]["new"] for item in changes["items"]]
    reasons = {ref["digest"]["value"]: ref["identity"].get("unresolved") for ref in found}
    assert (reasons[LOST], reasons[HELD]) == ("not-found", None)
    assert {tuple(item["record"]["impact"]["kustomizations"]) for item in changes["items"]} == {
        (f"{story.namespace}/app",)
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"scheme": "oci", "provider": "aws"}, "host is required"),
        ({"scheme": "oci", "provider": "aws", "host": "h", "endpoint": "http://x"}, "cannot be set"),
        ({"scheme": "s3", "provider": "aws", "secretRef": {"name": "s"}}, "cannot be set"),
        ({"scheme": "s3", "provider": "gcp"}, "gcp for gs and oci"),
        ({"scheme": "s3", "serviceAccountName": "loader"}, "with a provider only"),
        ({"scheme": "dvc"}, "remote is required"),
        ({"scheme": "s3", "remote": "s3://bucket"}, "for no other"),
        ({"scheme": "delta", "remote": "s3://b", "endpoint": "https://sharing.example"}, "a remote, .* or an endpoint"),
        ({"scheme": "dvc", "remote": "ssh://host/x"}, "remote"),
        ({"scheme": "http", "secretRef": {"name": "s"}}, "who gets the credentials"),
        ({"scheme": "git-lfs", "secretRef": {"name": "s"}}, "endpoint is required for git-lfs"),
    ],
)
async def test_entries_that_the_cluster_refuses(story: Story, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=said):
        await policy(story, resolution={"registries": [entry]})
