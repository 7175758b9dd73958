"""What stories about GitRepositories have in common: waiting for one, and looking into its artifact."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import aiohttp

from testbed.git import GitRequest
from testbed.kube import condition
from tests.scenarios.conftest import REPO, Story

Object = dict[str, Any]


async def stored(story: Story, name: str = "repo", revision: str = "") -> Object:
    """Wait until a GitRepository is Ready for its newest spec (with a revision that has this text)."""

    def arrived(found: Object | None) -> bool:
        status = (found or {}).get("status", {})
        return (
            condition(found, "Ready") == "True"
            and status["observedGeneration"] == (found or {})["metadata"]["generation"]
            and revision in status["artifact"]["revision"]
        )

    return await story.until(REPO, name, arrived)


async def looked(story: Story, token: str, name: str = "repo") -> Object:
    """Ask for a pass, and wait until it is over."""
    await story.request(REPO, name, token)
    return await story.until(REPO, name, lambda found: (found or {})["status"].get("lastHandledReconcileAt") == token)


async def downloaded(source: Object) -> bytes:
    """The archive, from where the status says it is."""
    url = source["status"]["artifact"]["url"]
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.read()


def members(archive: bytes) -> list[tarfile.TarInfo]:
    """The entries of an archive, in their order."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        return opened.getmembers()


async def files(source: Object) -> list[str]:
    """The names of the files in the archive of a GitRepository."""
    return [member.name for member in members(await downloaded(source)) if member.isfile()]


def requests(story: Story, repository: str = "") -> list[GitRequest]:
    """What was asked of the story's Git repository since `forget`."""
    path = f"/{repository or story.namespace}.git/"
    return [request for request in story.server.requests if request.path.startswith(path)]


def forget(story: Story) -> None:
    """Begin to count anew."""
    story.server.requests[:] = [one for one in story.server.requests if story.namespace not in one.path]
