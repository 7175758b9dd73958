"""Content of pointers that a server loses while Git stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from controller_cluster import FakeCluster

from agent.api.changepolicy import ChangePolicy
from agent.api.gitrepository import GitRepository
from agent.controllers.announcing import Announcer
from agent.controllers.changelog import ChangeLog
from agent.controllers.sources import SourceKey, SourceRegistry, SourceSnapshot
from agent.controllers.telling import Teller
from agent.controllers.trackedcontent import TrackedContent
from agent.core.models import Blob, FileChange, Ref
from agent.core.registries.outcome import Found, Missing, Reason, completed
from agent.core.tree import MemoryTree, Tree
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Init, InitDone, Item, ObjectKey
from agent.telemetry.metrics import Metrics

KEY = SourceKey("GitRepository", "ml", "repo")
FIRST, HOUR = 300.0, 3600.0
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def policy(scheme: str = "git-lfs", **spec: Any) -> ChangePolicy:
    entry = {"scheme": scheme, **({"remote": "s3://b/x"} if scheme == "dvc" else {})}
    spec = {"resolution": {"registries": [entry]}, **spec}
    return ChangePolicy.from_object({"metadata": {"namespace": "ml", "name": "p"}, "spec": spec})


class Files:
    """A history whose commit has two pointers, and a file that is none."""

    async def tree_at(self, _revision: str) -> Tree | None:
        """Nothing."""
        return None

    async def files_changed(self, _old: str) -> tuple[FileChange, ...] | None:
        """Nothing."""
        return ()

    async def files(self) -> tuple[FileChange, ...]:
        """The pointers."""
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 1\n"
        kept, gone = (Blob((pointer % (digit * 64)).encode()) for digit in "ab")
        return FileChange("kept.bin", None, kept), FileChange("gone.bin", None, gone)


class World:
    """A repository, a server that may lose content, and what is told."""

    def __init__(self, log: ChangeLog | None = None, **spec: Any) -> None:
        self.log = log or ChangeLog()
        self.now = 0.0
        self.events: list[str] = []
        self.asked: list[str] = []
        self.lost: set[str] = set()
        self.silent: Reason | None = None
        self.found: dict[str, datetime] = {}
        self.policies = [policy()]
        registry, repositories, anything = SourceRegistry(), Store[GitRepository](), self.anything
        teller = Teller(self.log, FakeCluster().live, anything, Metrics(), triggers=tuple)  # type: ignore[arg-type]  # duck-typed
        self.tracked = TrackedContent(
            registry,
            repositories,
            self.log,
            Announcer(self.log, teller, anything, anything),
            anything,
            policies=lambda: self.policies,
            belonging=lambda _source, paths: dict.fromkeys(paths, ("ml/app",)),
            clock=lambda: self.now,
        )
        body = {"interval": "10m", "url": "https://git.example/x", **spec}
        found = GitRepository.from_object({"metadata": {"namespace": "ml", "name": "repo"}, "spec": body})
        repositories.feed(Init())
        repositories.feed(InitDone())
        repositories.feed(Apply(Item(ObjectKey("ml", "repo"), "1", found)))
        registry.publish(KEY, SourceSnapshot(revision="1", digest="", tree=MemoryTree({}), history=Files()))

    @property
    def anything(self) -> Any:
        """The registries, and who takes events."""
        return self

    async def resolved(self, refs: list[Ref], _policies: Any, **options: Any) -> dict[str, Ref]:
        """What the server has, and has not."""
        assert options == {"source": "https://git.example/x", "again_after": 1800.0}
        self.asked += [ref.canonical for ref in refs]
        at = NOON + timedelta(seconds=self.now)
        return {ref.canonical: self._answer(ref, at) for ref in refs}

    def _answer(self, ref: Ref, at: datetime) -> Ref:
        """As resolvers complete a reference: a failure keeps what was known before, and when."""
        known = self.found.get(ref.canonical)
        if self.silent:
            return completed(ref, Missing(self.silent, "no answer"), known or at, Found() if known else None)
        if ref.canonical[-1] in self.lost:
            return completed(ref, Missing("not-found", "gone"), known or at, Found() if known else None)
        self.found[ref.canonical] = at
        return completed(ref, Found(), at)

    async def delivered(self) -> None:
        """At once."""

    def event(self, _involved: Any, kind: str, reason: str, message: str, **_options: Any) -> None:
        """Note an event."""
        self.events.append(f"{kind} {reason}: {message}")

    async def look(self, at: float) -> int:
        """How many events there are after a look at that time."""
        self.now = at
        await self.tracked.look()
        return len(self.events)


async def test_what_a_server_loses_is_told_once_until_it_is_back() -> None:
    world = World()
    assert await world.look(0.0) == 0
    assert world.asked == []
    assert await world.look(FIRST) == 0
    assert len(world.asked) == 2
    world.lost = {"b"}
    assert await world.look(FIRST + HOUR - 1) == 0
    assert [await world.look(FIRST + hours * HOUR) for hours in (1, 2, 3)] == [1, 1, 1]
    assert world.events[0].startswith("Warning DataPinLost: data content of File gone.bin")
    (entry,) = world.log.entries()
    assert (entry.record.op, entry.record.impact.kustomizations) == ("pin-lost", ("ml/app",))
    world.lost = set()
    assert await world.look(FIRST + 4 * HOUR) == 1
    world.lost = {"b"}
    assert await world.look(FIRST + 5 * HOUR) == 2


@pytest.mark.parametrize("reason", ["timeout", "auth"])
@pytest.mark.parametrize("found", [True, False])
async def test_a_server_that_does_not_answer_has_nothing_back(reason: Reason, *, found: bool) -> None:
    world = World()
    if not found:
        world.lost = {"b"}
    await world.look(FIRST)
    world.lost = {"b"}
    assert await world.look(FIRST + HOUR) == 1
    world.silent = reason
    assert [await world.look(FIRST + hours * HOUR) for hours in (2, 3)] == [1, 1]
    world.silent = None
    assert await world.look(FIRST + 4 * HOUR) == 1
    world.lost = set()
    await world.look(FIRST + 5 * HOUR)
    world.lost = {"b"}
    assert await world.look(FIRST + 6 * HOUR) == 2


async def test_a_server_that_does_not_answer_after_a_restart_has_nothing_back() -> None:
    before = World()
    before.lost = {"b"}
    assert await before.look(FIRST) == 1
    after = World(before.log)
    after.lost, after.silent = {"b"}, "timeout"
    assert await after.look(FIRST) == 0
    after.silent = None
    assert await after.look(FIRST + HOUR) == 0


async def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    before = World()
    before.lost = {"b"}
    assert await before.look(FIRST) == 1
    after = World(before.log)
    after.lost = {"a", "b"}
    assert await after.look(FIRST) == 1
    assert "kept.bin" in after.events[0]


BROKEN = {"mode": "deny", "start": "x", "end": "y"}


@pytest.mark.parametrize("policies", [[], [policy("oci")], [policy(suspend=True)], [policy(windows=[BROKEN])]])
async def test_without_a_policy_that_names_registries_nobody_is_asked(policies: list[ChangePolicy]) -> None:
    world = World()
    world.policies = policies
    await world.look(FIRST)
    assert world.asked == []


async def test_a_suspended_repository_is_left_alone() -> None:
    world = World(suspend=True)
    await world.look(FIRST)
    assert world.asked == []
