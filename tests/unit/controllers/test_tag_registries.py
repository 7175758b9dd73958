"""What tags of a repository change, told once, over restarts, with no commit."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from controller_cluster import FakeCluster

from agent.adapters.git import GitOperationError
from agent.adapters.journal import Journal
from agent.api.changepolicy import ChangePolicy
from agent.api.gitrepository import GitRepository
from agent.controllers.announcing import Announcer
from agent.controllers.changelog import ChangeLog
from agent.controllers.sources import SourceKey, SourceSnapshot
from agent.controllers.tagregistries import TagRegistries
from agent.controllers.telling import Teller
from agent.core.tree import MemoryTree
from agent.telemetry.metrics import Metrics

KEY = SourceKey("GitRepository", "ml", "repo")
A, B, C = (digit * 40 for digit in "abc")
DECLARED = {"dvc.yaml": b"artifacts:\n  nn: {path: models/nn.pkl, type: model}\n  ada: {path: models/ada.pkl}\n"}


class World:
    """A repository whose tags are listed, and what is told of them by an agent that may be another one's successor."""

    def __init__(self, log: ChangeLog | None = None, url: str = "https://git.example/x") -> None:
        self.log = log or ChangeLog()
        self.events: list[str] = []
        self.woken: list[SourceKey] = []
        self.times: dict[str, int] = {}
        self.asked: list[set[str]] = []
        self.policies: list[ChangePolicy] = []
        self.files = DECLARED
        anything: Any = self
        teller = Teller(self.log, FakeCluster().live, anything, Metrics(), triggers=tuple)  # type: ignore[arg-type]  # duck-typed
        self.tags = TagRegistries(
            self.log,
            Announcer(self.log, teller, anything, anything),
            policies=lambda: self.policies,
            belonging=lambda _source, paths: dict.fromkeys(paths, ("ml/app",)),
        )
        self.tags.subscribe(self.woken.append)
        body = {"interval": "10m", "url": url}
        self.repository = GitRepository.from_object({"metadata": {"namespace": "ml", "name": "repo"}, "spec": body})

    async def delivered(self) -> None:
        """At once."""

    def event(self, _involved: Any, kind: str, reason: str, message: str, **_options: Any) -> None:
        """Note an event."""
        self.events.append(f"{kind} {reason}: {message}")

    async def made(self, oids: Collection[str]) -> Mapping[str, int]:
        """When tags were made."""
        self.asked.append(set(oids))
        if not self.times:
            raise GitOperationError("no answer")
        return {oid: self.times[oid] for oid in oids}

    async def look(self, *tags: str, revision: str = "main@sha1:1") -> list[str]:
        """The events of a look at tags, each `name commit`."""
        self.events.clear()
        refs = {"refs/heads/main": A}
        for one in tags:
            name, commit = one.split()
            refs[f"refs/tags/{name}"] = f"id of {name}"
            refs[f"refs/tags/{name}^{{}}"] = commit
        snapshot = SourceSnapshot(revision=revision, digest="", tree=MemoryTree(self.files))
        await self.tags.look(self.repository, refs, snapshot, self.made)
        return list(self.events)


V1, V2, PROD, NEXT, BACK = f"nn@v1.0.0 {A}", f"nn@v2.0.0 {B}", f"nn#prod#1 {A}", f"nn#prod#2 {B}", f"nn#prod!#3 {B}"
PROMOTED = f"Normal ModelChanged: model stage[prod] of File models/nn.pkl: gto:nn@v1.0.0@{A} -> gto:nn@v2.0.0@{B}"


async def test_a_stage_moves_and_is_taken_back_with_no_commit() -> None:
    world = World()
    assert await world.look(V1, V2, PROD) == []  # that it is there is no news
    assert await world.look(V1, V2, PROD) == []
    assert await world.look(V1, V2, PROD, NEXT) == [PROMOTED]
    assert await world.look(V1, V2, PROD, NEXT) == []
    (entry,) = world.log.entries()
    assert (entry.source, entry.revision, entry.record.cause) == (str(KEY), "main@sha1:1", "tag-event")
    assert entry.record.impact.kustomizations == ("ml/app",)
    (told,) = await world.look(V1, V2, PROD, NEXT, BACK)
    assert told.endswith(f"gto:nn@v2.0.0@{B} -> gto:nn@v1.0.0@{A}")
    assert world.log.entries()[0].record.direction == f"revert-to:{A}"
    # and there again, at the same revision
    assert await world.look(V1, V2, PROD, NEXT, BACK, f"nn#prod#4 {B}") == [PROMOTED]
    assert len(world.log.entries()) == 3
    assert world.woken == [KEY] * 3
    assert world.asked == []


async def test_the_first_tag_of_a_repository_is_told() -> None:
    world = World()
    await world.look()
    (told,) = await world.look(V1)
    assert told == f"Normal ModelAdded: model artifact of File models/nn.pkl: added gto:nn@v1.0.0@{A}"
    (told,) = await world.look()
    assert told.startswith("Normal ModelRemoved")
    (told,) = await world.look(V2)
    assert told.startswith("Normal ModelAdded")


async def test_a_moved_version_is_a_warning() -> None:
    world = World()
    await world.look(V1)
    (told,) = await world.look(f"nn@v1.0.0 {C}")
    assert told.startswith("Warning ModelFloated")


async def test_other_tags_and_commits_are_nothing() -> None:
    world = World()
    await world.look(V1)
    assert await world.look(V1, f"release-1 {B}", f"x@1.0 {B}", revision="main@sha1:2") == []
    assert world.log.entries() == ()
    assert world.woken == []


