"""How many folders that DVC tracks are compared at a time, where, and what a slow one does to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import KeysView
from typing import Any

import pytest

from agent.api.changepolicy import ChangePolicy
from agent.controllers.resolution import Resolution
from agent.core.models import Blob, ChangeRecord, Commit, FileChange, Ref, RenderedSet, changes

POLICY = ChangePolicy.from_object(
    {
        "metadata": {"namespace": "ml", "name": "p"},
        "spec": {"resolution": {"registries": [{"scheme": "dvc", "remote": "s3://b/x"}]}},
    }
)
SLOW = 2


def folders(count: int) -> list[ChangeRecord]:
    """A record for each folder, whose sides are named after its place."""
    files = [
        FileChange(f"{place:03}.dvc", *(Blob(pointer(place, side)) for side in ("a", "b"))) for place in range(count)
    ]
    return changes(None, RenderedSet(()), files, Commit("1", "2"))


def pointer(place: int, side: str) -> bytes:
    return f"outs:\n- md5: {place:03}{side * 29}.dir\n  path: data\n".encode()


class Listing(dict[str, str]):
    """A listing that takes note of the threads in which it is compared."""

    threads: set[int]

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        self.threads.add(threading.get_ident())
        return super().keys()


class Registry:
    """Has a file more on the new side of each folder; the old side of one folder never comes, if it is slow."""

    def __init__(self, *, slow: bool = False) -> None:
        self.threads: set[int] = set()
        self.slow = slow
        self.open = self.most = 0
        self.asked: set[int] = set()
        self.news = asyncio.Event()

    async def prepared(self, *_args: Any) -> Any:
        return None

    async def listing(self, ref: Ref, _access_for: Any) -> Listing:
        digest = ref.canonical.rpartition(":")[2]
        place, side = int(digest[:3]), digest[3]
        self.open += 1
        self.most = max(self.most, self.open)
        self.asked.add(place)
        self.news.set()
        await asyncio.sleep(0)
        if self.slow and place == SLOW:
            await asyncio.Event().wait()
        self.open -= 1
        found = Listing({"old": "1"} if side == "a" else {"old": "1", "new": "2"})
        found.threads = self.threads
        return found


def resolution(registry: Any) -> Resolution:
    return Resolution(registry, registry, patience=600.0)


async def test_a_few_folders_are_compared_at_a_time_and_not_on_the_loop() -> None:
    registry = Registry()
    found = await resolution(registry).with_files(folders(60), [POLICY])
    told = [record.reason.message == "1 added: new" for record in found]
    assert told == [True] * 50 + [False] * 10
    assert registry.most <= 8
    assert registry.threads
    assert threading.get_ident() not in registry.threads


async def test_a_slow_listing_keeps_no_other_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[asyncio.Timeout] = []

    def limit(_delay: float) -> asyncio.Timeout:
        limits.append(asyncio.Timeout(None))
        return limits[-1]

    monkeypatch.setattr(asyncio, "timeout", limit)
    registry, count = Registry(slow=True), 12
    telling = asyncio.create_task(resolution(registry).with_files(folders(count), [POLICY]))
    while len(registry.asked) < count:
        await registry.news.wait()
        registry.news.clear()
    limits[0].reschedule(asyncio.get_running_loop().time())
    found = await telling
    told = {place for place, record in enumerate(found) if record.reason.message == "1 added: new"}
    assert SLOW not in told
    assert len(told) >= count - 4, "whoever had its turn before the last ones is told"


async def test_without_a_policy_that_names_registries_nobody_is_asked() -> None:
    registry, records = Registry(), folders(2)
    assert await resolution(registry).with_files(records, []) == records
    assert not registry.asked
