"""The disk holds a cache: it may be gone, or wrong, after any restart."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fault_agent import AgentProcess
from fault_world import REPO, World

from testbed.kube import condition
from testbed.processes import until


async def _artifact_is_whole(world: World) -> None:
    artifact = (await world.operator.get(*REPO, world.namespace, "repo"))["status"]["artifact"]
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
    await _artifact_is_whole(world)
    assert agent.crashed() == ""


async def test_a_commit_is_applied_although_its_archive_cannot_be_packed(agent: AgentProcess, world: World) -> None:
    world.content = {"part-0": {("ConfigMap", "one"): 1}}
    commit = world.commit()
    await world.declare()
    await agent.start()
    await world.until_settled(commit, agent.process)
    (archive,) = agent.storage.rglob(f"{commit}.tar.gz")
    shutil.rmtree(archive.parent)
    archive.parent.write_text("in the way")

    world.content = {"part-0": {("ConfigMap", "one"): 2}}
    second = world.commit()
    await world.announce()
    await world.until_settled(second, agent.process)
    await world.assert_exact()

    async def told() -> bool:
        return condition(await world.operator.get(*REPO, world.namespace, "repo"), "Ready") == "False"

    await until(told, timeout=60.0, what="the archive's failure is told", process=agent.process)
    source = await world.operator.get(*REPO, world.namespace, "repo")
    assert condition(source, "StorageOperationFailed") == "True"
    assert "unable to archive" in message(source) or "artifact directory" in message(source)

    archive.parent.unlink()
    await world.announce()

    async def packed() -> bool:
        found = await world.operator.get(*REPO, world.namespace, "repo")
        return condition(found, "Ready") == "True" and second in found["status"]["artifact"]["revision"]

    await until(packed, timeout=60.0, what="the archive is there", process=agent.process)
    await _artifact_is_whole(world)


def message(found: dict[str, Any]) -> str:
    """Of the Ready condition."""
    return next(entry["message"] for entry in found["status"]["conditions"] if entry["type"] == "Ready")
