"""The watch machine, as a table; and the watcher that drives it, in virtual time against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from agent.errors import OperationError
from agent.runtime.backoff import Backoff
from agent.runtime.watch import (
    RELIST_AFTER,
    Apply,
    Bookmark,
    Delete,
    Empty,
    Event,
    Expired,
    Failed,
    Init,
    InitApply,
    InitDone,
    ObjectKey,
    Page,
    Paging,
    State,
    Watcher,
    Watching,
    step,
)
from tests.unit.runtime.scripted import Script, changed, deleted, item
from tests.unit.runtime.virtual_time import now, run

A, B = item("a", 5), item("b", 6)


@pytest.mark.parametrize(
    ("state", "happened", "after", "events"),
    [
        pytest.param(Empty(), Page((A,), "9"), Watching("9"), (Init(), InitApply(A), InitDone()), id="one page"),
        pytest.param(Empty(), Page((A,), "9", "t"), Paging("t"), (Init(), InitApply(A)), id="first page"),
        pytest.param(Paging("t"), Page((B,), "9", "u"), Paging("u"), (InitApply(B),), id="middle page"),
        pytest.param(Paging("u"), Page((), "9"), Watching("9"), (InitDone(),), id="last page, empty"),
        pytest.param(Watching("9", 3), changed("a", 12), Watching("12"), (Apply(item("a", 12)),), id="changed"),
        pytest.param(Watching("9"), deleted("a", 13), Watching("13"), (Delete(ObjectKey("ns", "a")),), id="deleted"),
        pytest.param(Watching("9", 2), Bookmark("20"), Watching("20"), (), id="bookmark"),
        pytest.param(Empty(), Failed(), Empty(), (), id="first listing fails"),
        pytest.param(Paging("t"), Failed(), Paging("t"), (), id="a page fails: the same page again"),
        pytest.param(Paging("t"), Failed(expired=True), Empty(), (), id="the pages expire: from the start"),
        pytest.param(Watching("9"), Failed(), Watching("9", 1), (), id="stream cut: resume"),
        pytest.param(Watching("9"), Failed(expired=True), Empty(), (), id="version expired: list again"),
        pytest.param(Watching("9", RELIST_AFTER - 1), Failed(), Empty(), (), id="too many failures: list again"),
    ],
)
def test_step(state: State, happened: object, after: State, events: tuple[Event[str], ...]) -> None:
    assert step(state, happened) == (after, events)  # type: ignore[arg-type]


NO_JITTER = Backoff(initial=1.0, maximum=8.0, jitter=0.0)


class Followed:
    def __init__(self, script: Script) -> None:
        self.events: list[Event[str]] = []
        self.problems: list[str] = []
        self.watcher: Watcher[str] = Watcher(
            "things",
            script,
            self.events.append,
            on_problem=lambda name, error: self.problems.append(f"{name}: {error.message}"),
            clock=now,
            backoff=NO_JITTER,
        )


@asynccontextmanager
async def following(script: Script) -> AsyncIterator[Followed]:
    followed = Followed(script)
    task = asyncio.create_task(followed.watcher.run())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


def follow(script: Script, check: Callable[[Followed], None], seconds: float) -> None:
    async def main() -> None:
        async with following(script) as followed:
            await asyncio.sleep(seconds)
            check(followed)

    run(main())


def test_a_stream_that_ends_is_resumed_at_once_from_the_last_version() -> None:
    script = Script([Page((A,), "9")], [[5.0, changed("b", 11), 5.0], [changed("a", 12), Bookmark("15"), 1.0]])

    def check(followed: Followed) -> None:
        assert script.asked == ["list", "watch 9", "watch 11", "watch 15"]
        assert [at - script.asked_at[0] for at in script.asked_at] == [0, 0, 10, 11]
        assert followed.events[3:] == [Apply(item("b", 11)), Apply(item("a", 12))]
        assert followed.problems == []

    follow(script, check, 60)


def test_an_expired_version_leads_to_a_new_listing() -> None:
    script = Script([Page((A,), "9"), Page((B,), "30")], [[5.0, Expired("too old")]])

    def check(followed: Followed) -> None:
        assert script.asked == ["list", "watch 9", "list", "watch 30"]
        assert followed.events == [Init(), InitApply(A), InitDone(), Init(), InitApply(B), InitDone()]
        assert followed.watcher.problem is None

    follow(script, check, 60)


def test_failures_back_off_and_success_resets_them() -> None:
    down = OperationError("connection refused")
    script = Script([down, down, down, Page((A,), "9")], [[down], [down], [changed("b", 10), down], [down]])

    def check(followed: Followed) -> None:
        asked = [at - script.asked_at[0] for at in script.asked_at]
        # 1, 2, 4 until listed; afresh 1, 2; then after a frame afresh 1, 2.
        assert asked == [0, 1, 3, 7, 7, 8, 10, 11, 13]
        assert script.asked[-3:] == ["watch 9", "watch 10", "watch 10"]
        assert followed.problems == ["things: connection refused"] * 7

    follow(script, check, 100)


def test_pages_that_expire_start_the_listing_over() -> None:
    script = Script([Page((A,), "9", "t"), Expired("token too old"), Page((B,), "30")])

    def check(followed: Followed) -> None:
        assert script.asked == ["list", "list t", "list", "watch 30"]
        assert followed.events == [Init(), InitApply(A), Init(), InitApply(B), InitDone()]

    follow(script, check, 60)


def test_streams_that_end_at_once_are_not_hammered() -> None:
    script = Script([Page((A,), "9"), Page((A,), "9")], [[] for _ in range(RELIST_AFTER)])

    def check(followed: Followed) -> None:
        assert script.asked == ["list", *["watch 9"] * RELIST_AFTER, "list", "watch 9"]
        assert script.asked_at[-1] - script.asked_at[0] > 30

    follow(script, check, 120)


def test_freshness_and_problems_can_be_seen() -> None:
    async def main() -> None:
        script = Script([Page((A,), "9")], [[100.0, Bookmark("20"), 50.0, OperationError("cut")]])
        async with following(script) as followed:
            watcher = followed.watcher
            assert not watcher.synced.is_set()
            await asyncio.sleep(90)
            assert watcher.synced.is_set()
            assert watcher.age() == pytest.approx(90)
            await asyncio.sleep(20)
            assert watcher.age() == pytest.approx(10)
            await asyncio.sleep(40.5)
            assert watcher.problem == "cut"
            await asyncio.sleep(2)
            assert watcher.age() < 2

    run(main())


def test_a_bug_in_the_sink_is_not_swallowed() -> None:
    def sink(event: Event[str]) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        watcher = Watcher("things", Script([Page((A,), "9")]), sink, on_problem=lambda _name, _error: None, clock=now)
        with pytest.raises(ZeroDivisionError):
            await watcher.run()

    run(main())
