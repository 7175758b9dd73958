"""The disk holds a cache: it may be gone, or wrong, after any restart."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import aiohttp
import pytest
from fault_agent import AgentProcess
from fault_world import REPO, World

from testbed.kube import Object, condition


async def _artifact_is_whole(world: World, commit: str) -> None:
    """Builds do not wait for the archive, so it may come after all is applied."""

    def stored(found: Object | None) -> bool:
        return condition(found, "Ready") == "True" and commit in (found or {})["status"]["artifact"]["revision"]

    found = await world.operator.wait_for(*REPO, world.namespace, "repo", stored)
    artifact = (found or {})["status"]["artifact"]
    async with aiohttp.ClientSession() as http, http.get(artifact["url"]) as answer:
        assert answer.status == 200
        assert f"sha256:{hashlib.sha256(await answer.read()).hexdigest()}" == artifact["digest"]


def _scribble(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"not what it was")


def _truncate(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "news"), [("gone", False), ("scribbled", True), ("scribbled", False), ("empty files", True)]
)
async def test_storage_is_made_anew(agent: AgentProcess, world: World, damage: str, news: bool) -> None:
    world.content = {"part-0": {("ConfigMap", "one"): 1, ("Secret", "two"): 2}}
    commit = world.commit()
    await world.declare()
    await agent.start()
    await world.until_settled(commit, agent.process)
    await agent.kill()
    match damage:
        case "gone":
            agent.lose_storage()
        case "scribbled":
            _scribble(agent.storage)
        case _:
            _truncate(agent.storage)
    if news:
        world.content = {"part-0": {("ConfigMap", "one"): 3, ("Service", "three"): 4}}
        commit = world.commit()
    await agent.start()
    await agent.ready()
    await world.announce()
    await world.until_handled()
    await world.until_settled(commit, agent.process)
    await world.assert_exact()
    await _artifact_is_whole(world, commit)
    assert agent.crashed() == ""


async def test_a_commit_is_applied_although_its_archive_cannot_be_packed(agent: AgentProcess, world: World) -> None:
    world.content = {"part-0": {("ConfigMap", "one"): 1}}
    commit = world.commit()
    await world.declare(interval="10m")  # nobody looks at the archive until told to
    await agent.start()
    await world.until_settled(commit, agent.process)
    await _artifact_is_whole(world, commit)
    (archive,) = agent.storage.rglob(f"{commit}.tar.gz")
    shutil.rmtree(archive.parent)
    archive.parent.write_text("in the way")

    world.content = {"part-0": {("ConfigMap", "one"): 2}}
    second = world.commit()
    await world.announce()
    await world.until_settled(second, agent.process)
    await world.assert_exact()

    source = await world.operator.wait_for(
        *REPO, world.namespace, "repo", lambda found: condition(found, "Ready") == "False"
    )
    assert source is not None
    assert condition(source, "StorageOperationFailed") == "True"
    assert "unable to archive" in message(source) or "artifact directory" in message(source)

    archive.parent.unlink()
    await world.announce()
    await _artifact_is_whole(world, second)


def message(found: Object) -> str:
    """Of the Ready condition."""
    return next(entry["message"] for entry in found["status"]["conditions"] if entry["type"] == "Ready")
