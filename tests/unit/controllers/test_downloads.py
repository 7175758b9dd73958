"""Downloads of other controllers' artifacts: how often, how far apart, and what whoever asks is told."""

from __future__ import annotations

import dataclasses

import pytest

from agent.adapters.artifacts import ArtifactUnavailableError
from agent.controllers.downloads import Downloads
from agent.controllers.sources import RemoteArtifact, SourceKey, SourcePendingError
from agent.core.tree import MemoryTree, Tree
from agent.errors import ArtifactError

ARTIFACT = RemoteArtifact(
    key=SourceKey("Bucket", "team", "models"), revision="r1", digest="sha256:aa", url="http://files.example/1.tar.gz"
)


class Server:
    """Fails so many times, then has the files; tells what time it is."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.now = 100.0
        self.asked: list[float] = []
        self._failures = failures
        self._error = error or ArtifactUnavailableError("nobody there")

    async def fetch(self, _url: str, _digest: str) -> Tree:
        self.asked.append(self.now)
        if len(self.asked) <= self._failures:
            raise self._error
        return MemoryTree({"a.yaml": b"a"})

    def downloads(self, retries: int) -> Downloads:
        return Downloads(self, retries=retries, clock=lambda: self.now)  # type: ignore[arg-type]  # duck-typed


async def until_settled(server: Server, downloads: Downloads) -> Tree:
    """Come back as often as told."""
    for _ in range(100):
        try:
            return await downloads.tree(ARTIFACT)
        except SourcePendingError as pending:
            server.now += pending.after
    raise AssertionError("it never ends")


async def test_pauses_are_flux_s_and_the_tenth_attempt_may_still_succeed() -> None:
    server = Server(failures=9)
    tree = await until_settled(server, server.downloads(retries=9))
    assert list(tree) == ["a.yaml"]
    pauses = [later - earlier for earlier, later in zip(server.asked, server.asked[1:], strict=False)]
    assert pauses == [5, 10, 20, 30, 30, 30, 30, 30, 30]


async def test_after_the_last_attempt_the_failure_is_told_and_later_it_starts_over() -> None:
    server = Server(failures=100)
    downloads = server.downloads(retries=1)
    with pytest.raises(ArtifactUnavailableError, match="nobody there"):
        await until_settled(server, downloads)
    assert len(server.asked) == 2
    with pytest.raises(ArtifactUnavailableError):
        await downloads.tree(ARTIFACT)
    assert len(server.asked) == 2, "others that ask in the same moment are told the same"
    server.now += 60
    with pytest.raises(SourcePendingError):
        await downloads.tree(ARTIFACT)
    assert len(server.asked) == 3


async def test_without_retries_the_first_failure_counts() -> None:
    server = Server(failures=1)
    with pytest.raises(ArtifactUnavailableError):
        await server.downloads(retries=0).tree(ARTIFACT)


async def test_whoever_asks_between_attempts_is_told_when_the_next_one_is() -> None:
    server = Server(failures=1)
    downloads = server.downloads(retries=9)
    with pytest.raises(SourcePendingError) as first:
        await downloads.tree(ARTIFACT)
    server.now += 2
    with pytest.raises(SourcePendingError) as second:
        await downloads.tree(ARTIFACT)
    assert (first.value.after, second.value.after, len(server.asked)) == (5, 3, 1)


async def test_another_artifact_is_asked_for_at_once() -> None:
    server = Server(failures=1)
    downloads = server.downloads(retries=9)
    with pytest.raises(SourcePendingError):
        await downloads.tree(ARTIFACT)
    newer = dataclasses.replace(ARTIFACT, revision="r2", digest="sha256:bb")
    assert list(await downloads.tree(newer)) == ["a.yaml"]


async def test_an_archive_that_is_wrong_is_not_asked_for_again() -> None:
    server = Server(failures=1, error=ArtifactError("failed to verify artifact"))
    with pytest.raises(ArtifactError, match="failed to verify"):
        await server.downloads(retries=9).tree(ARTIFACT)
