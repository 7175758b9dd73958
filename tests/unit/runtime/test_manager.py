"""The order of starting and stopping, and what the probes say; in virtual time with scripted watches."""

from __future__ import annotations

import asyncio

import pytest

from agent.errors import OperationError
from agent.runtime.controller import Controller, Done, Result
from agent.runtime.leadership import Elector
from agent.runtime.manager import Ended, Manager, Phase, Verdict, first
from agent.runtime.queue import WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import Page, Watcher
from tests.unit.runtime.scripted import Script, Step, item
from tests.unit.runtime.test_leadership import Lease, elector
from tests.unit.runtime.virtual_time import now, run


class Rig:
    """One watch that feeds a store whose changes are queued for one controller, and a diary."""

    def __init__(
        self,
        pages: list[Page[str] | OperationError],
        streams: list[list[Step]] | None = None,
        elector: Elector | None = None,
        pass_seconds: float = 0.0,
    ) -> None:
        self.diary: list[str] = []
        self.pass_seconds = pass_seconds
        self.queue: WorkQueue[str] = WorkQueue(clock=now)
        self.store: Store[str] = Store()
        self.store.subscribe(lambda old, new: self.queue.add(new or old or ""))
        self.watcher = Watcher(
            "things", Script(pages, streams or ()), self.store.feed, on_problem=lambda _n, _e: None, clock=now
        )
        self.controller: Controller[str] = Controller(
            "apps", self.reconcile, self.queue, on_crash=lambda _n, _k, error: pytest.fail(str(error))
        )
        self.manager = Manager(
            watchers=[self.watcher],
            controllers=[self.controller],
            services=[lambda: self.service("always")],
            led_services=[lambda: self.service("led")],
            elector=elector,
        )
        self.stop = asyncio.Event()

    async def reconcile(self, key: str) -> Result:
        self.diary.append(f"begin {key}")
        try:
            await asyncio.sleep(self.pass_seconds)
        except asyncio.CancelledError:
            self.diary.append(f"cancelled {key}")
            raise
        self.diary.append(f"end {key}")
        return Done()

    async def service(self, name: str) -> None:
        self.diary.append(f"start {name}")
        try:
            await asyncio.sleep(1e9)
        finally:
            self.diary.append(f"stop {name}")


PAGE = Page((item("a", 1),), "1")


def test_everything_starts_and_stops_in_order() -> None:
    async def main() -> None:
        lease = Lease()
        rig = Rig([PAGE], elector=elector(lease, "one"), pass_seconds=10)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(5)
            assert rig.manager.phase is Phase.LEADING
            assert rig.manager.ready() == Verdict(ok=True)
            rig.stop.set()
        assert task.result() is Ended.STOPPED
        assert rig.diary == ["start always", "start led", "begin a@1", "end a@1", "stop led", "stop always"]
        assert lease.record is not None
        assert lease.record.holder == ""
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_nothing_leads_before_the_watches_are_synced() -> None:
    async def main() -> None:
        lease = Lease()
        rig = Rig([OperationError("the API server is away"), PAGE], elector=elector(lease, "one"))
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(0.5)
            verdict = rig.manager.ready()
            assert verdict == Verdict(ok=False, problems=("watch things is not synced: the API server is away",))
            assert lease.record is None
            await asyncio.sleep(5)
            assert rig.manager.ready().ok
            rig.stop.set()

    run(main())


class Late(Script):
    """Listings take three seconds."""

    async def list(self, token: str) -> Page[str]:
        await asyncio.sleep(3)
        return await super().list(token)


@pytest.mark.parametrize("answer", [PAGE, OperationError("no such kind")])
def test_nothing_leads_before_an_optional_watch_has_listed_or_was_refused(answer: Page[str] | OperationError) -> None:
    async def main() -> None:
        rig = Rig([PAGE])
        kept: Store[str] = Store()
        late = Watcher("canaries", Late([answer, PAGE]), kept.feed, on_problem=lambda _n, _e: None, clock=now)
        manager = Manager(watchers=[rig.watcher], optional=[late], controllers=[rig.controller])
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run(rig.stop))
            await asyncio.sleep(2)
            assert rig.watcher.synced.is_set()
            assert manager.ready().problems == ("watch canaries has no answer",)
            assert rig.diary == []
            await asyncio.sleep(2)
            assert manager.ready().ok
            assert rig.diary == ["begin a@1", "end a@1"]
            rig.stop.set()

    run(main())