async def test_times_are_asked_for_once_and_nothing_is_compared_without() -> None:
    world = World()
    await world.look(V1)
    with pytest.raises(GitOperationError):
        await world.look(V1, f"nn@v1.0.0! {A}")
    assert world.events == []
    world.times = {"id of nn@v1.0.0": 1, "id of nn@v1.0.0!": 2, "id of nn@v1.0.0#1": 3}
    (told,) = await world.look(V1, f"nn@v1.0.0! {A}")
    assert told.startswith("Normal ModelRemoved")
    (told,) = await world.look(V1, f"nn@v1.0.0! {A}", f"nn@v1.0.0#1 {A}")
    assert told.startswith("Normal ModelAdded")
    assert world.asked[1:] == [{"id of nn@v1.0.0", "id of nn@v1.0.0!"}, {"id of nn@v1.0.0#1"}]


async def test_what_happened_while_no_agent_ran_is_told_and_what_was_told_is_not(tmp_path: Path) -> None:
    def journal() -> Journal:
        return Journal(tmp_path / "history.jsonl", limit=100)

    world = World(ChangeLog(journal=journal()))
    await world.look(V1, V2, PROD)
    later = World(ChangeLog(journal=journal()))
    assert await later.look(V1, V2, PROD, NEXT) == [PROMOTED]
    after = World(ChangeLog(journal=journal()))
    assert await after.look(V1, V2, PROD, NEXT) == []
    assert len(after.log.entries()) == 1
    assert await after.look(V1, V2, PROD, NEXT, BACK) != []
    # on another node, from what the cluster keeps
    other = World(ChangeLog())
    other.log.restore(after.log.lines())
    assert await other.look(V1, V2, PROD, NEXT, BACK) == []
    assert await other.look(V1, V2, PROD, NEXT) == [PROMOTED]
    # the disk of the first node is behind: the newest counts
    behind = World(ChangeLog(journal=journal()))
    behind.log.restore(other.log.lines())
    assert await behind.look(V1, V2, PROD, NEXT) == []


async def test_what_is_kept_and_what_is_told_are_written_together(tmp_path: Path) -> None:
    world = World(ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=100)))
    await world.look(V1, V2, PROD)
    first = (tmp_path / "history.jsonl").read_bytes()
    await world.look(V1, V2, PROD, NEXT)
    # an agent that ended before it wrote the one has not written the other either
    (tmp_path / "history.jsonl").write_bytes(first)
    again = World(ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=100)))
    assert await again.look(V1, V2, PROD, NEXT) == [PROMOTED]


async def test_a_repository_at_another_address_and_one_that_comes_again_are_others() -> None:
    world = World()
    await world.look(V1)
    moved = World(world.log, url="https://git.example/y")
    assert await moved.look(V2) == []
    assert await moved.look(V1, V2) == []  # a lower version
    moved.tags.forget(KEY)
    assert await moved.look() == []
    assert await moved.look(f"nn@v3.0.0 {C}") != []


async def test_the_log_of_the_cluster_is_waited_for() -> None:
    world = World()
    world.log.restored.clear()
    looking = asyncio.create_task(world.look(V1))
    await asyncio.sleep(0)
    assert not looking.done()
    world.log.restored.set()
    assert await looking == []


async def test_rules_of_the_namespace_say_what_files_are() -> None:
    world = World()
    world.files = {"artifacts.yaml": b"nn: {path: data/train, type: dataset}"}
    await world.look(V1)
    (told,) = await world.look(V1, V2)
    assert told.startswith("Normal DataChanged")
    references = {"files": [{"path": "data/*", "role": "adapter"}]}
    world.policies = [
        ChangePolicy.from_object({"metadata": {"namespace": "ml", "name": "p"}, "spec": {"references": references}})
    ]
    (told,) = await world.look(V1, V2, f"nn@v3.0.0 {C}")
    assert told.startswith("Normal AdapterChanged")


async def test_a_registry_of_which_a_part_is_lost_is_no_news(tmp_path: Path) -> None:
    tags = [f"{name}@v1.0.0 {A}" for name in ("ada", "bert", "nn", "t5")]
    path = tmp_path / "history.jsonl"

    def after() -> World:
        return World(ChangeLog(journal=Journal(path, limit=100)))

    await after().look(*tags)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[-2:]))  # others took the room
    assert await after().look(*tags) == []
    # and it is whole again, for the next agent and for this one
    later = after()
    assert len(await later.look(*tags[1:])) == 1
    other = World(ChangeLog())
    other.log.restore(later.log.lines()[-2:])
    assert await other.look(*tags[1:]) == []
    assert len(await other.look(*tags)) == 1


async def test_releases_of_what_nobody_calls_a_model_are_none() -> None:
    world = World()
    await world.look(V1)
    assert await world.look(V1, f"api@v1.0.0 {A}") == []
    assert world.woken == []
    (told,) = await world.look(V1, f"api@v1.0.0 {A}", f"api#prod#1 {A}")
    assert "stage[prod]" in told
    assert await world.look(V1, f"api@v1.0.0 {A}") != [], "the stage went"


async def test_artifacts_that_are_gone_are_not_remembered_for_ever() -> None:
    world = World()
    await world.look(V1)
    for number in range(3):
        await world.look(V1, *(f"x{number}-{one}@v1.0.0 {A}" for one in range(150)))
    await world.look(V1)
    assert len(world.log.registries.all()) <= 201
    assert await world.look(V1) == []
    world.log.news.clear()
    world.tags.forget(KEY)
    assert len(world.log.registries.all()) <= 200
    assert world.log.news.is_set()
    world.log.news.clear()
    world.tags.forget(SourceKey("GitRepository", "ml", "other"))
    assert not world.log.news.is_set()