def test_who_may_not_have_the_lease_is_not_ready_and_says_so() -> None:
    async def main() -> None:
        lease = Lease()
        lease.forbidden = True
        rig = Rig([PAGE], elector=elector(lease, "one"))
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(60)
            assert rig.manager.phase is Phase.STANDBY
            assert rig.manager.ready() == Verdict(ok=False, problems=("cannot lead: not allowed: a Role has to",))
            assert rig.manager.health().ok
            lease.forbidden = False
            await asyncio.sleep(60)
            assert rig.manager.phase is Phase.LEADING
            assert rig.manager.ready().ok
            rig.stop.set()

    run(main())


def test_a_standby_is_ready_and_does_nothing_until_it_leads() -> None:
    async def main() -> None:
        lease = Lease()
        one, two = Rig([PAGE], elector=elector(lease, "one")), Rig([PAGE], elector=elector(lease, "two"))
        async with asyncio.TaskGroup() as group:
            group.create_task(one.manager.run(one.stop))
            await asyncio.sleep(1)
            group.create_task(two.manager.run(two.stop))
            await asyncio.sleep(60)
            assert two.manager.phase is Phase.STANDBY
            assert two.manager.ready().ok
            assert two.diary == ["start always"]
            one.stop.set()
            await asyncio.sleep(7)
            assert two.manager.phase is Phase.LEADING
            assert "end a@1" in two.diary
            two.stop.set()

    run(main())


def test_losing_leadership_stops_what_leads_at_once() -> None:
    async def main() -> None:
        lease = Lease()
        rig = Rig([PAGE], elector=elector(lease, "one"), pass_seconds=1000)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(20)
            lease.down = True
        assert task.result() is Ended.LEADERSHIP_LOST
        assert rig.diary[-3:] == ["cancelled a@1", "stop led", "stop always"]
        assert now() - lease.writes[-1][0] < 35

    run(main())


def test_a_stop_before_anything_led() -> None:
    async def main() -> None:
        rig = Rig([OperationError("away")] * 50)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(60)
            rig.stop.set()
        assert task.result() is Ended.STOPPED
        assert rig.diary == ["start always", "stop always"]

    run(main())


def test_a_silent_watch_is_unhealthy_but_an_absent_server_is_not() -> None:
    async def main() -> None:
        rig = Rig([PAGE], [[1e6]])
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.manager.run(rig.stop))
            await asyncio.sleep(200)
            assert rig.manager.health() == Verdict(ok=True)
            await asyncio.sleep(100)
            assert rig.manager.health() == Verdict(ok=False, problems=("watch things: nothing heard for 300 s",))
            rig.stop.set()
        away = Rig([OperationError("away")] * 50)
        async with asyncio.TaskGroup() as group:
            group.create_task(away.manager.run(away.stop))
            await asyncio.sleep(600)
            assert away.manager.health().ok
            assert not away.manager.ready().ok
            away.stop.set()

    run(main())


def test_a_bug_in_a_service_stops_everything_and_is_raised() -> None:
    async def main() -> None:
        rig = Rig([PAGE])

        async def broken() -> None:
            await asyncio.sleep(5)
            raise ZeroDivisionError

        manager = Manager(
            watchers=[rig.watcher], controllers=[rig.controller], services=[broken, lambda: rig.service("always")]
        )
        with pytest.raises(ExceptionGroup) as failed:
            await manager.run(rig.stop)
        assert failed.group_contains(ZeroDivisionError)
        assert rig.diary[-1] == "stop always"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_first_stops_the_others_and_passes_errors_on() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        assert await first(asyncio.sleep(5), asyncio.sleep(2), asyncio.sleep(9)) == 1
        with pytest.raises(ZeroDivisionError):
            await first(asyncio.sleep(5), fail())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
